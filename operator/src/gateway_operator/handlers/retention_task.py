"""The operator's periodic task: retention passes, and a reconcile of all schedules after each pass.

Schedules are reconciled again because some changes cause no watch event, for example a permission that was granted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.ports import Ports
from gateway_operator.reconcile.drill.orphans import delete_orphans
from gateway_operator.reconcile.retention.controller import RetentionController
from gateway_operator.reconcile.watch_check import WatchCheck
from gateway_operator.reconcile.watch_coverage import WatchCoverage
from gateway_operator.settings import OperatorSettings

_MAX_LISTING_SHARE: Final = 1 / 20
"""The share of the time that listing may take: the pause after a slow listing is extended to keep it."""

log = logging.getLogger("gateway_operator.retention")


def start(
    ports: Ports,
    settings: OperatorSettings,
    watch_check: WatchCheck,
    health: GatewayHealthIndex,
    coverage: WatchCoverage,
    add_schedules: Callable[[], None],
) -> asyncio.Task[None]:
    """Start the task. ``add_schedules`` adds all schedules to their work queue."""
    controller = RetentionController(ports, settings.namespaces, log, watch_check, health, coverage)
    first = delete_orphans(ports, settings.namespaces, log)
    return asyncio.create_task(_run(first, controller, settings.pass_seconds, add_schedules), name="retention")


async def _run(
    first: Awaitable[None], controller: RetentionController, seconds: float, add_schedules: Callable[[], None]
) -> None:
    try:
        await first
    except Exception:
        log.exception("The search for the pods of ended drills failed with an unexpected error.")
    while True:
        try:
            await controller.run_once()
            add_schedules()
        except Exception:  # a defect in one pass must not end the following passes
            log.exception("The retention pass failed with an unexpected error.")
        # The next pass starts after a fixed pause, or later if the API server needed long for the listing.
        await asyncio.sleep(max(seconds, controller.listing_seconds / _MAX_LISTING_SHARE))
