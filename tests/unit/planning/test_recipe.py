"""Plans of a recipe's trainings, and advice; rehearsals are stood in for by a formula."""

import csv

import pytest

from llmclf_core.artifacts import Corpus
from llmclf_core.config import IngestConfig, parse_recipe
from llmclf_core.errors import UserError
from llmclf_core.models.base import find_settings
from llmclf_core.planning import recipe as planning
from llmclf_core.planning import sample as sampling
from llmclf_core.planning.advice import advise, shown
from llmclf_core.planning.check import Room
from llmclf_core.planning.estimate import Taken
from llmclf_core.planning.recipe import planner
from llmclf_core.planning.rehearsal import TooLargeError
from llmclf_core.planning.sample import sample
from llmclf_core.tokens.tokenize import row_lengths, tokenize_for
from tests.conftest import make_corpus


@pytest.fixture
def recipe(tiny_base, tiny_encoder, tmp_path):
    corpus = make_corpus({"train": 40})
    with (tmp_path / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("text", "label")]
            + [(r["text"], corpus.labels.names[r["labels"][0]]) for r in corpus.splits["train"]]
        )

    def make(**settings):
        data = {
            "name": "tiny",
            "ingest": {"source": str(tmp_path / "data.csv"), "duplicates": {"near": False}},
            "base": {"source": str(tiny_base)},
            "tokenize": {"max_length": 128},
            "training": {"batch_size": 8, "epochs": 3},
            "instruct": {"prompt": "{labels}\n{text}"},
            "encoder": {"base": {"source": str(tiny_encoder)}, "tokenize": {"max_length": 128}},
        }
        return parse_recipe(data, settings, "test")

    return make


def formula(setup, tokens, directory, read):
    """Bytes by the settings that advice changes."""
    training, lora = setup.training, setup.lora
    tokens_a_batch = training.batch_size * tokens.recipe["max_length"]
    activations = 1000 * tokens_a_batch // (4 if training.gradient_checkpointing else 1)
    weights = 100_000 if setup.base.quantization == "nf4" else 400_000
    weights += 2_000_000 if lora is None else 100_000 * (lora.top_layers or 8)
    memory = weights + activations
    return Taken(10, 20, 0, memory, 0, 0, 5.0, 0.1, 0.01, 0.001, 7.0)


@pytest.fixture
def room(monkeypatch):
    monkeypatch.setattr(planning, "estimate", formula)

    def set_to(memory, gpu=None):
        monkeypatch.setattr(planning.Room, "now", classmethod(lambda cls: Room(memory, gpu)))

    return set_to


def test_steps_and_seconds(recipe, room):
    room(10**9)
    loaded = recipe()
    with planner(loaded.ingest) as ours:
        plan = ours.plan(loaded, "head")
        rows = ours.rows.total
        base = find_settings(loaded.base.source, None, ours.rows.corpus)
        tokens = tokenize_for(
            ours.rows.corpus, base, loaded.tokenize, ours.rows.corpus.with_name("again")
        )
        read = {n: row_lengths(s).sum() + 7 * rows[n] for n, s in tokens.splits.items()}
    assert rows == {"train": 84, "validation": 12}
    assert plan.steps == 11 * 3
    expected = (
        5 + 0.001 * sum(read.values()) + 3 * (0.1 * read["train"] + 0.01 * read["validation"])
    )
    assert plan.seconds == pytest.approx(expected)
    assert plan.lack is None


def test_instruct_may_differ(recipe, room):
    room(10**9)
    loaded = recipe(**{"instruct.training.epochs": 1, "instruct.training.accumulation": 2})
    with planner(loaded.ingest) as ours:
        assert ours.plan(loaded, "instruct").steps == 6
        assert ours.plan(loaded, "head").steps == 33
        assert ours.plan(loaded, "encoder").steps == 6 * 4


