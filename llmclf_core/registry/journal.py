"""The journal: every tracking operation, on disk before it is sent anywhere.

One JSON object a line. A line counts once its newline is on the disk, so a process killed in the
middle of a write loses at most the operation it was writing.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from llmclf_core.errors import UserError, explain_os_errors

JOURNAL = "tracking.jsonl"
"""Name of a journal inside an artifact's directory."""

RUN, RESUME, PARAMS, METRICS = "run", "resume", "params", "metrics"
TAGS, DATASET, ARTIFACT, END, DELIVERED = "tags", "dataset", "artifact", "end", "delivered"

Entry = dict[str, Any]
"""``op`` (one of the constants above) and that operation's own keys."""


class Journal:
    """An append-only file of entries; safe to use from several threads.

    Raises:
        UserError: when the place cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _drop_torn_line(path)
            self._file = path.open("a", encoding="utf-8")

    def append(self, entry: Entry) -> None:
        """Write one entry; it is on the disk when this returns.

        Raises:
            UserError: when the disk is full or gone.
        """
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        with self._lock, explain_os_errors(self.path):
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_journal(path: Path) -> list[Entry]:
    """All whole entries of a journal; the first is the ``run`` entry.

    Raises:
        UserError: when it is missing, or damaged elsewhere than in its last line.
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read the tracking journal {path}: {error.strerror}") from None
    whole = text[: text.rfind("\n") + 1]
    try:
        entries = [json.loads(line) for line in whole.split("\n")[:-1]]
    except ValueError:
        raise UserError(
            f"the tracking journal {path} is damaged; what MLflow already has is not affected: "
            "remove the file to go on without it"
        ) from None
    if entries and entries[0].get("op") != RUN:
        raise UserError(f"{path} is not a tracking journal")
    return entries


def undelivered(entries: list[Entry]) -> list[Entry]:
    """The entries after the last point at which all had been sent."""
    for index in range(len(entries) - 1, -1, -1):
        if entries[index]["op"] == DELIVERED:
            return entries[index + 1 :]
    return entries[1:]


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
