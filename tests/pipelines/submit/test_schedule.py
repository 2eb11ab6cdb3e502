"""Cron as users write it, as Kubeflow reads it."""

from datetime import UTC, datetime
from itertools import islice

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from llmclf_core.errors import UserError
from pipelines.kubeflow.schedule import next_time, to_kubeflow


@pytest.mark.parametrize(
    ("cron", "kubeflow"),
    [
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("  */15 0-5/2 1,15 * * ", "0 */15 0-5/2 1,15 * *"),
        ("0 3 * jan-mar mon,wed", "0 0 3 * JAN-MAR MON,WED"),
        ("0 3 * * 7", "0 0 3 * * 0"),
        ("0 3 * * 5-7", "0 0 3 * * 0,5,6"),
        ("0 3 * * 1-7/2", "0 0 3 * * 0,1,3,5"),
        ("0 3 13 * *,7", "0 0 3 13 * *,0"),
        ("0 3 * * */7", "0 0 3 * * */7"),
        ("0 3 29 2 *", "0 0 3 29 2 *"),
    ],
)
def test_five_fields_become_six(cron, kubeflow):
    assert to_kubeflow(cron) == kubeflow


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("", "five fields are needed and there are 0"),
        ("0 0 3 * * 1", "five fields are needed and there are 6"),
        ("@daily", "five fields are needed and there are 1"),
        ("60 3 * * 1", "bad minute"),
        ("0 24 * * 1", "bad hour"),
        ("0 3 0 * 1", "bad day-of-month"),
        ("0 3 * 13 1", "bad month"),
        ("0 3 * foo 1", "bad month"),
        ("0 3 * * 8", "bad day-of-week"),
        ("0 3 * * 5-1", "bad day-of-week"),
        ("*/0 3 * * 1", "bad minute"),
        ("0 3 31 4 *", "bad day-of-month"),
        ("0 3 L * *", "'l' is not understood"),
        ("0 3 * * 1#2", "'1#2' is not understood"),
        ("5/10 3 * * 1", "'5/10' is not understood"),
        ("0 3 * * 1; rm", "there are 6"),
        ("0 3, * * 1", "'3,' is not understood"),
    ],
)
def test_what_is_wrong_is_said(cron, why):
    with pytest.raises(UserError) as caught:
        to_kubeflow(cron)
    assert why in str(caught.value)
    assert f'--schedule "{cron}"' in str(caught.value)
    assert "\n" not in str(caught.value)


def fields(low, high):
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(ranges | st.just("*"), st.integers(1, high)).map(lambda p: f"{p[0]}/{p[1]}")
    items = st.lists(number.map(str) | ranges | stepped, min_size=1, max_size=3)
    return st.just("*") | items.map(",".join)


@settings(max_examples=60, deadline=None)
@given(st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 7)))
def test_the_times_stay_the_same(parts):
    cron = " ".join(parts)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    kubeflow = to_kubeflow(cron)
    assert "7" not in kubeflow.split()[5].replace("/7", "")
    assert list(islice(CronSim(kubeflow, begin), 12)) == list(islice(CronSim(cron, begin), 12))


def test_the_next_time_lies_ahead():
    told = datetime.strptime(next_time("0 3 * * 1"), "%a %Y-%m-%d %H:%M")
    assert (told.isoweekday(), told.hour, told.minute) == (1, 3, 0)
    assert told > datetime.now(UTC).replace(tzinfo=None)
