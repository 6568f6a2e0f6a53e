"""Reading a retention policy as a spec has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway_operator.domain import durations
from gateway_operator.domain.retention import Limits, Policy

KEEP_ALL: Final = Policy()
"""Of a set that has no policy."""
SAFETY: Final = Policy(keep_last=5)
"""Of the backups that restores make of what they are about to replace."""


def parse(spec: Mapping[str, Any], *, own_only: bool = False) -> Policy:
    """From ``spec.retention``. Raises ``ValueError`` with a sentence about what cannot be understood.

    The schema refuses most of it before; a zone it cannot know, and an old object may be older than its schema.
    """
    failed = spec.get("failed") or {}
    return Policy(
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
        failed=Limits(
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
