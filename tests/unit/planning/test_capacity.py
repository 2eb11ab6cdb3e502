"""Memory that is to be had."""

from types import SimpleNamespace

import psutil
import pytest

from llmclf_core.planning import capacity

GB = 1_000_000_000


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine with 10 GB free, this process in group /pod/app, holding 1 GB."""
    root, own = tmp_path / "cgroup", tmp_path / "own"
    root.mkdir()
    own.write_text("4:memory:/pod/app\n0::/pod/app\n")
    monkeypatch.setattr(capacity, "_CGROUPS", root)
    monkeypatch.setattr(capacity, "_OWN_CGROUPS", own)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10 * GB))
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=GB))
    monkeypatch.setattr(psutil, "Process", lambda: process)
    return root


def group(directory, limit, use, reclaimable, version=2):
    directory.mkdir(parents=True, exist_ok=True)
    names = {
        2: ("memory.max", "memory.current", "inactive_file"),
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }[version]
    (directory / names[0]).write_text(f"{limit}\n")
    (directory / names[1]).write_text(f"{use}\n")
    (directory / "memory.stat").write_text(f"cache 5\n{names[2]} {reclaimable}\n")


def test_without_limits_it_is_the_machines(system):
    assert capacity.memory() == 11 * GB  # what this process holds can be had, too
    group(system / "pod", "max", 3 * GB, 0)
    group(system / "memory" / "pod", 1 << 62, 3 * GB, 0, version=1)
    assert capacity.memory() == 11 * GB


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("place", ["pod/app", "pod", "."])
def test_the_narrowest_group_counts(system, version, place):
    root = system / "memory" if version == 1 else system
    group(root / place, 4 * GB, 3 * GB, GB // 2, version)
    assert capacity.memory() == 1.5 * GB + GB


def test_without_a_gpu_there_is_none(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert capacity.gpu_memory() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5, 9))
    assert capacity.gpu_memory() == 5
