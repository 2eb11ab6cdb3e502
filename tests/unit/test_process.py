"""What the process of a step does around its work."""

import os
import subprocess
import sys

import pytest

from llmclf_core.errors import UserError
from llmclf_core.steps.process import ERROR_FILE, step

SCRIPT = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="[KFP Executor] %(message)s")
from llmclf_core.errors import UserError
from llmclf_core.steps.process import step
with step("ingest"):
    logging.getLogger("llmclf_core.x").info("working")
    for name in ("urllib3", "httpx", "httpx2"):
        logging.getLogger(name).info("noise")
    logging.getLogger("urllib3").warning("trouble")
    {body}
"""


def run(body, **environment):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


def plain(text):
    """Lines without their time."""
    return [line.split(" ", 1)[1] if line[2:3] == ":" else line for line in text.splitlines()]


def test_a_step_that_ends_well(tmp_path):
    done = run("pass", **{ERROR_FILE: str(tmp_path / "error")})
    assert done.returncode == 0
    assert plain(done.stderr) == ["ingest: begins", "working", "trouble", "ingest: done"]
    assert not (tmp_path / "error").exists()


def test_a_users_mistake(tmp_path):
    body = "raise UserError('rows.csv, row 3: no téxt')"
    done = run(body, **{ERROR_FILE: str(tmp_path / "error")})
    assert done.returncode == 2
    assert plain(done.stderr)[-1] == "error: rows.csv, row 3: no téxt"
    assert "Traceback" not in done.stderr
    assert "done" not in done.stderr
    assert (tmp_path / "error").read_text("utf-8") == "ingest: rows.csv, row 3: no téxt"


def test_any_other_error_keeps_its_traceback(tmp_path):
    done = run("raise ValueError('a bug')", **{ERROR_FILE: str(tmp_path / "error")})
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ValueError: a bug" in done.stderr


def test_in_this_process(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(ERROR_FILE, str(tmp_path / "error"))
    with pytest.raises(SystemExit) as caught, step("evaluate"):
        raise UserError("wrong")
    assert caught.value.code == 2
    assert (tmp_path / "error").read_text() == "evaluate: wrong"
    assert capsys.readouterr().err.endswith("error: wrong\n")


def test_no_error_file_asked_for(monkeypatch):
    monkeypatch.delenv(ERROR_FILE, raising=False)
    with pytest.raises(SystemExit), step("evaluate"):
        raise UserError("wrong")
