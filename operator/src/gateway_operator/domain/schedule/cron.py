"""When a cron expression is next due, for ``status.nextScheduleTime``. The CronJob controller decides when it fires.

``cronsim`` reads Debian's cron expressions, and the controller those of robfig/cron. This wrapper rewrites what the two
read differently: the @names, ``?``, ``N/S``, and a step in the two day fields.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_NAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_RANGES: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_HORIZON: Final = timedelta(days=5 * 366)
"""robfig/cron gives up after five years: 30 February never comes."""


def next_time(schedule: str, time_zone: str, after: datetime) -> datetime | None:
    """The first due time after ``after``, in UTC. None if there is none, or if the expression or zone is unknown here.

    The API server validates both, with a time zone database of its own.
    """
    fields = _NAMES.get(schedule, schedule).split()
    if len(fields) != len(_RANGES):
        return None
    expression = " ".join(_field(text, *limits) for text, limits in zip(fields, _RANGES, strict=True))
    try:
        # With a field for the seconds cronsim compares with the zone's clock, as the controller does. Without one it
        # moves times that a clock change skips, as Debian does.
        due = next(CronSim(f"0 {expression}", after.astimezone(ZoneInfo(time_zone)))).astimezone(UTC)
    except (CronSimError, StopIteration, ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return None
    return due if due - after <= _HORIZON else None


def _field(text: str, low: int, high: int) -> str:
    """A field as cronsim reads it. It takes every field that begins with a star for an open one, also ``*/2``."""
    terms = [_term(term, low, high) for term in text.split(",")]
    return "*" if "*" in terms else ",".join(terms)


def _term(term: str, low: int, high: int) -> str:
    span, slash, step = term.partition("/")
    if span in ("*", "?"):
        if not slash or step == "1":
            return "*"
        span = f"{low}-{high}"
    elif slash and "-" not in span:
        span = f"{span}-{high}"
    first, _, last = span.partition("-")
    # cronsim takes a range of one value with a step for one without an end.
    return first if slash and first == last else f"{span}{slash}{step}"
