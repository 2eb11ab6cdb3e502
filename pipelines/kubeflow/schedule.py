"""Schedules: cron as users write it, into cron as Kubeflow Pipelines reads it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from llmclf_core.errors import UserError

_ATOM = r"(\d+|[A-Za-z]{3})"
_ITEM = rf"((\*|{_ATOM}-{_ATOM})(/\d+)?|{_ATOM})"
_FIELD = re.compile(rf"{_ITEM}(,{_ITEM})*")
"""What both dialects have and mean alike: no ``L``, ``W``, ``#``, ``5/10`` or ``@daily``."""


def to_kubeflow(cron: str) -> str:
    """Five fields (minute hour day month weekday) into Kubeflow's six, which begin with seconds.

    Kubeflow knows Sunday as 0 only; 7 becomes 0.

    Raises:
        UserError: for anything but five valid fields, and a date that never comes.
    """
    fields = cron.upper().split()
    if len(fields) != 5:
        raise _bad(cron, f"five fields are needed and there are {len(fields)}")
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise _bad(cron, f"{field.lower()!r} is not understood")
    try:
        next(CronSim(" ".join(fields), datetime.now(UTC)))
    except CronSimError as error:
        raise _bad(cron, str(error).lower()) from None
    except StopIteration:
        raise _bad(cron, "no such date ever comes") from None
    fields[4] = ",".join(map(_weekdays, fields[4].split(",")))
    return " ".join(["0", *fields])


def _weekdays(item: str) -> str:
    """One item of the weekday field, without 7."""
    if "7" not in item.partition("/")[0]:
        return item
    days = CronSim(f"0 0 * * {item}", datetime.now(UTC)).weekdays
    return ",".join(str(day) for day in sorted({day % 7 for day in days if isinstance(day, int)}))


def next_time(cron: str) -> str:
    """The next time of a valid schedule, were its time zone UTC."""
    return f"{next(CronSim(cron, datetime.now(UTC))):%a %Y-%m-%d %H:%M}"


def _bad(cron: str, why: str) -> UserError:
    return UserError(
        f'--schedule "{cron}": {why}; write minute, hour, day, month and weekday, such as '
        '"0 3 * * 1" for Mondays at three'
    )
