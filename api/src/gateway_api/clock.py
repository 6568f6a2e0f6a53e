"""The current time in UTC and timestamps in RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """The timestamp in UTC with microseconds and a ``Z``. All timestamps of this API have this format."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_now() -> datetime:
    """The current time, with its time zone. Operations receive it as a parameter, so that tests can set it."""
    return datetime.now(UTC)
