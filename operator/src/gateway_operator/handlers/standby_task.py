"""The periodic task of a replica that does not lead: it compares its watches with complete lists.

The leader's retention passes do the same. Without this task a standby whose watch has ended would be noticed only after
it leads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Final

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.leadership import Leadership
from gateway_operator.ports import Ports
from gateway_operator.reconcile.retention.objects import list_objects
from gateway_operator.reconcile.watch_check import WatchCheck

INTERVAL: Final = 300.0
"""Seconds between two lists. An object that two of them contain and the watch has not shown is a problem."""

log = logging.getLogger("gateway_operator.standby")


async def run(ports: Ports, namespaces: Sequence[str], watch_check: WatchCheck, leadership: Leadership) -> None:
    """Compare until the task is cancelled."""
    while True:
        await asyncio.sleep(INTERVAL)
        if not leadership.is_leader:
            await check_watches(ports, namespaces, watch_check)


async def check_watches(ports: Ports, namespaces: Sequence[str], watch_check: WatchCheck) -> None:
    """Compare once. After a list with an error nothing is compared, and nothing is raised."""
    unfinished: list[Ref] = []
    for namespace in namespaces or ("",):
        try:
            listing = await list_objects(ports, namespace, log)
        except Exception as error:  # also an unexpected one: the next list may succeed
            log.warning("The watches cannot be checked: %s", error)
            return
        if not listing.complete:
            return
        unfinished += listing.unfinished
    watch_check.compare(unfinished, monotonic())
