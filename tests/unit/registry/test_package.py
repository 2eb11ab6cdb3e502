"""The logged model: whole, without pickle and without the base, and it answers as the original."""

import ast
import importlib.metadata
import json
import pickletools
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.exceptions import MlflowException
from packaging.requirements import Requirement

from llmclf_core.approaches import load_classifier
from llmclf_core.artifacts import Corpus
from llmclf_core.errors import UserError
from llmclf_core.registry import serving_model
from llmclf_core.registry.package import CLASSIFIER, requirements, save_model, version_tags
from tests.mlflow_helpers import build_classifier

TEXTS = ["the goal of the match", "market share and price", "a song by the band", ""]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory, good):
    path = tmp_path_factory.mktemp("model") / "m"
    save_model(good[0], path)
    return path


@pytest.fixture(scope="module")
def model(model_path):
    return mlflow.pyfunc.load_model(str(model_path))


@pytest.fixture(scope="module")
def original(good):
    return load_classifier(good[0])


def is_pickle(data: bytes) -> bool:
    try:
        operations = [code.name for code, _, _ in pickletools.genops(data)]
    except Exception:
        return False
    return operations[0] == "PROTO" or len(operations) > 2


def test_pickles_are_recognised():
    import pickle

    assert all(is_pickle(pickle.dumps({"a": [1]}, protocol)) for protocol in range(6))


