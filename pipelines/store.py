"""The embedded MLflow store: SQLite and a folder, beside the runs."""

from __future__ import annotations

from pathlib import Path

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from llmclf_core.errors import UserError, explain_os_errors
from llmclf_core.registry.client import connect, short_reason


def store_uri(runs: Path) -> str:
    """Tracking URI of the embedded store in ``runs``."""
    return f"sqlite:///{runs.absolute() / 'mlflow.db'}"


def existing_store(runs: Path) -> str:
    """Tracking URI of the embedded store in ``runs``.

    Raises:
        UserError: when there is none.
    """
    if not (runs / "mlflow.db").exists():
        raise UserError(
            f"no MLflow store in {runs}; set MLFLOW_TRACKING_URI, or name the runs directory with "
            "--runs"
        )
    return store_uri(runs)


def prepare_store(runs: Path, experiment: str) -> str:
    """Create the store and the experiment, artifacts beside the database.

    MLflow's own default would put artifacts below the working directory of whoever comes first.

    Returns:
        The tracking URI.

    Raises:
        UserError: when the database cannot be opened.
    """
    uri = store_uri(runs)
    with explain_os_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
    try:
        client = connect(uri)
        if client.get_experiment_by_name(experiment) is None:
            artifacts = (runs.absolute() / "mlartifacts" / experiment).as_uri()
            client.create_experiment(experiment, artifact_location=artifacts)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise UserError(f"cannot use the MLflow store {uri}: {error}") from None
    except SQLAlchemyError as error:
        raise UserError(f"cannot use the MLflow store {uri}: {_explained(error)}") from None
    return uri


def _explained(error: SQLAlchemyError) -> str:
    reason = short_reason(error)
    if "already exists" in reason or "duplicate column" in reason:
        reason += (
            ". Its tables are half made: a process was killed while it made or upgraded them. If "
            "it holds no runs, move it away and run again"
        )
    return reason
