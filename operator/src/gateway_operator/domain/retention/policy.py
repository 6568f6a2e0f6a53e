"""Parses ``spec.retention`` into a RetentionPolicy."""

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
    """The limits for failed backups. None: no limit."""

    keep_last: int | None = None
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The rules for a set. A rule of 0 is no rule. Without a rule and without ``max_age`` all backups are kept."""

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
    """Whether adopted backups whose manifest names the schedule belong to its set."""
    dry_run: bool = False

    @property
    def counts_backups(self) -> bool:
        """Whether a rule counts backups, so that backups that no rule counts are deleted."""
        return bool(self.keep_last or any(number for _, number in self.calendar))

    @property
    def has_rules(self) -> bool:
        """Whether the policy can delete a Completed backup at all."""
        return self.counts_backups or bool(self.keep_within) or self.max_age is not None

    @property
    def calendar(self) -> tuple[tuple[calendar.Period, int], ...]:
        """The rules that count calendar periods, with their numbers."""
        return (
            (calendar.HOUR, self.keep_hourly),
            (calendar.DAY, self.keep_daily),
            (calendar.WEEK, self.keep_weekly),
            (calendar.MONTH, self.keep_monthly),
            (calendar.YEAR, self.keep_yearly),
        )


KEEP_ALL: Final = RetentionPolicy()
"""The policy of a set that has none. ``ttl`` still deletes, but never the newest Verified backup."""
SAFETY: Final = RetentionPolicy(keep_last=5)
"""The policy of safety backups, which restores create before they replace a config."""


def parse(spec: Mapping[str, Any]) -> RetentionPolicy:
    """The policy from ``spec.retention``. Raises ``ValueError`` with a sentence about the invalid field.

    The schema of the CRD rejects most invalid values earlier. It cannot check a time zone, and an object may be older
    than its schema.
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
    )


def _number(spec: Mapping[str, Any], name: str) -> int:
    value = spec.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a whole number of at least 0, not {str(value)[:40]!r}.")
    return value


def _length(spec: Mapping[str, Any], name: str) -> timedelta | None:
    value = spec.get(name)
    if value is None:
        return None
    try:
        return durations.parse(str(value))
    except ValueError:
        raise ValueError(f"{name} must be a duration such as 30d or 36h, not {str(value)[:40]!r}.") from None


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"timeZone {name[:64]!r} is not in the time zone database.") from None
