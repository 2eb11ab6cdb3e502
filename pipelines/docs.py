"""The README of each component, from its signature and docstring: ``python -m pipelines.docs``."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docstring_parser import DocstringStyle
from docstring_parser import parse as parse_docstring

import components
from llmclf_core.config import ClusterConfig
from llmclf_core.processes import NEEDS_GPU
from llmclf_core.steps.tries import TRIES
from pipelines.pods import STEPS, Step

ROOT = Path(components.__file__).parent
_TYPES = {"String": "str", "Integer": "int", "typing.Dict[str, typing.Any]": "dict"}
_STATUS = "PipelineTaskFinalStatus"


def names() -> list[str]:
    """The components, by the names of their directories."""
    return sorted(file.parent.name for file in ROOT.glob("*/component.py"))


def readme(name: str) -> str:
    """The README of a component, as Markdown."""
    component = getattr(importlib.import_module(f"components.{name}.component"), name)
    spec = component.component_spec
    told = parse_docstring(component.python_func.__doc__, DocstringStyle.GOOGLE)
    about = {one.arg_name: " ".join((one.description or "").split()) for one in told.params}
    step = STEPS[spec.name]
    parts = [
        f"# {name}",
        "<!-- Made by `make docs` from component.py. -->",
        " ".join((told.description or "").split()),
        _table("input", ["type", "default"], list(_inputs(spec, about))),
        _table("output", ["type"], list(_outputs(spec, about))),
        f"## On a cluster\n\n{_cluster(step)}",
        f"## Use\n\n```python\n{example(name)}```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(first: str, more: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    head = [first, *more, "what"]
    lines = [head, ["---"] * len(head), *rows]
    return f"## {first.title()}s\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _inputs(spec: Any, about: dict[str, str]) -> Iterator[list[str]]:
    for name, one in (spec.inputs or {}).items():
        default = "required"
        if one.type == _STATUS:
            default = "from Kubeflow"
        elif one.optional and one.default is None:
            default = "none"
        elif one.optional:
            default = f"`{json.dumps(one.default)}`"
        yield [f"`{name}`", f"`{_type(one)}`", default, about[name]]


def _outputs(spec: Any, about: dict[str, str]) -> Iterator[list[str]]:
    for name, one in (spec.outputs or {}).items():
        yield [f"`{name}`", f"`{_type(one)}`", about[name]]


def _type(one: Any) -> str:
    name = _TYPES.get(one.type, one.type.removeprefix("system.").partition("@")[0])
    return f"list of {name}" if one.is_artifact_list else name


def _cluster(step: Step) -> str:
    size = getattr(ClusterConfig(), step.size)
    env = ["MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"]
    env = [*env, "MLFLOW_EXPERIMENT_NAME"] if step.tracks else []
    env += ["LLMCLF_PIPELINE_RUN"]
    env += [TRIES] * step.approach
    env += ["HF_TOKEN"] * step.hub
    gpu = "never"
    if step.gpu:
        own = "by default" if step.gpu in ClusterConfig().gpu_steps else "when asked for"
        gpu = f"{own} (`cluster.gpu_steps`, `{step.gpu}`); then `{NEEDS_GPU}=1`: never without"
    rows = [
        ("image", "one for all components: `--image` of `llmclf compile`, else `LLMCLF_IMAGE`"),
        ("CPU, memory", f"{size.cpu}, {size.memory} (`cluster.{step.size}` of the recipe)"),
        ("time limit", f"{size.timeout_hours} h"),
        ("GPU", gpu),
        ("environment", ", ".join(f"`{name}`" for name in env)),
    ]
    return "| | |\n| --- | --- |\n" + "\n".join(f"| {a} | {b} |" for a, b in rows)


def example(name: str) -> str:
    """A pipeline that uses the component, as Python."""
    component = getattr(importlib.import_module(f"components.{name}.component"), name)
    inputs = component.component_spec.inputs or {}
    if any(one.type == _STATUS for one in inputs.values()):
        return _last(name)
    needed = {key: _annotation(one) for key, one in inputs.items() if not one.optional}
    lines = [
        "from kfp import dsl\n\n",
        f"from components.{name}.component import {name}\n\n\n",
        "@dsl.pipeline\ndef example(\n",
        *(f"    {key}: {annotation},\n" for key, annotation in needed.items()),
        f"):\n    {name}(\n",
        *(f"        {key}={key},\n" for key in needed),
        "    )\n",
    ]
    return "".join(lines)


def _annotation(one: Any) -> str:
    name = _type(one)
    return f"dsl.Input[dsl.{name}]" if one.type.startswith("system.") else name


def _last(name: str) -> str:
    return (
        "from kfp import dsl\n\n"
        f"from components.{name}.component import {name}\n"
        "from components.ingest.component import ingest\n\n\n"
        "@dsl.pipeline\ndef example(settings: dict):\n"
        f"    with dsl.ExitHandler({name}()):\n        ingest(settings=settings)\n"
    )


if __name__ == "__main__":
    for component_name in names():
        (ROOT / component_name / "README.md").write_text(readme(component_name), "utf-8")
        print(f"components/{component_name}/README.md")
