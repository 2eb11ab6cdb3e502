import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmclf_core.errors import UserError, exit_on_user_error, explain_os_errors

SCRIPT = """
from llmclf_core.errors import UserError, exit_on_user_error
with exit_on_user_error():
    raise {error}
"""


def run(error):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(error=error)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_user_error_is_one_line_and_status_2():
    done = run("UserError('rows.csv, row 3: no text')")
    assert done.returncode == 2
    assert done.stderr == "error: rows.csv, row 3: no text\n"
    assert done.stdout == ""


def test_other_errors_keep_their_traceback():
    done = run("ValueError('a bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_success_passes():
    with exit_on_user_error():
        pass


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run again"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "no permission to write there; choose another output directory"),
        (errno.EPERM, "no permission"),
        (errno.EROFS, "no permission"),
        (errno.EIO, r"\[Errno 5\] Input/output error"),
    ],
)
@pytest.mark.parametrize("from_rust", [False, True])
def test_reasons(number, reason, from_rust):
    def fail():
        if from_rust:
            raise Exception(f"Error: Input/output error [Errno {number}] (os error {number})")
        raise OSError(number, "Input/output error")

    if from_rust and number == errno.EIO:
        reason = r"Input/output error .*\(os error 5\)"
    with (
        pytest.raises(UserError, match=f"^cannot write /out: .*{reason}"),
        explain_os_errors(Path("/out")),
    ):
        fail()


def test_the_file_at_fault_is_named():
    with (
        pytest.raises(UserError, match=r"cannot write out: .*No such file or directory: '/no/in'"),
        explain_os_errors(Path("out")),
    ):
        Path("/no/in").read_text()


@pytest.mark.parametrize(
    "error", [ValueError("os error"), KeyError("x"), UserError("(os error 28)")]
)
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, explain_os_errors(Path("out")):
        raise error
    assert caught.value is error


ZEROS = np.zeros(50_000)


def write_numpy(path):
    with path.open("wb") as file:
        np.save(file, ZEROS)


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.write_bytes(ZEROS.tobytes()),
        lambda p: save_file({"a": ZEROS}, p),
        write_numpy,
    ],
    ids=["python", "safetensors", "numpy"],
)
def test_full_disk(small_disk, write):
    with (
        pytest.raises(UserError, match="out: the disk is full; free some space"),
        explain_os_errors(Path("out")),
    ):
        write(small_disk / "file")
