"""The one periodic task: retention, ttl, objectives, and what no watch event tells of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway_operator.ports import Ports
from gateway_operator.reconcile.retention.sweep import RetentionController
from gateway_operator.reconcile.watch_check import WatchCheck
from gateway_operator.settings import OperatorSettings

_SHARE: Final = 20
"""A long listing is followed by a pause this many times as long: it takes a twentieth of the time at most."""

log = logging.getLogger("gateway_operator.sweeper")


def start(
    ports: Ports, settings: OperatorSettings, watch_check: WatchCheck, add_schedules: Callable[[], None]
) -> asyncio.Task[None]:
    """Start the task. ``add_schedules`` queues all schedules: a permission that was granted makes no event."""
    sweeper = RetentionController(ports, settings.namespaces, log, watch_check)
    return asyncio.create_task(_forever(sweeper, settings.sweep_seconds, add_schedules), name="sweeper")


async def stop(task: asyncio.Task[None]) -> None:
    """Stop the task. A pass may end anywhere."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _forever(sweeper: RetentionController, seconds: float, add_schedules: Callable[[], None]) -> None:
    while True:
        try:
            await sweeper.run_once()
            add_schedules()
        except Exception:  # a defect in one pass must not end all that follow
            log.exception("a pass failed")
        await asyncio.sleep(max(seconds, _SHARE * sweeper.listing))
