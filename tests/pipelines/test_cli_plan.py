"""``llmclf plan``: the table, the advice and the exit status; rehearsals are stood in for."""

import re

import pytest

from llmclf_core.planning import check
from llmclf_core.planning import recipe as planning
from llmclf_core.planning.estimate import Taken


@pytest.fixture
def planned(task, monkeypatch):
    """Runs the command where so many bytes are free; a row of a batch takes 1 GB."""

    def estimate(setup, tokens, directory, read):
        memory = 2e9 + setup.training.batch_size * 1e9
        return Taken(4567, 123_456, 1e9, memory, 0, 0, 1.0, 0.01, 0.01, 0, 0)

    def run(memory, *arguments, gpu=None):
        monkeypatch.setattr(check.capacity, "memory", lambda: int(memory))
        monkeypatch.setattr(check.capacity, "gpu_memory", lambda: gpu)
        monkeypatch.setattr(planning, "estimate", estimate)
        task.write()
        return task.llmclf("plan", "recipe.yaml", *arguments)

    return run


def test_table_of_what_fits(planned, task):
    task.recipe["approaches"] = ["tfidf", "head"]
    done = planned(64e9, "--seed", "0", "--seed", "1")
    assert done.returncode == 0, done.stderr
    figures = " +".join(["4,567", "123,456", "10.0 GB", "64.0 GB", "yes", "22", r"\S+ s"])
    assert re.search(f"LLM with head +{figures}", done.stdout), done.stdout
    assert re.search(r"TF-IDF +– +– +–", done.stdout)
    assert "84 training and 12 validation rows" in done.stdout
    assert "84 and 12 were tokenized" in done.stdout
    assert "2 seeds take so many times" in done.stdout
    assert "does not fit" not in done.stdout


def test_what_does_not_fit_is_told_what_would(planned):
    done = planned(6.5e9)
    assert done.returncode == 1, done.stderr
    assert "LLM with head does not fit: it needs about 10.0 GB of memory, and there are 6.5 GB" in (
        done.stdout
    )
    advice = [x.strip() for x in done.stdout.splitlines() if "fits with" in x]
    assert advice == [
        "fits with --set training.batch_size=4 --set training.accumulation=2 (6.0 GB)",
        "fits with --set training.batch_size=1 --set training.accumulation=8 (3.0 GB)",
    ]
    assert "head: trying --set training.gradient_checkpointing=true" in done.stderr
    done = planned(6.5e9, "--set", "training.batch_size=4", "--set", "training.accumulation=2")
    assert done.returncode == 0, done.stderr


def test_nothing_helps(planned):
    done = planned(1e9)
    assert done.returncode == 1
    assert "nor does it with smaller batches" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "training.speed=3"], "training.speed: no such setting"),
        (["--set", "ingest.source=none.csv"], "none.csv does not exist"),
        (["--set", "base.source=/none"], "no such file or directory"),
    ],
)
def test_a_mistake_has_exit_status_2(planned, arguments, message):
    done = planned(64e9, *arguments)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stdout + done.stderr
