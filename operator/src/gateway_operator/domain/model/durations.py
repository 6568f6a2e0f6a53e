"""Durations in the form of specs: ``30d``, ``36h``, ``1w2d``. A day is exactly 24 hours and a week is 7 days.

Months and years are not supported because their length varies. The schemas of the CRDs reject every other form.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import Final

_FORM: Final = re.compile(r"(?:(\d{1,5})w)?(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?", re.ASCII)


def parse(text: str) -> timedelta:
    """The length of a duration. Raises ``ValueError`` for anything that the schemas reject."""
    match = _FORM.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"not a duration such as 30d, 36h or 1w2d: {text[:40]!r}")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def parse_or_none(text: object) -> timedelta | None:
    """The length of a duration; None for an absent field, or for an invalid one that is older than its schema."""
    try:
        return parse(text) if isinstance(text, str) else None
    except ValueError:
        return None


@lru_cache(maxsize=256)
def span(length: timedelta) -> str:
    """A duration in the form of specs: ``1d12h``, ``36d``."""
    seconds = int(length.total_seconds())
    if seconds == 0:
        return "0s"
    parts = []
    for letter, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{letter}")
    return "".join(parts)
