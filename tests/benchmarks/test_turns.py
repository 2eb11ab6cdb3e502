"""Two sides in their own processes, by turns."""

import pytest

from benchmarks.fast.statistics import order
from benchmarks.fast.turns import Clock, StoppedError, Turn, Worker, WorkerError

SIDES = "tests.benchmarks.sides"


class Script:
    """Gives turns from a list, and keeps what comes back."""

    def __init__(self, *turns):
        self.turns, self.sent = list(turns), []

    def recv(self):
        return self.turns.pop(0)

    def send(self, message):
        self.sent.append(message)


def test_a_turn_counts_its_own_steps_and_seconds_and_not_the_waiting():
    ticks = iter([10.0, 13.0, 100.0, 104.0])
    script = Script(2, 1, None)
    clock = Clock(script, lambda: next(ticks))
    clock.wait()
    clock.after(5)
    assert script.sent == []
    clock.after(6)
    with pytest.raises(StoppedError):
        clock.after(7)
    assert script.sent == [Turn(11, 3.0), Turn(7, 4.0)]


def test_libraries_cannot_swallow_the_end():
    assert not issubclass(StoppedError, Exception)
    with pytest.raises(StoppedError):
        Clock(Script(None)).wait()


def test_only_one_side_works_at_a_time_and_each_goes_on_where_it_was(tmp_path):
    log = tmp_path / "log"
    with (
        Worker(f"{SIDES}:count_steps", {"log": log, "name": "ours"}) as ours,
        Worker(f"{SIDES}:count_steps", {"log": log, "name": "reference"}) as reference,
    ):
        workers = {"ours": ours, "reference": reference}
        for worker in workers.values():
            worker.turn(1)
        turns = [(name, workers[name].turn(2)) for names in order(2) for name in names]
        assert ours.finish() == {}
        assert reference.finish() == {}
    worked = [line.split() for line in log.read_text().splitlines()]
    names = [name for name, _, _ in worked]
    o, r = "ours", "reference"
    assert names[:10] == [o, r, o, o, r, r, r, r, o, o]
    assert [turn.amount for name, turn in turns if name == "ours"] == [2 + 3, 4 + 5]
    assert len({pid for _, _, pid in worked}) == 2
    assert {p.suffix for p in tmp_path.iterdir()} == {"", ".ours-ended", ".reference-ended"}


def test_a_side_that_breaks_says_how():
    with (
        pytest.raises(WorkerError, match="no such weights"),
        Worker(f"{SIDES}:break_down", {}) as worker,
    ):
        worker.turn(1)


def test_a_side_whose_process_dies_is_told_from_one_that_is_slow():
    with (
        pytest.raises(WorkerError, match="ended with code 7"),
        Worker(f"{SIDES}:die", {}) as worker,
    ):
        worker.turn(1)


def test_a_whole_work_gives_what_it_returns():
    with Worker(f"{SIDES}:whole", {}) as worker:
        assert worker.finish()["peak_memory"] == 10
