"""Check a compiled pipeline: it can be parsed, and every name in it leads somewhere.

The protocol buffers refuse an unknown field, but not a reference to what is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import ComponentSpec, PipelineSpec, PipelineTaskSpec

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C is ten times as fast, where there is one."""


def problems(text: str) -> list[str]:
    """What is wrong with a compiled pipeline.

    Args:
        text: YAML; the pipeline, and what it asks of a platform.

    Returns:
        One sentence for each problem; none for a pipeline that is fine.
    """
    try:
        documents = list(yaml.load_all(text, Loader=_LOADER))
        spec = json_format.ParseDict(documents[0], PipelineSpec())
        pods = _pods(documents[1] if len(documents) > 1 else {})
    except (yaml.YAMLError, json_format.ParseError, AttributeError, IndexError) as error:
        return [f"it cannot be read: {error}"]
    executors = spec.deployment_spec["executors"]
    found = [f"settings for pods of {name}, which is no executor" for name in pods - {*executors}]
    for name, component in [("root", spec.root), *spec.components.items()]:
        if component.executor_label and component.executor_label not in executors:
            found.append(f"{name}: no executor {component.executor_label}")
        found += [f"{name}: {problem}" for problem in _in_dag(component, spec)]
    return sorted(found)


def _pods(platform: dict[str, Any]) -> set[str]:
    """Executors with settings of their own; raises ParseError where one is wrong."""
    cluster = platform.get("platforms", {}).get("kubernetes", {})
    executors = cluster.get("deploymentSpec", {}).get("executors", {})
    for settings in executors.values():
        json_format.ParseDict(settings, KubernetesExecutorConfig())
    return set(executors)


def _in_dag(component: ComponentSpec, spec: PipelineSpec) -> Iterator[str]:
    tasks = component.dag.tasks
    for name, task in tasks.items():
        called = spec.components.get(task.component_ref.name)
        if called is None:
            yield f"{name} is of a component {task.component_ref.name!r} that is not there"
            continue
        for other in set(task.dependent_tasks) - set(tasks):
            yield f"{name} waits for {other}, which is not there"
        for problem in (*_inputs(task, component, called), *_outside(task, component, spec)):
            yield f"{name}: {problem}"
    for output, choice in component.dag.outputs.artifacts.items():
        for one in choice.artifact_selectors:
            if not _gives(one.producer_subtask, one.output_artifact_key, component, spec):
                yield f"output {output}: {one.producer_subtask} has no {one.output_artifact_key}"


def _inputs(task: PipelineTaskSpec, around: ComponentSpec, called: ComponentSpec) -> Iterator[str]:
    """Every argument is one of the component's, none that it needs is missing."""
    for kind in ("parameters", "artifacts"):
        declared = getattr(called.input_definitions, kind)
        given, outer = getattr(task.inputs, kind), getattr(around.input_definitions, kind)
        iterated = {task.parameter_iterator.item_input, task.artifact_iterator.item_input}
        for name in {*given} - {*declared}:
            yield f"gets {name!r}, which it does not take"
        for name, definition in declared.items():
            if name not in given and name not in iterated and not definition.is_optional:
                yield f"does not get {name!r}"
        for name, value in given.items():
            source = getattr(value, f"component_input_{kind[:-1]}")
            if source and source not in outer:
                yield f"{name!r} comes from {source!r}, which is no input"


def _outside(task: PipelineTaskSpec, around: ComponentSpec, spec: PipelineSpec) -> Iterator[str]:
    """Every result of another task is one that it has, and is waited for."""
    wanted = [
        (one.producer_task, getattr(one, f"output_{kind}_key"))
        for kind in ("parameter", "artifact")
        for value in getattr(task.inputs, f"{kind}s").values()
        if (one := getattr(value, f"task_output_{kind}")).producer_task
    ]
    for producer, key in wanted:
        if not _gives(producer, key, around, spec):
            yield f"wants {key!r} of {producer}, which has none"
        elif producer not in task.dependent_tasks:
            yield f"wants {key!r} of {producer}, but does not wait for it"
    for value in task.inputs.parameters.values():
        producer = value.task_final_status.producer_task
        if producer and producer not in around.dag.tasks:
            yield f"wants the status of {producer}, which is not there"


def _gives(producer: str, key: str, around: ComponentSpec, spec: PipelineSpec) -> bool:
    if producer not in around.dag.tasks:
        return False
    called = spec.components.get(around.dag.tasks[producer].component_ref.name, ComponentSpec())
    outputs = called.output_definitions
    return key in outputs.artifacts or key in outputs.parameters
