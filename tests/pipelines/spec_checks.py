"""A submitted pipeline against the protos that define it, and its parameters against its inputs."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
from kfp.pipeline_spec import pipeline_spec_pb2


def check_pipeline(body: dict[str, Any]) -> pipeline_spec_pb2.PipelineSpec:
    """Parse the pipeline of a request and hold its parameters against it.

    Raises:
        ValueError: saying what does not fit.
    """
    given = body["pipeline_spec"]
    try:
        spec = json_format.ParseDict(
            given.get("pipeline_spec", given), pipeline_spec_pb2.PipelineSpec()
        )
        platform = json_format.ParseDict(
            given.get("platform_spec", {}), pipeline_spec_pb2.PlatformSpec()
        )
        for executor in platform.platforms["kubernetes"].deployment_spec.executors.values():
            config = json_format.MessageToDict(executor)
            json_format.ParseDict(config, kubernetes.KubernetesExecutorConfig())
    except json_format.ParseError as error:
        raise ValueError(f"invalid pipeline: {error}") from None
    _check_references(spec)
    _check_parameters(spec, body["runtime_config"]["parameters"])
    return spec


def _check_references(spec: pipeline_spec_pb2.PipelineSpec) -> None:
    dags = [spec.root.dag, *(c.dag for c in spec.components.values())]
    wanted = {task.component_ref.name for dag in dags for task in dag.tasks.values()}
    if missing := wanted - set(spec.components):
        raise ValueError(f"invalid pipeline: no component {sorted(missing)}")


def _check_parameters(spec: pipeline_spec_pb2.PipelineSpec, parameters: dict[str, Any]) -> None:
    declared = spec.root.input_definitions.parameters
    if unknown := set(parameters) - set(declared):
        raise ValueError(f"parameters that the pipeline does not have: {sorted(unknown)}")
    needed = {
        name
        for name, about in declared.items()
        if not about.is_optional and not about.HasField("default_value")
    }
    if missing := needed - set(parameters):
        raise ValueError(f"parameters are missing: {sorted(missing)}")
    types = {1: int, 2: float, 3: str, 4: bool, 5: list, 6: dict}
    for name, value in parameters.items():
        if not isinstance(value, types[declared[name].parameter_type]):
            raise ValueError(f"parameter {name} has the wrong type: {value!r}")
