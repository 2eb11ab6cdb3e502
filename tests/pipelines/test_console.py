"""What reaches the terminal while a pipeline runs, and what becomes of other log handlers."""

import logging
import sys
from pathlib import Path

import pytest

from llmclf_core.steps.process import set_up_logging
from pipelines.console import quiet


@pytest.fixture
def root_logger():
    """The root logger, with the handlers that it had afterwards."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield root
    root.handlers[:] = before


def test_our_lines_reach_the_terminal_and_everything_the_file(tmp_path, capsys, root_logger):
    set_up_logging()
    with quiet(tmp_path / "log.txt"):
        print("12:00:00 ingest: begins")
        print("noise of a library")
        logging.getLogger("kfp").info("Task ingest cache hit")
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["12:00:00 ingest: begins", "ingest: done before, reused"]
    assert shown.err == ""
    logged = (tmp_path / "log.txt").read_text()
    assert "noise of a library" in logged
    assert "cache hit" in logged


def test_log_files_of_others_stay_theirs_even_when_closed(tmp_path, root_logger):
    opened, closed = (logging.FileHandler(tmp_path / f"{n}.log") for n in ("opened", "closed"))
    closed.close()
    root_logger.handlers[:] = [opened, closed]
    with quiet(tmp_path / "log.txt"):
        root_logger.warning("during")
    assert closed.stream is not sys.stderr
    opened.close()
    closed.close()
    assert not sys.stderr.closed
    for handler in (opened, closed):
        assert "during" in Path(handler.baseFilename).read_text()
