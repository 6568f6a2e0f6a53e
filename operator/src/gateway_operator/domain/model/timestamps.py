"""Times in the format of Kubernetes, and the delays before a recheck or a retry.

Every function accepts every input: a time in an object may be any text that the schema of the API server lets pass.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Final

_SHORTEST_RECHECK: Final = 2.0
_LONGEST_RECHECK: Final = 15.0
_BACKOFF_BASE: Final = 2.0
_BACKOFF_CAP: Final = 60.0


_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|([+-]\d\d:\d\d))", re.ASCII)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


def parse(text: object) -> datetime | None:
    """An RFC 3339 time in UTC; None if it is absent or cannot be parsed.

    Digits after the microseconds are ignored. Python has no year 0 and no leap second, so such a time is None. A caller
    must not take None for "no limit": a field of a spec that is present and gives None is an error.
    """
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    date, clock, fraction, offset = match.groups()
    try:
        value = datetime.fromisoformat(f"{date}T{clock}.{(fraction or '')[:6]:0<6}{offset or '+00:00'}")
        return value.astimezone(UTC)
    except (ValueError, OverflowError):  # no such date, or before the year 1 or after the year 9999 in UTC
        return None


def text(value: datetime) -> str:
    """A time in UTC to the second, like the times of Kubernetes."""
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def precise(value: datetime) -> str:
    """A time in UTC to the microsecond, for fields that order backups."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


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
    """The time that many seconds from now; the last time that Python has, if the result is later than that."""
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        return _LATEST


def deadline(created: datetime, starting_seconds: float, started: datetime | None, seconds: float) -> datetime:
    """The deadline for the start; once started, the deadline for the end.

    Nothing starts after the deadline for the start. A later start time is a mistake, and does not delay the end.
    """
    latest_start = later(created, starting_seconds)
    return latest_start if started is None else later(min(started, latest_start), seconds)


def seconds_until(then: datetime, now: datetime) -> float:
    """Seconds from now until then; negative once it has passed."""
    return (then - now).total_seconds()
