"""What a compiled pipeline asks of Kubernetes for its steps; a local run goes without.

Every step may be tried again: each writes its outputs as a whole, trainings go on from their
checkpoint in the cache, the same classifier is registered once, and MLflow is told each thing once.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from kfp import dsl, kubernetes
from kfp.dsl import PipelineTask
from kfp.dsl.pipeline_context import Pipeline

from components.finish.component import finish as finish_component
from llmclf_core.config import ClusterConfig
from llmclf_core.processes import NEEDS_GPU
from llmclf_core.steps.tries import TRIES

USER = 10001
"""User and group of the steps' processes, as in the image."""
CACHE = "/cache"

_HOUR = 3600


@dataclass(frozen=True)
class Cluster:
    """What a pipeline is compiled for.

    Attributes:
        config: the recipe's section.
        image: of all steps.
        gpu_image: instead, of the steps with a GPU.
        experiment: MLflow experiment; None leaves it to the steps' default.
    """

    config: ClusterConfig
    image: str
    gpu_image: str
    experiment: str | None = None


@dataclass(frozen=True)
class Step:
    """What a component is like.

    Attributes:
        size: section of the cluster's settings with its resources.
        gpu: its name in ``gpu_steps``.
        tracks: it talks to MLflow.
        hub: it may load models or data from the hub.
        approach: it is a step of one approach, and writes down what goes wrong.
        source: it reads the user's data.
        cache: it has the volume; the last step has to start even when that cannot be mounted.
    """

    size: Literal["light", "score", "finetune"] = "light"
    gpu: str | None = None
    tracks: bool = True
    hub: bool = False
    approach: bool = False
    source: bool = False
    cache: bool = True


_FINETUNE = Step("finetune", gpu="finetune", hub=True, approach=True)
STEPS = {
    "ingest": Step(tracks=False, hub=True, source=True),
    "tokenize": Step(tracks=False, hub=True, approach=True),
    "fit-tfidf": Step("score", approach=True),
    "fit-probe": Step("score", gpu="probe", hub=True, approach=True),
    "finetune-encoder": _FINETUNE,
    "finetune-head": _FINETUNE,
    "finetune-instruct": _FINETUNE,
    "evaluate": Step("score", gpu="evaluate", hub=True, approach=True),
    "compare": Step(),
    "register": Step("score", gpu="register", hub=True),
    "finish": Step(cache=False),
}
"""Component to what it is like."""


def ending() -> AbstractContextManager[Any]:
    """What surrounds all steps, so that the last one runs in any case."""
    last = finish_component().set_display_name("Finish")
    return dsl.ExitHandler(last, name="Classify")  # type: ignore[no-any-return]


def dress(cluster: Cluster) -> None:
    """Give every step of the pipeline that is being defined what it needs on a cluster."""
    tasks: Iterable[PipelineTask] = Pipeline.get_default_pipeline().tasks.values()
    for task in tasks:
        step = STEPS[task.component_spec.name]
        accelerated = _accelerated(task, cluster.config, step)
        task.set_container_image(cluster.gpu_image if accelerated else cluster.image)
        _identity(task, cluster, step)
        _resources(task, cluster.config, step)
        _persistence(task, cluster.config, step)
        if accelerated:
            _accelerate(task, cluster.config)


def _identity(task: PipelineTask, cluster: Cluster, step: Step) -> None:
    """Image, user, environment; the secrets' values stay in the cluster."""
    kubernetes.set_image_pull_policy(task, cluster.config.pull_policy)
    if cluster.config.pull_secrets:
        kubernetes.set_image_pull_secrets(task, cluster.config.pull_secrets)
    kubernetes.set_security_context(task, USER, USER, run_as_non_root=True)
    kubernetes.use_field_path_as_env(
        task, "LLMCLF_PIPELINE_RUN", "metadata.labels['pipeline/runid']"
    )
    if step.tracks:
        _tracking(task, cluster.experiment)
    if step.hub:
        kubernetes.use_secret_as_env(task, "llmclf-hub", {"token": "HF_TOKEN"}, optional=True)


def _tracking(task: PipelineTask, experiment: str | None) -> None:
    name = "llmclf-tracking"
    kubernetes.use_config_map_as_env(task, name, {"uri": "MLFLOW_TRACKING_URI"})
    keys = {"username": "MLFLOW_TRACKING_USERNAME", "password": "MLFLOW_TRACKING_PASSWORD"}
    kubernetes.use_secret_as_env(task, name, keys)
    if experiment:
        task.set_env_variable("MLFLOW_EXPERIMENT_NAME", experiment)


def _resources(task: PipelineTask, config: ClusterConfig, step: Step) -> None:
    size = getattr(config, step.size)
    task.set_cpu_request(size.cpu).set_memory_request(size.memory).set_memory_limit(size.memory)
    kubernetes.empty_dir_mount(task, "tmp", "/tmp")  # noqa: S108
    if step.cache:
        kubernetes.mount_pvc(task, "llmclf-cache", CACHE)
    if step.size != "light":
        limit = config.shared_memory
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", "Memory", limit)  # noqa: S108


def _persistence(task: PipelineTask, config: ClusterConfig, step: Step) -> None:
    """Time limit, new tries, and what may be taken from an earlier run.

    An approach's step ends well even when the approach failed, and Kubeflow would keep the failure
    as its result for good; what was trained already is found in the cache volume anyway.
    """
    seconds = getattr(config, step.size).timeout_hours * _HOUR
    kubernetes.set_timeout(task, seconds)
    waits = sum(config.backoff_seconds * 2**n for n in range(config.retries))
    task.set_retry(
        config.retries,
        backoff_duration=f"{config.backoff_seconds}s",
        backoff_factor=2,
        # Counted from the start of the first try: KFP's own hour would end a long step's tries.
        backoff_max_duration=f"{seconds * (config.retries + 1) + waits + _HOUR}s",
    )
    if step.approach and config.retries:
        task.set_env_variable(TRIES, str(config.retries + 1))
    task.set_caching_options(step.source and config.cache_ingest)


def _accelerated(task: PipelineTask, config: ClusterConfig, step: Step) -> bool:
    without_model = task.inputs.get("approach") == "tfidf"
    return config.gpus > 0 and step.gpu in config.gpu_steps and not without_model


def _accelerate(task: PipelineTask, config: ClusterConfig) -> None:
    task.set_accelerator_type(config.accelerator).set_accelerator_limit(config.gpus)
    task.set_env_variable(NEEDS_GPU, "1")
    for label, value in config.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for taint in config.tolerations:
        operator: Literal["Equal", "Exists"] = "Exists" if taint.value is None else "Equal"
        kubernetes.add_toleration(task, taint.key, operator, taint.value, taint.effect)
