"""Freed memory stays with a process that asks for it."""

import subprocess
import sys

SCRIPT = """
import ctypes, resource, sys
from llmclf_core.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
import torch
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    before = faults()
    [torch.ones(1 << 20) for _ in range(40)]  # 160 MB at once, as a pass has them
    return faults() - before
print([work() for _ in range(20)][-1])
"""


def test_the_next_pass_finds_its_pages():
    def faults(how):
        command = [sys.executable, "-c", SCRIPT, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 0.1 * faults("leave")
