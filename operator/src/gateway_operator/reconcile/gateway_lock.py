"""One operation at a time for each gateway.

Backups that queue for the lock of one gateway share the resolved gateway for a second. Many backups that start at the
same time then need one resolution instead of one each.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.identifiers import GatewayRef, NamespacedGateway
from gateway_operator.ports import Ports
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, _read_workload, _resolve_workload

RESOLUTION_TTL: Final = 1.0
"""Seconds for which queued backups share a resolved gateway. A Service may lag behind its pods by as much."""


class GatewayLock(asyncio.Lock):
    """Serialises the calls to one gateway, and keeps the resolved gateway for ``RESOLUTION_TTL``."""

    def __init__(self, namespace: str, ref: GatewayRef) -> None:
        super().__init__()
        self._namespace = namespace
        self._ref = ref
        self._resolved: tuple[datetime, ResolvedGateway] | None = None

    async def begin(self, ports: Ports) -> Workload | ResolvedGateway:
        """Read the workload, the first step of a resolution, so that a caller can read its own object meanwhile.

        Returns the shared result instead if it is younger than ``RESOLUTION_TTL``. Call it only while the lock is held.
        """
        if self._resolved is not None:
            age = (ports.clock.now() - self._resolved[0]).total_seconds()
            # A negative age means that the clock was set back: it must not make a result last longer.
            if 0 <= age < RESOLUTION_TTL:
                return self._resolved[1]
        return await _read_workload(ports, self._namespace, self._ref)

    async def resolve(self, ports: Ports, begun: Workload | ResolvedGateway) -> ResolvedGateway:
        """Complete a resolution that ``begin`` started. A gateway that can be called is kept for the next backup."""
        if isinstance(begun, ResolvedGateway):
            return begun
        now = ports.clock.now()
        resolved = await _resolve_workload(ports, begun, cached=True)
        if resolved.target is not None:
            self._resolved = (now, resolved)
        return resolved

    def invalidate(self) -> None:
        """Drop the shared result, because a call to the gateway failed: its pod may have been replaced."""
        self._resolved = None


class GatewayLocks:
    """The locks of all gateways. The admin API would answer ``Busy`` to a second operation at the same time."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[NamespacedGateway, GatewayLock] = WeakValueDictionary()

    def get(self, namespace: str, ref: GatewayRef) -> GatewayLock:
        """The lock of a gateway. The weak dictionary keeps it while a run holds it or waits for it."""
        key = NamespacedGateway(namespace, ref)
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = GatewayLock(namespace, ref)
        return lock
