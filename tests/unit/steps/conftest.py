"""Work that the user breaks off."""

import os
import signal
import time

import pytest


@pytest.fixture
def ctrl_c():
    """Work in whose middle the user presses Ctrl-C."""

    def work():
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(5)

    # A shell's background job ignores Ctrl-C, and so would a test run that was started as one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield work
    signal.signal(signal.SIGINT, before)
