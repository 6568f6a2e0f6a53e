"""The current time in UTC and timestamps in RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

LATEST: Final = datetime.max.replace(tzinfo=UTC)


def rfc3339(moment: datetime) -> str:
    """The timestamp in UTC with microseconds and a ``Z``. All timestamps of this API have this format."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_now() -> datetime:
    """The current time, with its time zone. Operations receive it as a parameter, so that tests can set it."""
    return datetime.now(UTC)


def from_timestamp(seconds: float, otherwise: datetime) -> datetime:
    """The time of a file in UTC; ``otherwise`` if Python has no such time, for example in the year 10000."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return otherwise
