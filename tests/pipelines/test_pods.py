"""What a compiled pipeline asks of Kubernetes: GPUs, volumes, secrets, retries, time limits."""

import pytest
import yaml

from llmclf_core.config import parse_recipe
from pipelines.compile import compile_to
from pipelines.pods import STEPS

RECIPE = {"name": "pods", "ingest": {"source": "/cache/data.csv"}, "base": {"source": "some/llm"}}
FINETUNE = {"finetune-encoder", "finetune-head", "finetune-instruct"}
MLFLOW = {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}


class Compiled:
    """A compiled pipeline, by the names of its executors without ``exec-``."""

    def __init__(self, path, **cluster):
        recipe = parse_recipe(RECIPE | {"cluster": cluster}, {}, "recipe")
        compile_to(path, recipe, "llmclf:1", "llmclf:1-cuda")
        self.text = path.read_text("utf-8")
        self.spec, platform = yaml.safe_load_all(self.text)
        self.containers = _plain(self.spec["deploymentSpec"]["executors"])
        self.pods = _plain(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
        groups = [self.spec["root"], *self.spec["components"].values()]
        self.tasks = {
            task["componentRef"]["name"].removeprefix("comp-"): task
            for group in groups
            for task in group.get("dag", {}).get("tasks", {}).values()
        }

    def told(self, name):
        """Variables whose values are in the file."""
        return {e["name"]: e["value"] for e in self.containers[name]["container"].get("env", [])}

    def resources(self, name):
        return self.containers[name]["container"]["resources"]


def _plain(executors):
    return {name.removeprefix("exec-"): settings for name, settings in executors.items()}


def component(name):
    return name.rstrip("-0123456789")


def environment(pod):
    """Variable to the object and key that it comes from, and whether that may be missing."""
    found = {}
    for kind in ("secret", "configMap"):
        for one in pod.get(f"{kind}AsEnv", []):
            for entry in one["keyToEnv"]:
                place = (one[f"{kind}Name"], entry[f"{kind}Key"])
                found[entry["envVar"]] = (kind, *place, one["optional"])
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Compiled(tmp_path_factory.mktemp("pods") / "plain.yaml")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """With every setting of the cluster other than its default."""
    return Compiled(
        tmp_path_factory.mktemp("pods") / "told.yaml",
        accelerator="amd.com/gpu",
        gpus=2,
        gpu_steps=["finetune", "probe", "evaluate", "register"],
        node_selector={"pool": "gpu", "zone": "a"},
        tolerations=[{"key": "gpu", "value": "yes", "effect": "NoExecute"}],
        light={"cpu": "500m", "memory": "1Gi", "timeout_hours": 1},
        score={"cpu": "2", "memory": "2Gi", "timeout_hours": 2},
        finetune={"cpu": "3", "memory": "3Gi", "timeout_hours": 3},
        shared_memory="1Gi",
        retries=4,
        backoff_seconds=10,
        pull_policy="Always",
        pull_secrets=["registry"],
        cache_ingest=True,
    )


def test_every_step_has_settings(plain):
    assert set(plain.pods) == set(plain.containers)
    assert {component(name) for name in plain.pods} == set(STEPS)


def test_only_fine_tuning_gets_a_gpu(plain):
    accelerated = {n for n in plain.containers if "accelerator" in plain.resources(n)}
    assert {component(name) for name in accelerated} == FINETUNE
    for name, pod in plain.pods.items():
        assert ("tolerations" in pod) == (name in accelerated)
        image = plain.containers[name]["container"]["image"]
        assert image == ("llmclf:1-cuda" if name in accelerated else "llmclf:1")
    for name in accelerated:
        accelerator = plain.resources(name)["accelerator"]
        assert accelerator["resourceType"] == "nvidia.com/gpu"
        assert accelerator["resourceCount"] == "1"
        assert plain.pods[name]["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]


def test_more_steps_get_gpus_when_asked_for_but_never_one_without_a_model(told):
    accelerated = {n for n in told.containers if "accelerator" in told.resources(n)}
    assert {component(n) for n in accelerated} == FINETUNE | {"fit-probe", "evaluate", "register"}
    evaluations = [n for n in told.containers if component(n) == "evaluate"]
    assert len([n for n in evaluations if n in accelerated]) == len(evaluations) - 1
    for name in accelerated:
        assert told.resources(name)["accelerator"]["resourceType"] == "amd.com/gpu"
        assert told.resources(name)["accelerator"]["resourceCount"] == "2"
        assert told.pods[name]["nodeSelector"] == {"labels": {"pool": "gpu", "zone": "a"}}
        assert told.pods[name]["tolerations"] == [
            {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute"}
        ]
    for name in set(told.pods) - accelerated:
        assert not {"nodeSelector", "tolerations"} & set(told.pods[name])


def test_a_cluster_without_gpus_or_new_tries(tmp_path):
    text = Compiled(tmp_path / "cpu.yaml", gpus=0, retries=0).text
    assert "LLMCLF_TRIES" not in text
    assert "LLMCLF_NEEDS_GPU" not in text
    assert "accelerator" not in text
    assert "tolerations" not in text
    assert "llmclf:1-cuda" not in text


def test_memory_and_processors_go_by_the_kind_of_step(told):
    for name in told.containers:
        size = {"light": ("500m", "1Gi"), "score": ("2", "2Gi"), "finetune": ("3", "3Gi")}
        cpu, memory = size[STEPS[component(name)].size]
        found = told.resources(name)
        assert found["resourceCpuRequest"] == cpu
        assert found["resourceMemoryRequest"] == found["resourceMemoryLimit"] == memory


def test_volumes(plain):
    for name, pod in plain.pods.items():
        mounts = {m["mountPath"]: m for m in pod["emptyDirMounts"]}
        assert "medium" not in mounts["/tmp"]
        runs_model = STEPS[component(name)].size != "light"
        assert ("/dev/shm" in mounts) == runs_model
        if runs_model:
            assert mounts["/dev/shm"]["medium"] == "Memory"
            assert mounts["/dev/shm"]["sizeLimit"] == "2Gi"
        claims = [(m["constant"], m["mountPath"]) for m in pod.get("pvcMount", [])]
        assert claims == ([] if component(name) == "finish" else [("llmclf-cache", "/cache")])


def test_secrets_are_named_and_given_to_who_needs_them(plain):
    for name, pod in plain.pods.items():
        step, found = STEPS[component(name)], environment(pod)
        assert (set(found) >= MLFLOW) == step.tracks
        assert ("HF_TOKEN" in found) == step.hub
    assert environment(plain.pods["register"]) == {
        "MLFLOW_TRACKING_URI": ("configMap", "llmclf-tracking", "uri", False),
        "MLFLOW_TRACKING_USERNAME": ("secret", "llmclf-tracking", "username", False),
        "MLFLOW_TRACKING_PASSWORD": ("secret", "llmclf-tracking", "password", False),
        "HF_TOKEN": ("secret", "llmclf-hub", "token", True),
    }
    assert environment(plain.pods["ingest"]) == {
        "HF_TOKEN": ("secret", "llmclf-hub", "token", True),
    }


def test_all_of_one_run_share_experiment_and_parent(plain):
    for name, pod in plain.pods.items():
        (field,) = pod["fieldPathAsEnv"]
        assert field["name"] == "LLMCLF_PIPELINE_RUN"
        assert field["fieldPath"] == "metadata.labels['pipeline/runid']"
        tracks = STEPS[component(name)].tracks
        assert plain.told(name).get("MLFLOW_EXPERIMENT_NAME") == ("pods" if tracks else None)


def test_steps_of_an_approach_know_how_many_tries_there_are(plain, told):
    """Else none would write down, at the last one, that all were ended from outside."""
    of_an_approach = FINETUNE | {"tokenize", "fit-tfidf", "fit-probe", "evaluate"}
    for compiled, tries in ((plain, "3"), (told, "5")):
        found = {name: compiled.told(name).get("LLMCLF_TRIES") for name in compiled.pods}
        assert {component(name) for name, value in found.items() if value} == of_an_approach
        assert set(found.values()) == {None, tries}


def test_steps_with_a_gpu_do_not_go_without(plain, told):
    for compiled in (plain, told):
        for name in compiled.pods:
            needs = compiled.told(name).get("LLMCLF_NEEDS_GPU")
            assert needs == ("1" if "accelerator" in compiled.resources(name) else None)


def test_nobody_is_root(plain):
    for pod in plain.pods.values():
        assert pod["securityContext"] == {
            "runAsUser": "10001",
            "runAsGroup": "10001",
            "runAsNonRoot": True,
        }


def test_pulling(plain, told):
    assert {pod["imagePullPolicy"] for pod in plain.pods.values()} == {"IfNotPresent"}
    assert {pod["imagePullPolicy"] for pod in told.pods.values()} == {"Always"}
    assert {p["imagePullSecret"][0]["secretName"] for p in told.pods.values()} == {"registry"}


def test_retries_have_time_for_every_try(plain, told):
    """KFP counts from the start of the first try: after its default of an hour none would come."""
    for compiled, count, wait in ((plain, 2, 60), (told, 4, 10)):
        for name, pod in compiled.pods.items():
            policy = compiled.tasks[name]["retryPolicy"]
            assert policy["maxRetryCount"] == count
            assert policy["backoffDuration"] == f"{wait}s"
            assert policy["backoffFactor"] == 2
            limit = int(pod["activeDeadlineSeconds"])
            waits = sum(wait * 2**n for n in range(count))
            assert int(policy["backoffMaxDuration"].rstrip("s")) > limit * (count + 1) + waits
    assert told.pods["compare"]["activeDeadlineSeconds"] == "3600"
    assert told.pods["register"]["activeDeadlineSeconds"] == "7200"
    assert told.pods["finetune-head"]["activeDeadlineSeconds"] == "10800"


def test_nothing_is_taken_from_an_earlier_run_unless_asked_for(plain, told):
    def cached(compiled):
        steps = {n: t["cachingOptions"] for n, t in compiled.tasks.items() if n in compiled.pods}
        assert set(steps) == set(compiled.pods)
        return {n for n, options in steps.items() if options.get("enableCache")}

    assert cached(plain) == set()
    assert cached(told) == {"ingest"}


def test_the_local_runner_gets_none_of_it():
    from pipelines.pipeline import build

    local = build()
    assert not local.platform_spec.platforms
    assert "comp-finish" not in local.pipeline_spec.components
    assert set(local.pipeline_spec.root.output_definitions.artifacts) == {
        "corpus", "comparison", "champion", "evaluation", "registration",
    }  # fmt: skip
