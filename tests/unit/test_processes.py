import os
import subprocess
import sys

import pytest
import torch

from llmclf_core.errors import UserError
from llmclf_core.processes import device, is_main_process, on_cpu, process_state


def test_alone():
    assert process_state().num_processes == 1
    assert is_main_process()
    assert on_cpu() is not torch.cuda.is_available()
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_where_a_gpu_was_asked_for_nothing_is_computed_without(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert on_cpu()
    monkeypatch.setenv("LLMCLF_NEEDS_GPU", "1")
    for question in (on_cpu, device):
        with pytest.raises(UserError, match=r"a GPU was asked for.*--gpu-image"):
            question()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not on_cpu()


def test_a_gpu_can_be_left_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert on_cpu()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "false")
    assert not on_cpu()


SCRIPT = """
import sys
from pathlib import Path
from llmclf_core.processes import device, is_main_process, process_state
state = process_state()
told = f"{state.process_index} {state.num_processes} {is_main_process()} {device().type}"
Path(sys.argv[1], str(state.process_index)).write_text(told)
"""


def test_one_of_two(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(tmp_path)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [(tmp_path / index).read_text() for index in "01"]
    assert told == ["0 2 True cpu", "1 2 False cpu"]
