"""`llmclf compile`: what Kubeflow gets."""

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from llmclf_core.config import APPROACHES

COMMON = {"ingest", "compare", "register", "finish"}
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


def test_every_approach_has_a_branch_and_one_title_each(task):
    spec = json_format.ParseDict(compiled(task), pipeline_spec_pb2.PipelineSpec())
    assert set(images(compiled(task))) == COMPONENTS
    titles = [step.task_info.name for dag in every_dag(spec) for step in dag.tasks.values()]
    assert sorted(t for t in titles if t.startswith("Evaluate ")) == sorted(
        f"Evaluate {approach}" for approach in APPROACHES
    )
    assert all(titles)
    assert len(titles) == len(set(titles))


def test_neural_approaches_run_once_for_each_seed_all_at_once(task):
    spec = compiled(task)
    steps = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    loops = [t for t in steps.values() if "parameterIterator" in t]
    assert len(loops) == 3
    assert not [t for t in loops if "iteratorPolicy" in t]


def test_the_exit_handler_follows_all_other_steps(task):
    tasks = compiled(task)["root"]["dag"]["tasks"]
    assert set(tasks) == {"exit-handler-1", "finish"}
    assert tasks["finish"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert tasks["finish"]["dependentTasks"] == ["exit-handler-1"]


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
    image = "registry.example:5000/team/llmclf@sha256:" + "0" * 64
    containers = images(compiled(task, "--image", image)).values()
    assert len(containers) == len(COMPONENTS)
    assert {c["image"] for c in containers} == {image}
    assert "pip install" not in str([c["command"] for c in containers])


def test_steps_with_a_gpu_may_have_an_image_of_their_own(task):
    found = images(compiled(task, "--image", "r.io/llmclf:1", "--gpu-image", "r.io/llmclf:1-cuda"))
    own = {name for name, c in found.items() if c["image"] == "r.io/llmclf:1-cuda"}
    assert own == {"finetune-encoder", "finetune-head", "finetune-instruct"}


@pytest.mark.parametrize(
    "image", ["", "Upper/case", "name:", "name@sha256:abc", "a b", "name:tag@md5:" + "0" * 64]
)
def test_what_is_no_image_is_refused_and_nothing_written(task, image):
    done = task.llmclf("compile", "--output", "out/pipeline.yaml", "--image", image)
    assert done.returncode == 2
    assert "is no name of an image" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (task.root / "out").exists()


def test_recipe_values_become_defaults(task):
    task.recipe["seeds"] = [3, 4]
    spec = compiled(task, str(task.write()), "--set", "training.epochs=7")
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["name"]["defaultValue"] == "tiny"
    assert parameters["seeds"]["defaultValue"] == [3, 4]
    assert parameters["lora"]["defaultValue"]["rank"] == 4
    assert parameters["training"]["defaultValue"]["epochs"] == 7


def test_data_that_steps_could_not_read_are_warned_about(task):
    def warned(*arguments):
        done = task.llmclf("compile", "recipe.yaml", "--output", "out/pipeline.yaml", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stderr

    task.recipe["ingest"]["source"] = "/data/a.csv"
    task.recipe["base"]["source"] = "acme/llm"
    task.recipe["approaches"] = ["tfidf"]
    task.write()
    assert "the steps on the cluster cannot read ingest.source: /data/a.csv" in warned()
    assert "cannot read" not in warned("--mounted", "/data")


def test_without_a_recipe_only_what_no_default_can_know_is_asked_for(task):
    parameters = compiled(task)["root"]["inputDefinitions"]["parameters"]
    asked = {name for name, p in parameters.items() if "defaultValue" not in p}
    assert asked == {"name", "ingest", "base"}
    assert parameters["training"]["defaultValue"]["batch_size"] > 0


def test_a_setting_without_a_recipe_is_refused(task):
    done = task.llmclf("compile", "--set", "cluster.gpus=0")
    assert done.returncode == 2
    assert "cluster.gpus is a setting of a recipe" in done.stderr
