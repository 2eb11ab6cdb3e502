"""Logged models that need no base: TF-IDF, and an encoder that was trained as a whole."""

import json
import shutil
import subprocess
import sys

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from llmclf_core.approaches import load_classifier
from llmclf_core.config import (
    BaseModelConfig,
    EncoderTrainingConfig,
    EvaluateConfig,
    RegisterConfig,
    TfidfConfig,
    TokenizeConfig,
)
from llmclf_core.registry.download import download_classifier
from llmclf_core.registry.package import requirements, save_model, version_tags
from llmclf_core.registry.register import register
from llmclf_core.steps.evaluate import evaluate_and_track
from llmclf_core.steps.finetune_encoder import finetune_encoder
from llmclf_core.steps.fit_tfidf import fit_tfidf
from llmclf_core.tokens.tokenize import tokenize

TEXTS = ["the goal of the match", "market share and price", "a song by the band", ""]

WITHOUT_TORCH = """
import json, sys
from importlib.machinery import PathFinder
absent = {"torch", "transformers", "peft", "bitsandbytes", "accelerate"}
class Lacking(PathFinder):
    @classmethod
    def find_spec(cls, name, *more):
        return None if name in absent else PathFinder.find_spec(name, *more)
sys.meta_path[sys.meta_path.index(PathFinder)] = Lacking
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
answer = model.predict(pd.DataFrame({"text": json.loads(sys.argv[2])}))
print(json.dumps(list(answer["probabilities"])))
"""


def answers(model, names):
    rows = model.predict(pd.DataFrame({"text": TEXTS}))["probabilities"]
    return np.array([[row[name] for name in names] for row in rows])


def test_tfidf_is_served_without_torch(tmp_path, corpus_path):
    classifier = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")
    save_model(tmp_path / "c", tmp_path / "m")
    listed = (tmp_path / "m" / "requirements.txt").read_text()
    assert "scikit-learn==" in listed
    assert not {"torch", "transformers", "peft"} & {r.split("==")[0] for r in listed.split()}
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "m"), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    got = np.array([[row[name] for name in classifier.labels.names] for row in rows])
    np.testing.assert_allclose(got, classifier.predict_proba(TEXTS), atol=1e-6)


def test_tfidf_has_no_base_on_record(tmp_path, corpus_path):
    classifier = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")
    tags = version_tags(tmp_path / "c", "corpus-1")
    assert tags["llmclf.approach"] == "tfidf"
    assert tags["llmclf.classifier"] == classifier.fingerprint
    unknown = {"llmclf.base", "llmclf.base_revision", "llmclf.quantization", "llmclf.seed"}
    assert not unknown & tags.keys()


@pytest.mark.parametrize("approach", ["probe", "encoder", "head", "instruct"])
def test_the_others_require_torch(approach):
    names = {text.split("==")[0] for text in requirements(approach)}
    assert {"torch", "transformers", "scikit-learn"} <= names


def test_tfidf_registers_and_comes_back(tmp_path, corpus_path, store):
    classifier = fit_tfidf(corpus_path, TfidfConfig(), tmp_path / "c")
    evaluate_and_track(tmp_path / "c", corpus_path, EvaluateConfig(bootstrap=20), tmp_path / "e")
    places = (tmp_path / "c", tmp_path / "e", corpus_path)
    register(*places, RegisterConfig(), "task", tmp_path / "r.json")
    version = store.get_model_version_by_alias("task", "champion")
    assert version.tags["llmclf.approach"] == "tfidf"
    fetched = load_classifier(download_classifier("models:/task@champion", store.tracking_uri))
    assert fetched.fingerprint == classifier.fingerprint


def test_whole_encoder_is_served_with_its_base_gone(tmp_path, corpus_path, tiny_encoder):
    base = shutil.copytree(tiny_encoder, tmp_path / "base")
    config = BaseModelConfig(source=str(base), dtype="float32")
    tokenize(corpus_path, config, TokenizeConfig(max_length=64), tmp_path / "t")
    training = EncoderTrainingConfig(epochs=1)
    classifier = finetune_encoder(tmp_path / "t", config, None, training, tmp_path / "c")
    shutil.rmtree(base)
    save_model(tmp_path / "c", tmp_path / "m")
    assert version_tags(tmp_path / "c", "x")["llmclf.base"] == str(base)
    got = answers(mlflow.pyfunc.load_model(str(tmp_path / "m")), classifier.labels.names)
    np.testing.assert_allclose(got, classifier.predict_proba(TEXTS), atol=1e-5)
