"""The committed comparison of planned with measured peaks says what is promised."""

import json
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "results" / "plan_memory.json"
CASES = json.loads(FILE.read_text("utf-8"))["cases"]
NEAR, NEVER = 0.1, 0.25


def test_there_are_enough_cases_of_every_kind():
    near = [case for case in CASES if abs(case["error"]) <= NEAR]
    assert len(near) >= 6
    assert {case["approach"] for case in CASES} == {"encoder", "head", "instruct"}
    assert {case["quantization"] for case in near} == {"none", "nf4"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_plans_are_near_and_bounds_are_above(case):
    assert case["planned_mb"] == pytest.approx(case["measured_mb"], rel=NEVER)
    assert case["planned_parameters"] == case["trained_parameters"]
    assert case["bound_mb"] > case["measured_mb"]
