"""Where a side's time goes."""

import pytest

from benchmarks.fast import __main__ as program
from benchmarks.fast import profiling
from benchmarks.fast.cases import CASES
from benchmarks.fast.results import Results
from benchmarks.fast.turns import Worker
from benchmarks.fast.work import Settings, Work
from llmclf_core.errors import UserError


@pytest.fixture
def profiled(tmp_path):
    work = Work(Settings(steps=3), tmp_path, tmp_path, tmp_path)
    side = "tests.benchmarks.sides:multiply"
    with Worker("benchmarks.fast.profiling:profiled", (side, work)) as worker:
        return worker.finish()


def test_shares_of_one_turn_by_kind_add_up(profiled):
    assert profiled["amount"] == 60  # the turn before, to warm up, is not in it
    assert profiled["seconds"] > 0
    shares = profiled["shares"]
    assert list(shares) == list(profiling.KINDS)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["base's products"] > 0.5
    assert 0 < shares["adapter's products"] < 0.1
    assert shares["softmax"] == 0
    assert shares["elementwise, sums, the rest"] > 0
    assert all(share >= 0 for share in shares.values())


def test_the_table_has_a_row_for_each_profile(profiled, tmp_path):
    results, case = Results(tmp_path), CASES[0]
    assert list(profiling.table(CASES, results.profiles(CASES))) == []
    results.write_profile(case, profiled)
    head, rule, row = profiling.table(CASES, results.profiles(CASES))
    assert head.count("|") == rule.count("|") == row.count("|")
    share = profiled["shares"]["base's products"]
    assert row.startswith(f"| `{case.id}` | {share:.0%} |")


def test_a_case_without_turns_has_no_profile(tmp_path):
    case = next(case for case in CASES if not case.by_turns)
    with pytest.raises(UserError, match="does not work by turns"):
        program._profile([case], Results(tmp_path), short=True)
