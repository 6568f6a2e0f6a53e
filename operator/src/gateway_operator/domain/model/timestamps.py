"""Times in the format of Kubernetes, and the delays before a recheck or a retry."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

_SHORTEST_RECHECK: Final = 2.0
_LONGEST_RECHECK: Final = 15.0
_BACKOFF_BASE: Final = 2.0
_BACKOFF_CAP: Final = 60.0


def parse(text: str | None) -> datetime | None:
    """An RFC 3339 time; None if absent or unreadable, because a status edited by hand must not break a reconcile."""
    if not text:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def text(value: datetime) -> str:
    """A time in UTC to the second, like the times of Kubernetes."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise(value: datetime) -> str:
    """A time in UTC to the microsecond, for fields that order backups."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def recheck_delay(waiting_since: datetime, now: datetime) -> float:
    """Seconds until the next check of an awaited state: half of the time already waited, from 2 to 15.

    So no number of checks has to be counted or stored.
    """
    waited = max(0.0, (now - waiting_since).total_seconds())
    return min(_LONGEST_RECHECK, max(_SHORTEST_RECHECK, waited / 2))


def backoff(attempt: int, seed: str) -> float:
    """Seconds before the next attempt: 4, 8, 16 … 60, minus a jitter of up to a quarter.

    The jitter is a digest of ``seed``, the object's uid. It spreads many objects, and tests can predict it.
    """
    exponent = min(max(attempt, 0), 16)
    digest = hashlib.sha256(f"{seed}:{attempt}".encode()).digest()
    jitter = 1 - digest[0] / 255 / 4
    return float(min(_BACKOFF_CAP, _BACKOFF_BASE * 2**exponent) * jitter)


def later(now: datetime, seconds: float) -> datetime:
    """The time that many seconds from now."""
    return now + timedelta(seconds=seconds)


def seconds_until(then: datetime, now: datetime) -> float:
    """Seconds from now until then; negative once it has passed."""
    return (then - now).total_seconds()
