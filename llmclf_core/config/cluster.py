"""Settings of the steps' pods. They are compiled into the pipeline; a local run does not read them.

Secrets are not among them: they lie in the cluster, and the pipeline names where.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from llmclf_core.config.sections import PositiveInt, Section

Cores = Annotated[str, StringConstraints(pattern=r"^([0-9]+(\.[0-9]+)?|[0-9]+m)$")]
Bytes = Annotated[str, StringConstraints(pattern=r"^[0-9]+(Ki|Mi|Gi|Ti|M|G|T)?$")]
Accelerated = Literal["finetune", "probe", "evaluate", "register"]


class StepResources(Section):
    """What one kind of step gets."""

    cpu: Cores
    """Cores that it asks for, such as ``2`` or ``500m``. It may use more where there are some."""
    memory: Bytes
    """Memory that it asks for and may not exceed; shared memory counts."""
    timeout_hours: PositiveInt
    """A pod that runs longer is ended, and the step tried again where retries are left."""


class Toleration(Section):
    """A taint of GPU nodes that the steps with a GPU put up with."""

    key: str
    value: str | None = None
    """Unset: any."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class ClusterConfig(Section):
    """What the steps ask of a Kubernetes cluster."""

    accelerator: str = Field(default="nvidia.com/gpu", min_length=1)
    """Kubernetes' name of the GPU resource."""
    gpus: int = Field(default=1, ge=0)
    """GPUs of each step that gets any. 0: the whole pipeline runs on processors."""
    gpu_steps: list[Accelerated] = Field(default=["finetune"])
    """Who gets GPUs. ``probe``, ``evaluate`` and ``register`` (which scores the present champion)
    only read the model: with an LLM of some size they are much faster with one, too."""
    node_selector: dict[str, str] = Field(default={})
    """Labels of the nodes for steps with a GPU."""
    tolerations: list[Toleration] = Field(default=[Toleration(key="nvidia.com/gpu")])
    """Taints of those nodes."""
    light: StepResources = StepResources(cpu="1", memory="4Gi", timeout_hours=6)
    """``ingest``, ``tokenize``, ``compare``."""
    score: StepResources = StepResources(cpu="4", memory="16Gi", timeout_hours=24)
    """``fit_tfidf``, ``fit_probe``, ``evaluate``, ``register``: they read or score many texts."""
    finetune: StepResources = StepResources(cpu="4", memory="24Gi", timeout_hours=72)
    """The fine-tuning steps."""
    shared_memory: Bytes = "2Gi"
    """Most that ``/dev/shm`` holds in steps that run a model."""
    retries: int = Field(default=2, ge=0)
    """How often a step is tried again whose pod was evicted, ran out of time or failed. When no try
    of an approach's step came to an end, the last one only writes that down as the approach's
    failure, and the others are compared; with 0 such a step takes the whole run down."""
    backoff_seconds: PositiveInt = 60
    """Before the first new try; doubled each time."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is pulled."""
    pull_secrets: list[str] = Field(default=[])
    """Names of the Secrets for a registry that asks for a password."""
    cache_ingest: bool = False
    """Reuse the corpus of an earlier run with the same settings and ``source_version``. Kubeflow
    cannot see that a source has changed; with this on, give a new ``source_version`` then."""
