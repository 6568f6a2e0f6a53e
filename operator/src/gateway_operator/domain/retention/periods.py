"""Calendar periods (hours, days, weeks, months, years) in a time zone, for the rules ``keepHourly`` to ``keepYearly``.

The hour that is repeated when summer time ends counts as two. A day is one period, whether it has 23, 24 or 25 hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final


@dataclass(frozen=True, slots=True)
class Period:
    """A kind of calendar period: the number and the name of the period that contains a local time."""

    rule: str
    number: Callable[[datetime], int]
    name: Callable[[datetime], str]


def _hour(local: datetime) -> int:
    return (local.toordinal() * 24 + local.hour) * 2 + local.fold


def _name_of_hour(local: datetime) -> str:
    # The second of two hours with the same name gets its UTC offset.
    return f"{_name_of_day(local)}T{local.hour:02}{local.strftime('%z') if local.fold else ''}"


def _name_of_day(local: datetime) -> str:
    return f"{local.year:04}-{local.month:02}-{local.day:02}"


def _name_of_week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year:04}-W{week:02}"


_BATCH_SIZE: Final = 256
HOUR: Final = Period("keepHourly", _hour, _name_of_hour)
DAY: Final = Period("keepDaily", lambda local: local.toordinal(), _name_of_day)
# The first day of the first year is a Monday.
WEEK: Final = Period("keepWeekly", lambda local: (local.toordinal() - 1) // 7, _name_of_week)
MONTH: Final = Period(
    "keepMonthly", lambda local: local.year * 12 + local.month, lambda local: f"{local.year:04}-{local.month:02}"
)
YEAR: Final = Period("keepYearly", lambda local: local.year, lambda local: f"{local.year:04}")


class LocalTimes:
    """Local times of a zone, newest first. They are converted in batches, only as far as a rule reads them."""

    def __init__(self, times: Sequence[datetime], zone: tzinfo) -> None:
        self._times = times
        self._zone = zone
        self._local: list[datetime] = []

    def newest_of_each(self, unit: Period, number: int) -> Iterator[tuple[int, str]]:
        """The position of the newest time in each of the ``number`` newest periods, and the name of the period.

        Periods without a time do not count.
        """
        if number <= 0:
            return
        numbers: set[int] = set()
        for position in range(len(self._times)):
            if position == len(self._local):
                self._convert()
            local = self._local[position]
            which = unit.number(local)
            if which in numbers:
                continue
            numbers.add(which)
            yield position, unit.name(local)
            if len(numbers) == number:
                return

    def _convert(self) -> None:
        done = len(self._local)
        self._local.extend(_local(time, self._zone) for time in self._times[done : done + _BATCH_SIZE])


def _local(time: datetime, zone: tzinfo) -> datetime:
    try:
        return time.astimezone(zone)
    except OverflowError:  # the first or last day that a datetime can hold
        return time.astimezone(UTC)
