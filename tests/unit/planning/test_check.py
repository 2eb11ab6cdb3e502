"""A training that will not fit is refused before it begins."""

import logging

import pytest

from llmclf_core.errors import UserError
from llmclf_core.planning import check
from llmclf_core.planning.bound import bound
from llmclf_core.planning.estimate import Taken
from llmclf_core.planning.rehearsal import TooLargeError

NEED = Taken(1, 1, 5e9, 9e9, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def room(monkeypatch):
    """Sets what memory there is; rehearsals give NEED, and are counted."""
    asked = []

    def set_to(memory, gpu=None, estimate=lambda *_: NEED):
        monkeypatch.setattr(check.capacity, "memory", lambda: int(memory))
        monkeypatch.setattr(check.capacity, "gpu_memory", lambda: gpu)
        monkeypatch.setattr(check, "estimate", lambda *a: asked.append(a) or estimate(*a))
        return asked

    return set_to


def test_training_refuses_early(job_for, room, tmp_path, monkeypatch):
    asked = room(1e9)
    job = job_for("head")
    monkeypatch.setattr(type(job), "build", lambda self: pytest.fail("weights were loaded"))
    with pytest.raises(UserError) as raised:
        job.run(tmp_path / "classifier")
    assert str(raised.value) == (
        "head: training needs about 9.0 GB of memory, and there are 1.0 GB; `llmclf plan RECIPE` "
        "says what to change (training.memory_check: warn tries all the same)"
    )
    setup, tokens, directory, read = asked[0]
    assert setup.lora == job.lora
    assert setup.training == job.training
    assert directory == job.base.directory
    assert read == sum(map(len, tokens.splits["train"]["input_ids"]))


def test_what_is_bound_to_fit_is_not_rehearsed(job_for, room, tmp_path):
    asked = room(1e12)
    job_for("head").run(tmp_path / "classifier")
    assert not asked


def test_what_fits_by_its_rehearsal_is_trained(job_for, room, caplog):
    asked = room(9.1e9, gpu=1_000_000)
    job = job_for("instruct")
    check.check_memory(job)
    assert len(asked) == 1


@pytest.mark.parametrize("approach", ["head", "instruct", "encoder"])
def test_gpu_memory_counts_by_itself(job_for, room, approach):
    on_gpu = Taken(1, 1, 1e9, 1e9, 2e9, 3e9, 0, 0, 0, 0, 0)
    room(1e12, gpu=2_900_000_000, estimate=lambda *_: on_gpu)
    job = job_for(approach)
    if bound(job) <= 2.9e9:
        room(1e12, gpu=1_000_000_000, estimate=lambda *_: on_gpu)
    with pytest.raises(UserError, match=r"about 3\.0 GB of GPU memory, and there are"):
        check.check_memory(job)


def test_a_warning_will_do(job_for, room, caplog):
    room(1e9)
    with caplog.at_level(logging.WARNING):
        check.check_memory(job_for("head", memory_check="warn"))
    assert "head: training needs about 9.0 GB of memory" in caplog.text


def test_switched_off_nothing_is_done(job_for, room):
    asked = room(1)
    check.check_memory(job_for("head", memory_check="off"))
    assert not asked


def test_not_even_a_rehearsal_fits(job_for, room):
    def killed(*_):
        raise TooLargeError("killed")

    room(1e9, estimate=killed)
    with pytest.raises(UserError, match=r"needs more than there is \(1\.0 GB\)"):
        check.check_memory(job_for("head"))


def test_what_cannot_be_told_hinders_nobody(job_for, room, caplog):
    def broken(*_):
        raise RuntimeError("a rehearsal failed")

    room(1e9, estimate=broken)
    check.check_memory(job_for("head"))
    assert "what memory it needs cannot be told: a rehearsal failed" in caplog.text


def test_the_check_does_not_change_what_training_is(job_for):
    assert job_for("head").state == job_for("head", memory_check="warn").state


def test_bound_grows_with_what_takes_memory(job_for):
    small = bound(job_for("head"))
    assert small > 1e9
    assert bound(job_for("head", batch_size=64)) > small
    assert bound(job_for("instruct", batch_size=64)) > bound(job_for("instruct"))