def test_what_fits_is_told_with_its_estimate(recipe, room):
    """A batch of 8 rows of 128 tokens takes 1 024 000 bytes, on top of 1 200 000."""
    loaded = recipe()
    room(1_800_000)
    with planner(loaded.ingest) as ours:
        plan = ours.plan(loaded, "head")
        assert plan.lack == "about 0.0 GB of memory, and there are 0.0 GB"
        found = {shown(a.changes): a.plan.taken.memory for a in advise(ours, loaded, plan)}
    assert found == {
        "--set training.batch_size=4 --set training.accumulation=2": 1_712_000,
        "--set training.batch_size=1 --set training.accumulation=8": 1_328_000,
        "--set training.gradient_checkpointing=true": 1_456_000,
        "--set tokenize.max_length=64": 1_712_000,
    }


def test_all_changes_together_when_no_single_one_is_enough(recipe, room):
    loaded = recipe()
    room(600_000)
    with planner(loaded.ingest) as ours:
        (found,) = advise(ours, loaded, ours.plan(loaded, "head"))
        assert found.changes == {
            "training.batch_size": 1,
            "training.accumulation": 8,
            "training.gradient_checkpointing": True,
            "base.quantization": "nf4",
            "tokenize.max_length": 64,
            "lora.top_layers": 4,
        }
        assert found.plan.taken.memory == 100_000 + 400_000 + 16_000
    room(100_000)
    with planner(loaded.ingest) as ours:
        assert advise(ours, loaded, ours.plan(loaded, "head")) == []


def test_an_encoder_gets_an_adapter(recipe, room):
    loaded = recipe(**{"encoder.training.batch_size": 1, "encoder.tokenize.max_length": 64})
    room(1_500_000)
    with planner(loaded.ingest) as ours:
        found = [a.changes for a in advise(ours, loaded, ours.plan(loaded, "encoder"))]
    assert found == [
        {"encoder.lora.rank": 16},
        {"encoder.lora.rank": 16, "encoder.base.quantization": "nf4"},
        {"encoder.lora.top_layers": 4},
    ]


def test_a_rehearsal_that_was_ended_is_a_plan_that_does_not_fit(recipe, room, monkeypatch):
    room(10**9)

    def killed(*_):
        raise TooLargeError("the system ended it")

    monkeypatch.setattr(planning, "estimate", killed)
    loaded = recipe()
    with planner(loaded.ingest) as ours:
        plan = ours.plan(loaded, "head")
    assert (plan.taken, plan.steps, plan.lack) == (None, 33, "the system ended it")


def test_settings_that_a_run_would_refuse(recipe, room):
    room(10**9)
    loaded = recipe(**{"tokenize.max_length": 4096})
    with planner(loaded.ingest) as ours, pytest.raises(UserError, match="takes 1024 tokens"):
        ours.plan(loaded, "head")
    loaded = recipe(**{"base.source": "/nowhere"})
    with planner(loaded.ingest) as ours, pytest.raises(UserError, match="no such file"):
        ours.plan(loaded, "head")


def test_of_many_rows_typical_and_longest_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "_SPREAD", 10)
    monkeypatch.setattr(sampling, "_LONGEST", 3)
    with (tmp_path / "many.csv").open("w", newline="") as file:
        rows = [(f"row {i} " + "word " * (i % 40), "ab"[i % 2]) for i in range(200)]
        csv.writer(file).writerows([("text", "label"), *rows])
    taken = sample(IngestConfig(source=str(tmp_path / "many.csv")), tmp_path)
    assert taken.total["train"] > 100
    assert taken.read == {"train": 13, "validation": 13}
    assert taken.typical == {"train": 10, "validation": 10}
    assert Corpus.load(taken.corpus).fingerprint != Corpus.load(tmp_path / "whole").fingerprint
    texts = Corpus.load(taken.corpus).splits["train"]["text"]
    longest = max(len(t) for t in Corpus.load(tmp_path / "whole").splits["train"]["text"])
    assert len(texts[-1]) == longest
