"""The interface to the time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The time in UTC, and sleeping; tests replace both."""

    def now(self) -> datetime: ...

    async def sleep(self, seconds: float) -> None: ...
