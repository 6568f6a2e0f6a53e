"""The levels to which a backup's file is proven, in their order."""

from __future__ import annotations

from typing import Final

STORED: Final = "Stored"
VERIFIED: Final = "Verified"
DRILLED: Final = "Drilled"
_ORDER: Final = ("", STORED, VERIFIED, DRILLED)


def reaches(level: str, required: str) -> bool:
    """Whether a level is at least the required one. Empty is the lowest level; an unknown one reaches nothing."""
    return level in _ORDER and _ORDER.index(level) >= _ORDER.index(required)
