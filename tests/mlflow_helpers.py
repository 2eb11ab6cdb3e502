"""For tests with MLflow: a real server that can be killed, and real classifiers to register."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient

from llmclf_core.approaches.head import HeadClassifier, hidden_size
from llmclf_core.artifacts import TRAIN, Corpus
from llmclf_core.config import (
    BaseModelConfig,
    EvaluateConfig,
    HeadConfig,
    LoraConfig,
    RegisterConfig,
    TokenizeConfig,
)
from llmclf_core.evaluation.evaluate import evaluate_classifier
from llmclf_core.models.base import load_backbone, resolve
from llmclf_core.models.embed import pooled_embeddings
from llmclf_core.models.head import ClassificationHead, HeadModel
from llmclf_core.models.lora import add_adapter
from llmclf_core.models.probe import fit_probe
from llmclf_core.registry.register import register
from llmclf_core.tokens.encode import Encoder

EXPERIMENT = "patents"


def use_store(uri, monkeypatch, experiment=EXPERIMENT):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", experiment)
    return MlflowClient(uri)


def all_runs(client, experiment=EXPERIMENT):
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def run_of(client, key, experiment=EXPERIMENT):
    (run,) = [r for r in all_runs(client, experiment) if r.data.tags.get("llmclf.run_key") == key]
    return run


def points(client, run_id, name):
    history = client.get_metric_history(run_id, name)
    return sorted((point.step, point.value) for point in history)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A real `mlflow server` on loopback, on one port for its whole life."""

    def __init__(self, directory: Path):
        self.directory, self.port = directory, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.directory}/server.db"]
        command += ["--artifacts-destination", str(self.directory / "artifacts")]
        # As our own servers have it (infra/compose.yaml): they run no jobs.
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.directory,
                env=environment,
            )
        wait_for(f"{self.uri}/health", self.process)

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def wait_for(url, process, seconds=180):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


def build_classifier(base: Path, corpus: Corpus, output: Path, skill: float = 1.0, **lineage):
    """A real head classifier: logistic regression on the frozen base, or (skill 0) its opposite."""
    torch.manual_seed(0)
    found, config = resolve(str(base)), BaseModelConfig(source=str(base), dtype="float32")
    backbone = load_backbone(found, config, torch.float32)
    head = ClassificationHead(hidden_size(backbone), len(corpus.labels), HeadConfig())
    adapted = add_adapter(backbone, LoraConfig(rank=2, targets=["q_proj"]), str(base))
    model = HeadModel(adapted, head).eval()
    encoder = Encoder(base, TokenizeConfig(max_length=64))
    rows = corpus.splits[TRAIN]
    ids = [e.ids for e in encoder.encode(rows["text"])]
    cache = output.with_suffix(".npy")
    embedded = pooled_embeddings(model, ids, encoder.pad_id, 16, cache)
    truth = corpus.labels.indicators(rows["labels"])
    weight, bias = fit_probe(embedded, truth, corpus.labels.task)
    with torch.no_grad():
        head.out.weight.copy_(torch.from_numpy(np.asarray(weight)) * (2 * skill - 1))
        head.out.bias.copy_(torch.from_numpy(np.asarray(bias)))
    classifier = HeadClassifier(model, encoder, corpus.labels, found, config, HeadConfig())
    classifier.lineage = lineage
    classifier.save(output)
    return classifier


def build_and_judge(base: Path, corpus_path: Path, directory: Path):
    """A real head classifier and what registers it under a name, in the store of that moment."""
    corpus = Corpus.load(corpus_path)
    classifier = build_classifier(base, corpus, directory / "classifier")
    evaluation = evaluate_classifier(classifier, corpus, EvaluateConfig(bootstrap=20))
    evaluation.save(directory / "evaluation")
    places = (directory / "classifier", directory / "evaluation", corpus_path)

    def register_as(name: str):
        return register(*places, RegisterConfig(), name, directory / "registration.json")

    return classifier, register_as
