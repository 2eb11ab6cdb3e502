"""A thread that carries entries to MLflow: a slow or dead server never holds up training."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from llmclf_core.registry.client import short_reason
from llmclf_core.registry.delivery import Delivery
from llmclf_core.registry.journal import Entry
from llmclf_core.registry.redact import redact

log = logging.getLogger(__name__)

_INTERVAL = 1.0  # seconds between two sendings, so that many entries travel in one call
_LONGEST_PAUSE = 60.0


class Courier:
    """Sends entries in order from its own thread, and tries again with growing pauses.

    Args:
        connect: makes the delivery; called on the thread, until it succeeds.
        entries: what waits already.
        uri: named, redacted, in log lines.
        journal: named in log lines.
    """

    def __init__(
        self, connect: Callable[[], Delivery], entries: Sequence[Entry], uri: str, journal: Path
    ) -> None:
        self._connect = connect
        self._waiting = deque(entries)
        self._uri, self._journal = redact(uri), journal
        self._delivery: Delivery | None = None
        self._changed = threading.Condition()
        self._hurried = self._closing = self._warned = False
        self._attempts = self._last_failure = self._failures = 0
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._work, name="mlflow-courier", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str | None:
        """The MLflow run, once it has been reached."""
        return self._delivery.run_id if self._delivery else None

    def put(self, entry: Entry) -> None:
        """Add an entry; returns at once."""
        with self._changed:
            self._waiting.append(entry)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Send now whatever waits, without regard to pauses.

        Args:
            timeout: seconds to wait at most.

        Returns:
            False when an attempt made now failed, or time was up.
        """
        with self._changed:
            before, self._hurried = self._attempts, True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._idle() or self._last_failure > before, timeout=timeout
            )
            self._hurried = False
            return self._idle()

    def close(self) -> int:
        """Stop the thread (a call under way is not waited for); how many entries still wait."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            return len(self._waiting)

    def _idle(self) -> bool:
        return not self._waiting and self._delivery is not None

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            error = self._attempt(batch)
            with self._changed:
                self._settle(len(batch), error)
                self._changed.notify_all()

    def _next_batch(self) -> list[Entry] | None:
        with self._changed:
            while not self._closing:
                pause = 0.0 if self._hurried else self._not_before - time.monotonic()
                if not self._idle() and pause <= 0:
                    self._attempts += 1
                    return list(self._waiting)
                self._changed.wait(pause if pause > 0 else None)
            return None

    def _attempt(self, batch: list[Entry]) -> Exception | None:
        try:
            delivery = self._delivery or self._connect()
            delivery.send(batch)
            self._delivery = delivery
        except Exception as error:  # whatever it is, training has to go on
            log.debug("MLflow delivery failed", exc_info=True)
            return error
        return None

    def _settle(self, sent: int, error: Exception | None) -> None:
        if error is None:
            for _ in range(sent):
                self._waiting.popleft()
            if self._failures:
                log.info("MLflow at %s answers again; nothing was lost", self._uri)
            self._failures, self._not_before = 0, time.monotonic() + _INTERVAL
            return
        self._failures += 1
        self._last_failure = self._attempts
        self._not_before = time.monotonic() + min(_LONGEST_PAUSE, 2.0**self._failures)
        if not self._warned:
            self._warned = True
            log.warning(
                "MLflow at %s cannot be used (%s); the work goes on, everything is kept in %s and "
                "sent when MLflow answers",
                *(self._uri, short_reason(error), self._journal),
            )
