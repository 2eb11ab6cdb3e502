"""Lines in a log, a bar on a terminal."""

import logging
import os
import pty
import subprocess
import sys
import termios

import pytest

from llmclf_core import progress
from llmclf_core.progress import Ticker


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "llmclf_core.progress")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_line_every_ten_seconds_and_at_the_end(clock, lines):
    with Ticker("train", 1000) as ticker:
        for _ in range(40):
            clock.now += 1
            ticker.update(25, loss=0.123456)
    assert lines() == [
        "train: 250 of 1,000, loss 0.1235, 10 s, 30 s left",
        "train: 500 of 1,000, loss 0.1235, 20 s, 20 s left",
        "train: 750 of 1,000, loss 0.1235, 30 s, 10 s left",
        "train: 1,000 of 1,000, loss 0.1235, 40 s",
        "train: 1,000 of 1,000, loss 0.1235, 40 s",
    ]


def test_time_left_counts_only_what_this_attempt_has_done(clock, lines):
    with Ticker("train", 1000, done=900) as ticker:
        clock.now += 10
        ticker.update(50)
        assert lines() == ["train: 950 of 1,000, 10 s, 10 s left"]


def test_unknown_total(clock, lines):
    with Ticker("read") as ticker:
        clock.now += 12
        ticker.update(5)
    assert lines() == ["read: 5, 12 s"] * 2
    assert ticker.done == 5


def test_no_last_line_after_a_failure(clock, lines):
    def fail():
        with Ticker("train", 10) as ticker:
            ticker.update()
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert lines() == []


SCRIPT = """
import time
from llmclf_core.steps.process import set_up_logging
set_up_logging()
from llmclf_core.progress import Ticker
with Ticker("train", 3) as ticker:
    for _ in range(3):
        time.sleep(0.15)
        ticker.update(loss=0.5)
"""


def run(stderr):
    environment = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], stderr=stderr, env=environment, check=True
    )


def test_bar_on_a_terminal():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    try:
        run(theirs)
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "\rtrain:" in shown
    assert "2/3" in shown
    assert "loss=0.5" in shown


def test_no_bar_elsewhere():
    shown = run(subprocess.PIPE).stderr.decode()
    assert "\r" not in shown
    assert shown[8:].startswith(" train: 3 of 3, loss 0.5")  # after the time
