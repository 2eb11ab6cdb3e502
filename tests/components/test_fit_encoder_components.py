"""The components that train, in KFP's local runner: those of encoder, probe and instruct afresh."""

import json
from pathlib import Path
from typing import Any, Dict, NamedTuple

import pytest
from kfp import dsl, local
from kfp.dsl import Model

from components.finetune_encoder.component import finetune_encoder
from components.finetune_instruct.component import finetune_instruct
from components.fit_probe.component import fit_probe
from components.fit_tfidf.component import fit_tfidf
from components.ingest.component import ingest
from components.tokenize.component import tokenize
from llmclf_core.approaches import load_classifier
from tests.conftest import make_corpus
from tests.forks import forked_steps


class Outputs(NamedTuple):
    """A classifier of each approach, and one that cannot be made."""

    tfidf: Model
    probe: Model
    encoder: Model
    instruct: Model
    broken: Model


@dsl.pipeline(name="every-training")
def every_training(
    source: Dict[str, Any],
    base: Dict[str, Any],
    encoder: Dict[str, Any],
    instruct: Dict[str, Any],
    tfidf: Dict[str, Any],
) -> Outputs:
    """Each component fed with what the one before wrote."""
    corpus = ingest(settings=source).outputs["corpus"]
    tokens = tokenize(
        corpus=corpus, approach="probe", base=base, settings={"max_length": 64}
    ).outputs["tokens"]
    own = tokenize(corpus=corpus, approach="encoder", own=encoder).outputs["tokens"]
    prompted = tokenize(
        corpus=corpus,
        approach="instruct",
        base=base,
        settings={"max_length": 256},
        own=instruct,
    ).outputs["tokens"]
    return Outputs(
        tfidf=fit_tfidf(corpus=corpus, settings=tfidf).outputs["classifier"],
        probe=fit_probe(tokens=tokens, base=base, settings={"c": [1.0]}).outputs["classifier"],
        encoder=finetune_encoder(tokens=own, settings=encoder, seed=2).outputs["classifier"],
        instruct=finetune_instruct(
            tokens=prompted,
            base=base,
            lora={"rank": 4},
            instruct=instruct,
            training={"epochs": 1},
        ).outputs["classifier"],
        broken=fit_tfidf(corpus=corpus, settings={"min_rows": 99_999}).outputs["classifier"],
    )


def write_rows(path: Path) -> Path:
    corpus = make_corpus({"train": 30})
    rows = [
        {"text": row["text"], "label": corpus.labels.names[row["labels"][0]]}
        for row in corpus.splits["train"]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, tiny_base, tiny_encoder):
    root = tmp_path_factory.mktemp("components")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCLF_CACHE", str(root / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root / "out"))
        # The others are run afresh in `test_components.py`.
        with forked_steps(fresh={"finetune_encoder", "finetune_instruct", "fit_probe"}):
            done = every_training(
                source={"source": str(write_rows(root / "data.jsonl"))},
                base={"source": str(tiny_base)},
                encoder={
                    "base": {"source": str(tiny_encoder)},
                    "tokenize": {"max_length": 64},
                    "lora": {"rank": 2},
                    "training": {"epochs": 1},
                },
                instruct={"prompt": "{labels}\n{text}"},
                tfidf={"max_ngram": 1},
            )
        yield done.outputs


@pytest.mark.parametrize("approach", ["tfidf", "probe", "encoder", "instruct"])
def test_classifier(outputs, approach):
    classifier = load_classifier(Path(outputs[approach].path))
    assert outputs[approach].metadata["approach"] == classifier.approach == approach
    assert outputs[approach].metadata["fingerprint"] == classifier.fingerprint


def test_settings_arrive(outputs, tiny_encoder):
    assert load_classifier(Path(outputs["tfidf"].path)).config.max_ngram == 1
    assert load_classifier(Path(outputs["probe"].path)).config.c == [1.0]
    encoder = load_classifier(Path(outputs["encoder"].path))
    assert (encoder.lora, encoder.lineage["seed"]) == (True, 2)
    assert outputs["encoder"].metadata["base"] == str(tiny_encoder)


def test_failure_is_written_down(outputs):
    assert "tfidf.min_rows is 99999" in outputs["broken"].metadata["failed"]
