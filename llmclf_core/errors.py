"""One exception for everything a user can put right, and how the edges report it."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_USER_ERROR = 2
"""Process exit status for a :class:`UserError`; other failures exit with 1."""


class UserError(Exception):
    """A mistake the user can mend: says what is wrong, where, and what to do.

    The message is shown as it is, without a stack trace, so it has to stand on its own.
    """


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a :class:`UserError` into one line on stderr and exit status 2.

    Raises:
        SystemExit: with status 2, in place of a ``UserError``.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_USER_ERROR) from None


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Re-raise the ``OSError`` of a failed write to ``path`` as a :class:`UserError`.

    Libraries written in Rust (safetensors, tokenizers) raise exceptions of their own for them.

    Raises:
        UserError: for a full disk, a read-only place, missing permission, or any other ``OSError``.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _errno(error)
        if number is None and not isinstance(error, OSError):
            raise
        if number in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full; free some space and run again"
        elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = "no permission to write there; choose another output directory"
        else:
            reason = str(error)
        raise UserError(f"cannot write {path}: {reason}") from error


def _errno(error: Exception) -> int | None:
    if isinstance(error, OSError):
        short_write = re.search(r"requested and \d+ written", str(error))  # numpy gives no number
        return errno.ENOSPC if short_write else error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None
