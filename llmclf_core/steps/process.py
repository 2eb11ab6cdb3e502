"""What the process of every pipeline step does around its work."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmclf_core.errors import UserError, exit_on_user_error

ERROR_FILE = "LLMCLF_ERROR_FILE"
"""Names a file that receives the message of a failed step, for whoever started the pipeline."""

_NOISY = (
    "httpx",
    "httpx2",
    "urllib3",
    "filelock",
    "alembic",
    "mlflow",
    "git",
    "fsspec",
    "datasets",
    "matplotlib",
)


def set_up_logging() -> None:
    """Plain lines with the time on stderr; libraries only from warnings on."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,  # KFP's executor has set up its own, with a prefix as long as a message
    )
    warnings.simplefilter("ignore", FutureWarning)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Progress is shown by our own lines; bars of libraries break up a log.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # tqdm takes any value, "0" too, for a yes


@contextmanager
def step(name: str) -> Iterator[None]:
    """Run a step: logging set up, a user's mistake as one line and exit status 2.

    Raises:
        SystemExit: in place of a ``UserError``.
    """
    set_up_logging()
    # Nothing here is compiled, but bitsandbytes would load PyTorch's compiler: two seconds.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    logging.getLogger(__name__).info("%s: begins", name)
    with exit_on_user_error():
        try:
            yield
        except UserError as error:
            if ERROR_FILE in os.environ:
                Path(os.environ[ERROR_FILE]).write_text(f"{name}: {error}", "utf-8")
            raise
    logging.getLogger(__name__).info("%s: done", name)
