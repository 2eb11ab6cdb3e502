"""Whole pipelines as processes that run beside a test, and what they left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import boto3
from botocore.config import Config

from tests.pipelines.conftest import Task, write_task

BUCKET = "llmclf"
SECONDS = 900  # a minute or two, on a machine with nothing else to do


def make_task(root: Path, name: str, approach: str, **training: object) -> Task:
    """The tiny task with one approach; the name is the experiment's and the model's too."""
    root.mkdir(parents=True)
    task = write_task(root)
    task.recipe |= {"name": name, "approaches": [approach]}
    task.recipe["training"] |= training
    task.write()
    return task


def start(task: Task, environment: dict[str, str]) -> subprocess.Popen:
    """`llmclf run`, all output in a file of the task."""
    with (task.root / "printed.txt").open("wb") as printed:
        return subprocess.Popen(
            task.command("run", "recipe.yaml"),
            cwd=task.root,
            env=task.environment() | environment,
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )


def stop(process: subprocess.Popen) -> None:
    """Kill the command and its steps, if they still run."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finish(task: Task, process: subprocess.Popen) -> dict:
    """Wait for the run; its summary."""
    assert process.wait(SECONDS) == 0, (task.root / "printed.txt").read_text()
    (summary,) = (task.root / "runs").glob("*/summary.json")
    return json.loads(summary.read_text())


def s3_client(stack, access_key: str | None = None, secret_key: str | None = None, **config):
    return boto3.client(
        "s3",
        endpoint_url=stack.s3_url,
        region_name="us-east-1",
        aws_access_key_id=access_key or stack.secrets["LLMCLF_S3_ACCESS_KEY"],
        aws_secret_access_key=secret_key or stack.secrets["LLMCLF_S3_SECRET_KEY"],
        config=Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"}, **config),
    )


def objects(stack) -> dict[str, bytes]:
    """Everything in the bucket, by key."""
    s3 = s3_client(stack)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
