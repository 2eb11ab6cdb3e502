"""Signals that ask a run to end also end its steps."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from kfp.local import subprocess_task_handler

from pipelines import stopping

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture(autouse=True)
def heard():
    """A session that was started in the background, or by nohup, ignores some."""
    before = {n: signal.signal(n, signal.default_int_handler) for n in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    stopping.stopped.clear()


def send(number, context, before=lambda: None):
    with context:
        before()
        os.kill(os.getpid(), number)
        time.sleep(1)


@pytest.mark.parametrize("number", ASKING)
def test_every_signal_that_asks_to_end_is_heard(number):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        send(number, stopping.ended_by_signals(calls.append))
    assert calls == [number]
    assert stopping.stopped.is_set()
    assert {signal.getsignal(n) for n in ASKING} == {signal.default_int_handler}


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    calls = []
    with stopping.ended_by_signals(calls.append):
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.01)
    assert calls == []


def test_kill_ends_the_steps_and_nobody_elses_processes():
    other, steps = subprocess.Popen(SLEEP), []

    def start():
        steps.append(psutil.Popen(["sh", "-c", '"$@"; true', "sh", *SLEEP]))
        while not steps[0].children():
            time.sleep(0.01)
        steps.extend(steps[0].children())

    try:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM, stopping.processes_end_too(), start)
        deadline = time.monotonic() + 10
        while any(map(lives, steps)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert lives(psutil.Process(other.pid))
    finally:
        other.kill()
        other.wait()


def lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_step_begins_any_more():
    """KFP's threads go on with what they have to do."""
    with stopping.processes_end_too():
        run = subprocess_task_handler.run_local_subprocess
        assert run([sys.executable, "-c", "raise SystemExit(3)"]) == 3
        stopping.stopped.set()
        assert run([sys.executable, "-c", "raise SystemExit(3)"]) == stopping.KILLED
