"""The step that runs last, however the others went: the parent run gets its final status."""

from __future__ import annotations

import logging

from llmclf_core.errors import UserError
from llmclf_core.registry.client import tracking_uri
from llmclf_core.registry.runs import REGISTERED_TAG, close_parent, parent_tags, pipeline_run

log = logging.getLogger(__name__)

_SUCCEEDED = {"SUCCEEDED", "COMPLETE", "CACHED"}
_ENDED = {"CANCELED": "KILLED", "CANCELLED": "KILLED"}


def finish(state: str) -> str | None:
    """End the parent run of this pipeline execution. May be repeated.

    The state that Kubeflow tells is not enough: it stays ``RUNNING`` when the last word of a pod is
    lost (memory ran out, a time limit), but also after a success, where a loop's steps came from
    the cache. The last step that counts, ``register``, has told MLflow if all went well.

    Args:
        state: of the pipeline's steps, as Kubeflow tells it.

    Returns:
        ``FINISHED``, ``FAILED`` or ``KILLED``; None where nothing is tracked.

    Raises:
        UserError: when MLflow cannot be used; the step is to be tried again.
    """
    if tracking_uri() is None or pipeline_run() is None:
        return None
    stands = state in _SUCCEEDED or REGISTERED_TAG in parent_tags()
    status = "FINISHED" if stands else _ENDED.get(state, "FAILED")
    log.info("the pipeline's state is %s; its MLflow run ends as %s", state, status)
    if not close_parent(status):
        raise UserError(
            "MLflow cannot be used (see above), and still shows the run of this pipeline as "
            f"running; set the status of run {pipeline_run()!r} to {status} there, or try again"
        )
    return status
