"""When a cron expression is next due, read as the CronJob controller reads it.

Its parser is robfig/cron's: five fields or a descriptor; ``?`` is ``*``; ``N/S`` is ``N-MAX/S``; names of months and
days of the week; Sunday is 0 and never 7. A day must fit both the day of the month and the day of the week if one of
them is ``*`` or ``?``, and either of them if neither is. A time is due when the zone's own clock shows it: one that a
change to summer time skips is not made up for, and one that the change back shows twice is due twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_YEARS: Final = 5
"""How far ahead is looked: 30 February never comes."""
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five: the values that fit, and whether it was left open."""

    values: frozenset[int]
    star: bool


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    minute: _Field
    hour: _Field
    day: _Field
    month: _Field
    weekday: _Field

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises ``ValueError`` for what the controller would refuse as well."""
        fields = _DESCRIPTORS.get(text, text).split()
        if len(fields) != 5:
            raise ValueError(f"not five fields: {text[:60]!r}")
        return cls(
            _field(fields[0], 0, 59),
            _field(fields[1], 0, 23),
            _field(fields[2], 1, 31),
            _field(fields[3], 1, 12, _MONTHS, 1),
            _field(fields[4], 0, 6, _DAYS, 0),
        )

    def next(self, after: datetime, zone: ZoneInfo) -> datetime | None:
        """The first due time after ``after``, in UTC; None if there is none within five years."""
        moment = after.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
        last_year = after.astimezone(zone).year + _YEARS
        while True:
            local = moment.astimezone(zone)
            if local.year > last_year:
                return None
            if not self._fits_day(local):
                moment = _next_day(moment, local, zone)
            elif local.hour not in self.hour.values:
                moment += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minute.values:
                moment += _MINUTE
            else:
                return moment

    def _fits_day(self, local: datetime) -> bool:
        if local.month not in self.month.values:
            return False
        by_date = local.day in self.day.values
        by_weekday = local.isoweekday() % 7 in self.weekday.values
        if self.day.star or self.weekday.star:
            return by_date and by_weekday
        return by_date or by_weekday


def _next_day(moment: datetime, local: datetime, zone: ZoneInfo) -> datetime:
    """The first moment of the zone's next day. Midnight itself may be skipped or shown twice."""
    tomorrow = (local.replace(tzinfo=None) + timedelta(days=1)).replace(hour=0, minute=0)
    found = tomorrow.replace(tzinfo=zone).astimezone(UTC)
    return found if found > moment else moment + _HOUR


def _field(text: str, low: int, high: int, names: tuple[str, ...] = (), first: int = 0) -> _Field:
    values: set[int] = set()
    star = False
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text) if slash else 1
        if step < 1:
            raise ValueError(f"a step is at least 1: {part!r}")
        if span in ("*", "?"):
            begin, end = low, high
            star = star or step == 1
        else:
            left, dash, right = span.partition("-")
            begin = _value(left, names, first)
            end = _value(right, names, first) if dash else high if slash else begin
        if not low <= begin <= end <= high:
            raise ValueError(f"{part!r} is not within {low} to {high}")
        values.update(range(begin, end + 1, step))
    return _Field(frozenset(values), star)


def _value(text: str, names: tuple[str, ...], first: int) -> int:
    name = text.lower()
    return names.index(name) + first if name in names else _number(text)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"not a number: {text[:20]!r}")
    return int(text)


def next_time(schedule: str, time_zone: str, after: datetime) -> datetime | None:
    """When a schedule is next due; None where that cannot be known here, which is no reason to stop anything.

    The API server judges the expression and the zone, with a time zone database of its own.
    """
    try:
        return Cron.parse(schedule).next(after, ZoneInfo(time_zone))
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return None
