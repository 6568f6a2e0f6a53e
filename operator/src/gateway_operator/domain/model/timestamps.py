"""Times as Kubernetes writes them, and how long to wait before asking again."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

_FIRST_LOOK: Final = 2.0
_LAST_LOOK: Final = 15.0
_BACKOFF_BASE: Final = 2.0
_BACKOFF_CAP: Final = 60.0


def parse(text: str | None) -> datetime | None:
    """An RFC 3339 time, or None for an absent or unreadable one: a status edited by hand must not stop the loop."""
    if not text:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def text(value: datetime) -> str:
    """A time to the second, as Kubernetes' own ``date-time`` fields are."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise(value: datetime) -> str:
    """A time to the microsecond: backups are ordered by it."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def look_again(waiting_since: datetime, now: datetime) -> float:
    """Seconds until the next look at something that is awaited: 2 at first, 15 at last.

    It grows with the time already waited, so that nothing has to be counted or stored.
    """
    waited = max(0.0, (now - waiting_since).total_seconds())
    return min(_LAST_LOOK, max(_FIRST_LOOK, waited / 2))


def backoff(attempt: int, seed: str) -> float:
    """Seconds before the attempt after this one: 4, 8, 16 … 60, less up to a quarter.

    The jitter comes from the object's uid: a thousand objects spread out, and one object's delay can be tested.
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
