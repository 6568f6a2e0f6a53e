"""The one task that time drives. No timers of kopf's: one pass looks at everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway_operator.ports import Ports
from gateway_operator.reconcile.sweep import Sweeper
from gateway_operator.settings import Settings

_SHARE: Final = 20
"""A long listing is followed by a pause this many times as long: it takes a twentieth of the time at most."""

log = logging.getLogger("gateway_operator.sweeper")


def start(ports: Ports, settings: Settings, look_again: Callable[[], None]) -> asyncio.Task[None]:
    """Begin sweeping. ``look_again``: at what else no event tells of, such as a right that was granted."""
    sweeper = Sweeper(ports, settings.namespaces, log)
    return asyncio.create_task(_forever(sweeper, settings.sweep_seconds, look_again), name="sweeper")


async def stop(task: asyncio.Task[None]) -> None:
    """End it. A pass may end anywhere."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _forever(sweeper: Sweeper, seconds: float, look_again: Callable[[], None]) -> None:
    while True:
        try:
            await sweeper.sweep()
            look_again()
        except Exception:  # a mistake of ours in one pass must not end all that follow
            log.exception("a pass failed")
        await asyncio.sleep(max(seconds, _SHARE * sweeper.listing))
