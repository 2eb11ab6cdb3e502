"""Freed memory stays with a process that asks for it."""

import subprocess
import sys

SCRIPT = """
from llmclf_core.training.memory import keep_freed_memory
print(keep_freed_memory())
"""


def test_glibc_takes_both_settings():
    command = [sys.executable, "-c", SCRIPT]  # for the whole of a process
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
