"""Durations as specs write them: ``30d``, ``36h``, ``1w2d``. Weeks and days are exactly 7 times 24 and 24 hours.

Months and years are left out on purpose: they have no length. The schemas of the CRDs refuse anything else.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import Final

_FORM: Final = re.compile(r"(?:(\d{1,5})w)?(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?", re.ASCII)


def parse(text: str) -> timedelta:
    """The length of a duration. Raises ``ValueError`` for anything that the schemas refuse."""
    found = _FORM.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"not a duration such as 30d, 36h or 1w2d: {text[:40]!r}")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def parse_or_none(text: object) -> timedelta | None:
    """The same for a field that may be absent, or unreadable because it is older than its schema."""
    try:
        return parse(text) if isinstance(text, str) else None
    except ValueError:
        return None


@lru_cache(maxsize=256)
def span(length: timedelta) -> str:
    """A duration in the form that specs have: ``1d12h``, ``36d``."""
    seconds = int(length.total_seconds())
    if seconds == 0:
        return "0s"
    parts = []
    for letter, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{letter}")
    return "".join(parts)
