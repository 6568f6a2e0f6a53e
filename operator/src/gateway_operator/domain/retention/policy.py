"""Reading a retention policy as a spec has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway_operator.domain.model import durations
from gateway_operator.domain.retention import periods as calendar


@dataclass(frozen=True, slots=True)
class FailedLimits:
    """What becomes of failed backups. None: nothing is said."""

    keep_last: int | None = None
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What is kept of a set. A rule of 0 is no rule; without any rule and without ``max_age`` everything is kept."""

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within: timedelta = timedelta(0)
    max_age: timedelta | None = None
    min_keep: int = 1
    zone: tzinfo = UTC
    failed: FailedLimits = FailedLimits()
    include_adopted: bool = False
    dry_run: bool = False
    own_only: bool = False
    """It comes from a backup and not from a schedule: it binds only backups that carry a policy themselves."""

    @property
    def counts(self) -> bool:
        """Whether a rule keeps what it counts, so that what none counts goes."""
        return bool(self.keep_last or any(number for _, number in self.calendar))

    @property
    def has_rules(self) -> bool:
        """Whether it can let a good backup go at all."""
        return self.counts or bool(self.keep_within) or self.max_age is not None

    @property
    def calendar(self) -> tuple[tuple[calendar.Period, int], ...]:
        """The rules that go by the calendar."""
        return (
            (calendar.HOUR, self.keep_hourly),
            (calendar.DAY, self.keep_daily),
            (calendar.WEEK, self.keep_weekly),
            (calendar.MONTH, self.keep_monthly),
            (calendar.YEAR, self.keep_yearly),
        )


KEEP_ALL: Final = RetentionPolicy()
"""Of a set that has no policy."""
SAFETY: Final = RetentionPolicy(keep_last=5)
"""Of the backups that restores make of what they are about to replace."""


def parse(spec: Mapping[str, Any], *, own_only: bool = False) -> RetentionPolicy:
    """From ``spec.retention``. Raises ``ValueError`` with a sentence about what cannot be understood.

    The schema refuses most of it before; a zone it cannot know, and an old object may be older than its schema.
    """
    failed = spec.get("failed") or {}
    return RetentionPolicy(
        keep_last=_number(spec, "keepLast"),
        keep_hourly=_number(spec, "keepHourly"),
        keep_daily=_number(spec, "keepDaily"),
        keep_weekly=_number(spec, "keepWeekly"),
        keep_monthly=_number(spec, "keepMonthly"),
        keep_yearly=_number(spec, "keepYearly"),
        keep_within=_length(spec, "keepWithin") or timedelta(0),
        max_age=_length(spec, "maxAge"),
        min_keep=max(1, _number(spec, "minKeep")),
        zone=_zone(str(spec.get("timeZone") or "UTC")),
        failed=FailedLimits(
            None if failed.get("keepLast") is None else _number(failed, "keepLast"), _length(failed, "maxAge")
        ),
        include_adopted=spec.get("includeAdopted") is True,
        dry_run=spec.get("dryRun") is True,
        own_only=own_only,
    )


def _number(spec: Mapping[str, Any], name: str) -> int:
    value = spec.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is a whole number from 0 on, not {str(value)[:40]!r}.")
    return value


def _length(spec: Mapping[str, Any], name: str) -> timedelta | None:
    value = spec.get(name)
    if value is None:
        return None
    try:
        return durations.parse(str(value))
    except ValueError:
        raise ValueError(f"{name} is a duration such as 30d or 36h, not {str(value)[:40]!r}.") from None


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"timeZone {name[:64]!r} is not in the time zone database.") from None
