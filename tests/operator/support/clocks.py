"""Clocks for reconciles that run inside the test process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta


class ShiftedClock:
    """The real time plus an offset, given as arguments of timedelta. It does not allow sleeping."""

    def __init__(self, **ahead: float) -> None:
        self.ahead = timedelta(**ahead)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a sleep of {seconds} s is not expected here")


class ShortSleepClock:
    """The real time, with every sleep cut to 50 ms. `before_sleep` is awaited before each sleep."""

    def __init__(self) -> None:
        self.before_sleep: Callable[[], Awaitable[None]] | None = None

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        if self.before_sleep is not None:
            await self.before_sleep()
        await asyncio.sleep(min(seconds, 0.05))
