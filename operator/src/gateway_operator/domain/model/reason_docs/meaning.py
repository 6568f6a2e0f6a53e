"""The meaning of one reason and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Meaning:
    """The text for the meaning of a reason, and the remedy for a user."""

    text: str
    remedy: str


NOTHING: Final = "Nothing."
