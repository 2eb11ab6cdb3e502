import json
import subprocess

import llmclf_core
from llmclf_core.registry import lineage


def test_everything_that_made_it_is_told(monkeypatch):
    monkeypatch.setenv("LLMCLF_PIPELINE_RUN", "exec-1")
    monkeypatch.setenv("LLMCLF_GIT_COMMIT", "feed")
    told = lineage.collect(corpus="c", tokens="t", run_key="k", seed=3)
    assert told == json.loads(json.dumps(told))
    expected = {"corpus": "c", "tokens": "t", "run_key": "k", "seed": 3, "git_commit": "feed"}
    assert expected.items() <= told.items()
    assert told["pipeline_run"] == "exec-1"
    assert told["llmclf"] == llmclf_core.__version__
    assert {"torch", "mlflow"} <= told["libraries"].keys()
    assert told["machine"]["cores"] >= 1
    assert told["machine"]["memory"] > 1e8
    assert told["machine"]["cpu"]


def test_what_is_not_installed_is_left_out():
    assert lineage.versions(["numpy", "no-such-thing"]).keys() == {"numpy"}


def checkout(path, monkeypatch):
    (path / "llmclf_core").mkdir()
    (path / "llmclf_core" / "__init__.py").write_text("")
    monkeypatch.setattr(llmclf_core, "__file__", str(path / "llmclf_core" / "__init__.py"))
    monkeypatch.delenv("LLMCLF_GIT_COMMIT", raising=False)


def git(path, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(path), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_of_a_checkout(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    assert lineage.git_commit() is None
    git(tmp_path, "init", "-q")
    assert lineage.git_commit() is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    git(tmp_path, "tag", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert lineage.git_commit() == head
    (tmp_path / "llmclf_core" / "__init__.py").write_text("x = 1")
    assert lineage.git_commit() == f"{head}-dirty"


def test_cpu_name_elsewhere(monkeypatch):
    monkeypatch.setattr(lineage.Path, "exists", lambda self: False)
    assert lineage._cpu_name()