def test_nothing_is_pickled(model_path):
    files = [p for p in model_path.rglob("*") if p.is_file()]
    assert len(files) > 20
    assert not [p for p in files if p.suffix in {".pkl", ".pickle", ".pt", ".bin", ".pth"}]
    assert not [p for p in files if is_pickle(p.read_bytes())]
    assert not list(model_path.rglob("__pycache__"))
    flavor = yaml.safe_load((model_path / "MLmodel").read_text())["flavors"]["python_function"]
    assert flavor["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert "python_model" not in flavor


def test_base_weights_stay_outside(model_path, tiny_base):
    weights = (tiny_base / "model.safetensors").stat().st_size
    tensors = list(model_path.rglob("*.safetensors"))
    assert {p.name for p in tensors} == {"adapter_model.safetensors", "head.safetensors"}
    assert sum(p.stat().st_size for p in tensors) < weights / 10
    header = json.loads((model_path / CLASSIFIER / "classifier.json").read_text())
    assert header["base"]["source"] == str(tiny_base)
    assert header["base"]["fingerprint"]


def test_code_is_shipped(model_path):
    code = model_path / "code" / "llmclf_core"
    assert (code / "registry" / "serving_model.py").exists()
    assert (code / "approaches" / "head.py").exists()


@pytest.mark.parametrize(
    "given",
    [
        pd.DataFrame({"text": TEXTS}),
        pd.DataFrame({"id": range(4), "text": TEXTS}),
        pd.Series(TEXTS, name="text"),
        [{"text": text} for text in TEXTS],
    ],
    ids=["frame", "extra column", "series", "records"],
)
def test_answers_as_the_original(model, original, given):
    answer = model.predict(given, params={"batch_size": 2})
    assert list(answer.columns) == ["label", "probabilities"]
    names = original.labels.names
    got = np.array([[row[name] for name in names] for row in answer["probabilities"]])
    np.testing.assert_allclose(got, original.predict_proba(TEXTS), atol=1e-5)
    assert [[label] for label in answer["label"]] == original.predict(TEXTS)


@pytest.mark.parametrize("given", [TEXTS, np.array(TEXTS), TEXTS[0]], ids=["list", "array", "one"])
def test_python_model_takes_plain_texts(model, original, given):
    answer = model.unwrap_python_model().predict(None, given)
    texts = [given] if isinstance(given, str) else TEXTS
    assert [[label] for label in answer["label"]] == original.predict(texts)


def test_module_itself_serves(good, original):
    """The logged copy is run from elsewhere; this is the file in the package."""
    served = serving_model.ServingModel()
    served.load_context(SimpleNamespace(artifacts={"classifier": str(good[0])}))
    for given in (TEXTS, pd.DataFrame({"text": TEXTS})):
        answer = served.predict(None, given, {"batch_size": 3})
        assert [[label] for label in answer["label"]] == original.predict(TEXTS)
    assert list(served.predict(None, "goal")["label"]) == original.predict(["goal"])[0]
    with pytest.raises(MlflowException, match="row 1: the text has to be a string, not int"):
        served.predict(None, ["a", 1])


def test_wrong_column_is_refused(model):
    with pytest.raises(Exception, match="missing inputs"):
        model.predict(pd.DataFrame({"body": TEXTS}))


@pytest.mark.parametrize(
    ("given", "kind"), [(["a", None], "NoneType"), ([["a"]], "list"), ([1.5], "float")]
)
def test_what_is_no_string_is_refused(model, given, kind):
    with pytest.raises(MlflowException, match=f"has to be a string, not {kind}"):
        model.unwrap_python_model().predict(None, pd.DataFrame({"text": given}, dtype=object))


def test_multi_label_gives_lists(tmp_path, tiny_base, multi_corpus_path):
    corpus = Corpus.load(multi_corpus_path)
    classifier = build_classifier(tiny_base, corpus, tmp_path / "classifier")
    save_model(tmp_path / "classifier", tmp_path / "m")
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    texts = list(corpus.splits["test"]["text"])
    answer = model.predict(pd.DataFrame({"text": texts}))
    assert list(answer["label"]) == classifier.predict(texts)
    assert {len(row) for row in answer["label"]} >= {1, 2}
    output = model.metadata.get_output_schema().to_dict()
    assert output[0]["type"] == "array"


def test_base_can_lie_elsewhere(model_path, tmp_path, tiny_base, good, original, monkeypatch):
    moved = tmp_path / "moved"
    moved.symlink_to(tiny_base)
    broken = tmp_path / "m"
    save_model(good[0], broken)
    header = broken / CLASSIFIER / "classifier.json"
    header.write_text(header.read_text().replace(str(tiny_base), "/nowhere/at/all"))
    with pytest.raises(UserError, match="/nowhere/at/all"):
        mlflow.pyfunc.load_model(str(broken))
    monkeypatch.setenv("LLMCLF_BASE", str(moved))
    answer = mlflow.pyfunc.load_model(str(broken)).predict(pd.DataFrame({"text": TEXTS}))
    assert [[label] for label in answer["label"]] == original.predict(TEXTS)


def test_not_a_classifier_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a classifier"):
        save_model(tmp_path, tmp_path / "m")


IMPORTED = """
import sys
import llmclf_core.registry.serving_model
from llmclf_core.approaches import APPROACHES, approach_class
for approach in APPROACHES:
    approach_class(approach)
files = [m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] == "llmclf_core"]
print("\\n".join(files))
"""


def served_imports():
    """Top-level modules that our own code imports when a model is served."""
    command = [sys.executable, "-c", IMPORTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = set()
    for file in done.stdout.split():
        for node in ast.walk(ast.parse(Path(file).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module)
    return {name.partition(".")[0] for name in names}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names):
    """Distributions that pip installs for these, extras aside."""
    found, queue = set(), list(names)
    while queue:
        name = normal(queue.pop())
        if name in found:
            continue
        found.add(name)
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        parsed = [Requirement(text) for text in wanted]
        queue += [r.name for r in parsed if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


def test_requirements_are_pinned_and_cover_what_the_code_imports():
    pinned = [Requirement(text) for text in requirements("head")]
    for requirement in pinned:
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        installed = importlib.metadata.version(requirement.name)
        assert specifier.version == installed.partition("+")[0]
    distributions = importlib.metadata.packages_distributions()
    imported = {name for name in served_imports() if name in distributions} - {"llmclf_core"}
    assert {"torch", "transformers", "mlflow"} <= imported
    covered = closure([r.name for r in pinned])
    for module in imported:
        owners = {normal(name) for name in distributions[module]}
        assert owners & covered, f"{module} ({owners}) is not required"


def test_version_tags_tell_the_lineage(good, tiny_base):
    tags = version_tags(good[0], "corpus-1")
    expected = {
        "llmclf.corpus": "corpus-1",
        "llmclf.approach": "head",
        "llmclf.base": str(tiny_base),
        "llmclf.quantization": "none",
        "llmclf.seed": "7",
        "llmclf.git_commit": "abc",
    }
    assert expected.items() <= tags.items()
    assert tags["llmclf.classifier"] == load_classifier(good[0]).fingerprint
    assert all(isinstance(value, str) for value in tags.values())
