"""`llmclf compile`: what Kubeflow gets."""

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from llmclf_core.config import APPROACHES

COMMON = {"ingest", "compare", "register"}
COMPONENTS = COMMON | {
    "tokenize", "evaluate", "fit-tfidf", "fit-probe",
    "finetune-encoder", "finetune-head", "finetune-instruct",
}  # fmt: skip


def compiled(task, *arguments):
    done = task.llmclf("compile", "--output", "out/pipeline.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    return next(yaml.safe_load_all((task.root / "out" / "pipeline.yaml").read_text()))


def images(spec):
    return {
        name.removeprefix("exec-").rstrip("-0123456789"): executor["container"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
    }


def every_dag(spec):
    yield spec.root.dag
    yield from (c.dag for c in spec.components.values() if c.HasField("dag"))


def test_is_a_valid_pipeline_spec(task):
    spec = json_format.ParseDict(compiled(task), pipeline_spec_pb2.PipelineSpec())
    for dag in every_dag(spec):
        for name, step in dag.tasks.items():
            assert step.component_ref.name in spec.components
            assert step.task_info.name
            assert set(step.dependent_tasks) <= set(dag.tasks), name
    for component in spec.components.values():
        if component.executor_label:
            assert component.executor_label in spec.deployment_spec["executors"]


def test_every_approach_has_a_branch_and_one_title_each(task):
    spec = json_format.ParseDict(compiled(task), pipeline_spec_pb2.PipelineSpec())
    assert set(images(compiled(task))) == COMPONENTS
    titles = [step.task_info.name for dag in every_dag(spec) for step in dag.tasks.values()]
    assert sorted(t for t in titles if t.startswith("Evaluate ")) == sorted(
        f"Evaluate {approach}" for approach in APPROACHES
    )
    assert len(titles) == len(set(titles))


def test_neural_approaches_run_once_for_each_seed_all_at_once(task):
    spec = compiled(task)
    loops = [t for t in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in t]
    assert len(loops) == 3
    assert not [t for t in loops if "iteratorPolicy" in t]


@pytest.mark.parametrize(
    ("approaches", "steps"),
    [
        (["tfidf"], {"fit-tfidf", "evaluate"}),
        (["head", "tfidf"], {"fit-tfidf", "finetune-head", "tokenize", "evaluate"}),
    ],
)
def test_a_recipe_has_its_own_branches_only(task, approaches, steps):
    task.recipe["approaches"] = approaches
    assert set(images(compiled(task, str(task.write())))) == COMMON | steps


def test_nothing_is_installed_at_run_time_and_all_run_in_one_image(task):
    image = "registry.example/llmclf-python@sha256:" + "0" * 64
    containers = images(compiled(task, "--image", image)).values()
    assert len(containers) == len(COMPONENTS)
    assert {c["image"] for c in containers} == {image}
    assert "pip install" not in str([c["command"] for c in containers])


def test_recipe_values_become_defaults(task):
    task.recipe["seeds"] = [3, 4]
    spec = compiled(task, str(task.write()))
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["name"]["defaultValue"] == "tiny"
    assert parameters["seeds"]["defaultValue"] == [3, 4]
    assert parameters["lora"]["defaultValue"]["rank"] == 4
    assert parameters["training"]["defaultValue"]["epochs"] == 2


def test_what_tells_the_registry_is_never_cached(task):
    spec = json_format.ParseDict(compiled(task), pipeline_spec_pb2.PipelineSpec())
    never = {
        name
        for dag in every_dag(spec)
        for name, step in dag.tasks.items()
        if not step.caching_options.enable_cache and not step.WhichOneof("iterator")
    }
    assert never == {"compare", "register"}
