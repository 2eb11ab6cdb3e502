"""The compiled pipelines in the repository: fresh, whole, and without secrets."""

import os
import subprocess
import sys

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from llmclf_core.config import parse_recipe
from pipelines.check import problems
from pipelines.kubeflow.sources import check_places
from pipelines.shipped import DIRECTORY, RECIPES

NAMES = list(RECIPES)
MARK = "marker-3f9c1d"
SECRETS = (
    "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "LLMCLF_KFP_TOKEN", "MLFLOW_TRACKING_URI",
    "LLMCLF_IMAGE", "LLMCLF_CACHE", "HOSTNAME", "USER", "PATH_OF_MINE",
)  # fmt: skip


def text(name):
    return (DIRECTORY / f"{name}.yaml").read_text("utf-8")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """All of them, compiled by another process with another hash seed and a secret everywhere."""
    directory = tmp_path_factory.mktemp("fresh")
    program = (
        "import sys, pathlib, pipelines.shipped as s; s.compile_all(pathlib.Path(sys.argv[1]))"
    )
    planted = {name: f"{MARK}-{name.lower()}" for name in SECRETS}
    planted["MLFLOW_TRACKING_URI"] = f"https://{MARK}:{MARK}@mlflow.example"
    environment = os.environ | planted | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", program, str(directory)], env=environment, check=True)
    return directory


def test_there_is_one_for_each_and_no_other():
    assert {file.stem for file in DIRECTORY.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_not_stale(fresh, name):
    assert (fresh / f"{name}.yaml").read_text("utf-8") == text(name), "run `make compile`"


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe])
def test_a_cluster_can_read_its_default_data(name):
    spec = next(yaml.safe_load_all(text(name)))
    given = {n: p["defaultValue"] for n, p in parameters(spec).items() if "defaultValue" in p}
    settings = {n: given[n] for n in ("name", "ingest", "base")}
    check_places(parse_recipe(settings, {}, name))


def parameters(spec):
    return spec["root"]["inputDefinitions"]["parameters"]


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_of_the_environment_gets_into_it(fresh, name):
    written = (fresh / f"{name}.yaml").read_text("utf-8")
    assert "MLFLOW_TRACKING_PASSWORD" in written  # the name, which is looked for in the cluster
    assert MARK not in written


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_machine_gets_into_it(name):
    for place in (str(DIRECTORY.parents[1]), os.path.expanduser("~") + "/", "site-packages"):
        assert place not in text(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_parses_and_every_reference_leads_somewhere(name):
    spec, platform = yaml.safe_load_all(text(name))
    json_format.ParseDict(spec, PipelineSpec())
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for pod in pods.values():
        json_format.ParseDict(pod, KubernetesExecutorConfig())
    assert set(pods) == set(spec["deploymentSpec"]["executors"])
    assert problems(text(name)) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("producerTask: compare", "producerTask: compares", "compares, which has none"),
        ("name: comp-ingest", "name: comp-digest", "component 'comp-digest' that is not there"),
        ("name: comp-finish", "name: comp-end", "component 'comp-end' that is not there"),
        ("componentInputParameter: lora", "componentInputParameter: rola", "'rola', which is no"),
        ("outputArtifactKey: champion", "outputArtifactKey: winner", "wants 'winner' of compare"),
        ("executorLabel: exec-finish", "executorLabel: exec-end", "no executor exec-end"),
        ("dependentTasks:\n        - exit", "dependentTasks:\n        - way", "waits for way-"),
        ("producerTask: exit-handler-1", "producerTask: nobody", "the status of nobody"),
        ("producerSubtask: evaluate", "producerSubtask: nobody", "output "),
        ("            settings:\n", "            setting:\n", "does not take"),
        ("activeDeadlineSeconds", "deadline", "cannot be read"),
        ("triggerPolicy", "trigger", "cannot be read"),
        (
            "        exec-finish:\n          active",
            "        exec-x:\n          active",
            "no executor",
        ),
        ("components:", "components: [", "cannot be read"),
    ],
)
def test_a_broken_one_is_refused(right, wrong, said):
    whole = text("llmclf")
    assert right in whole
    found = problems(whole.replace(right, wrong, 1))
    assert any(said in problem for problem in found), found


def test_an_empty_file_is_refused():
    assert problems("")
