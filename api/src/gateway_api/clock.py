"""The time in UTC and its RFC 3339 text."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """UTC with microseconds and a ``Z``: the form of every timestamp this API writes."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_now() -> datetime:
    """The clock of the process."""
    return datetime.now(UTC)
