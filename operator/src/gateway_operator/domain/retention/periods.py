"""Hours, days, weeks, months and years as a calendar on the wall of some time zone counts them.

The hour that the end of summer time repeats counts as two. A day is a day, whether it has 23, 24 or 25 hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final


@dataclass(frozen=True, slots=True)
class Period:
    """A piece of the calendar: which of them a time lies in, and what that is called."""

    rule: str
    number: Callable[[datetime], int]
    name: Callable[[datetime], str]


def _hour(local: datetime) -> int:
    return (local.toordinal() * 24 + local.hour) * 2 + local.fold


def _name_of_hour(local: datetime) -> str:
    # Of the two hours of one name, the second says by how much it is behind UTC or ahead of it.
    return f"{_name_of_day(local)}T{local.hour:02}{local.strftime('%z') if local.fold else ''}"


def _name_of_day(local: datetime) -> str:
    return f"{local.year:04}-{local.month:02}-{local.day:02}"


def _name_of_week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year:04}-W{week:02}"


_AT_ONCE: Final = 256
HOUR: Final = Period("keepHourly", _hour, _name_of_hour)
DAY: Final = Period("keepDaily", lambda local: local.toordinal(), _name_of_day)
# The first day of the first year is a Monday.
WEEK: Final = Period("keepWeekly", lambda local: (local.toordinal() - 1) // 7, _name_of_week)
MONTH: Final = Period(
    "keepMonthly", lambda local: local.year * 12 + local.month, lambda local: f"{local.year:04}-{local.month:02}"
)
YEAR: Final = Period("keepYearly", lambda local: local.year, lambda local: f"{local.year:04}")


class LocalTimes:
    """Times, newest first, by the calendar of a zone; few more are converted than are looked at."""

    def __init__(self, times: Sequence[datetime], zone: tzinfo) -> None:
        self._times = times
        self._zone = zone
        self._local: list[datetime] = []

    def newest_of_each(self, unit: Period, number: int) -> Iterator[tuple[int, str]]:
        """The position of the newest of each of the ``number`` newest units that have one, and the unit's name."""
        if number <= 0:
            return
        seen: set[int] = set()
        for position in range(len(self._times)):
            if position == len(self._local):
                self._convert()
            local = self._local[position]
            which = unit.number(local)
            if which in seen:
                continue
            seen.add(which)
            yield position, unit.name(local)
            if len(seen) == number:
                return

    def _convert(self) -> None:
        done = len(self._local)
        self._local.extend(_local(time, self._zone) for time in self._times[done : done + _AT_ONCE])


def _local(time: datetime, zone: tzinfo) -> datetime:
    try:
        return time.astimezone(zone)
    except OverflowError:  # the first or the last day that there is
        return time.astimezone(UTC)
