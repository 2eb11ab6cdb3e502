"""`llmclf compile`: what Kubeflow gets."""

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

STEPS = ["ingest", "tokenize", "finetune-head", "evaluate", "register"]


def compiled(task, *arguments):
    done = task.llmclf("compile", "--output", "out/pipeline.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    return next(yaml.safe_load_all((task.root / "out" / "pipeline.yaml").read_text()))


def test_is_a_valid_pipeline_spec(task):
    spec = json_format.ParseDict(compiled(task), pipeline_spec_pb2.PipelineSpec())
    assert sorted(spec.root.dag.tasks) == sorted(STEPS)
    for step in spec.root.dag.tasks.values():
        assert step.component_ref.name in spec.components
        assert step.task_info.name
    for component in spec.components.values():
        label = component.executor_label
        assert label in spec.deployment_spec["executors"]


def test_nothing_is_installed_at_run_time_and_all_run_in_one_image(task):
    spec = compiled(task, "--image", "registry.example/llmclf-python@sha256:" + "0" * 64)
    containers = [e["container"] for e in spec["deploymentSpec"]["executors"].values()]
    assert len(containers) == len(STEPS)
    assert {c["image"] for c in containers} == {"registry.example/llmclf-python@sha256:" + "0" * 64}
    assert "pip install" not in str([c["command"] for c in containers])


def test_recipe_values_become_defaults(task):
    path = task.write()
    spec = compiled(task, str(path))
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["name"]["defaultValue"] == "tiny"
    assert parameters["lora"]["defaultValue"]["rank"] == 4
    assert parameters["training"]["defaultValue"]["epochs"] == 2


def test_register_is_never_cached(task):
    tasks = compiled(task)["root"]["dag"]["tasks"]
    cached = {name for name, t in tasks.items() if t["cachingOptions"].get("enableCache")}
    assert cached == set(STEPS) - {"register"}
