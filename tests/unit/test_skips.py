"""What is missing is named on a laptop, and fails in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import missing_service

ROOT = Path(__file__).parents[2]


def test_on_a_laptop_a_skip_names_what_is_missing(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="missing here: no database: install one"):
        missing_service("no database: install one")


def test_in_ci_it_is_a_failure(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI must not skip: no database"):
        missing_service("no database")


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_skip_of_any_kind_fails_ci(tmp_path, ci, status, workers):
    (tmp_path / "test_some.py").write_text(
        "import pytest\n\n\ndef test_good():\n    pass\n\n\n"
        "@pytest.mark.skip(reason='not today')\ndef test_skipped():\n    pass\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-n",
        workers,
        "-q",
        "--no-cov",
    ]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert ("1 skipped: CI must not skip" in done.stdout) == bool(status)
