"""`mlflow models serve` of a registered version, over HTTP against a real process."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.mlflow_helpers import build_and_judge, free_port, use_store, wait_for

TEXTS = ["the goal of the match", "market share and price", "a song by the band"]


@pytest.fixture(scope="module")
def served(tmp_path_factory, tiny_base, corpus_path):
    """(classifier, URL) of a version that a real server answers for."""
    directory = tmp_path_factory.mktemp("serve")
    classifier, register_as = build_and_judge(tiny_base, corpus_path, directory)
    with pytest.MonkeyPatch.context() as patch:
        use_store(f"sqlite:///{directory}/store/mlflow.db", patch)
        register_as("task")
        # MLflow calls uvicorn by name: it has to be on the PATH, as in an activated environment.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path}
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/task@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    log = (directory / "serve.log").open("wb")
    # Started elsewhere, so that the code comes from the logged model.
    process = subprocess.Popen(
        command, env=environment, cwd=directory, stdout=log, stderr=log, start_new_session=True
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process, 120)
        yield classifier, f"http://127.0.0.1:{port}/invocations"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(url, body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"]


BODIES = {
    "records": {"dataframe_records": [{"text": text} for text in TEXTS]},
    "split": {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}},
    "inputs": {"inputs": TEXTS},
    "params": {"inputs": {"text": TEXTS}, "params": {"batch_size": 1}},
}


@pytest.mark.parametrize("kind", BODIES)
def test_served_probabilities_equal_those_in_memory(served, kind):
    classifier, url = served
    answer = ask(url, BODIES[kind])
    assert [[row["label"]] for row in answer] == classifier.predict(TEXTS)
    names = classifier.labels.names
    got = np.array([[row["probabilities"][name] for name in names] for row in answer])
    np.testing.assert_allclose(got, classifier.predict_proba(TEXTS), atol=1e-5)


def test_wrong_request_is_refused(served):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(served[1], {"dataframe_records": [{"body": "x"}]})
    assert caught.value.code == 400
    assert "text" in caught.value.read().decode()
