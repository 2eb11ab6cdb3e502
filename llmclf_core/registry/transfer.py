"""Files to and from an MLflow server, which take minutes where other calls take seconds."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

SECONDS = 900
"""To wait for the next byte of a file; a longer ``MLFLOW_HTTP_REQUEST_TIMEOUT`` holds instead."""

_CHUNK = 2**20


class Transfers(MlflowArtifactsRepository):  # type: ignore[misc]
    """MLflow's own way to a server's files, with time for large ones.

    The server is silent while it passes a whole file on to its store, or fetches it from there, and
    MLflow has one time limit for all calls. Ways around the server stay MLflow's.
    """

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        if self._should_multipart_upload(local_file):
            super().log_artifact(local_file, artifact_path)
            return
        kind = {"Content-Type": "application/octet-stream"}  # the server goes by the name
        with Path(local_file).open("rb") as data:
            path = posixpath.join(artifact_path or "", Path(local_file).name)
            self._call("PUT", path, data=data, extra_headers=kind)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        if self._is_multipart_download_enabled():
            super()._download_file(remote_file_path, local_path)
            return
        answer = self._call("GET", remote_file_path, stream=True)
        with Path(local_path).open("wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        seconds = max(SECONDS, MLFLOW_HTTP_REQUEST_TIMEOUT.get())
        where = posixpath.join("/", path)
        answer = http_request(self._host_creds, where, method, timeout=seconds, **arguments)
        augmented_raise_for_status(answer)
        return answer


def use_transfers() -> None:
    """Let MLflow use it in this process."""
    artifact_repository_registry._artifact_repository_registry.register(
        "mlflow-artifacts", Transfers
    )
