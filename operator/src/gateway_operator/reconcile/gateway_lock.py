"""One operation at a time per gateway, and one resolved gateway shared by those that queue for it."""

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
"""Seconds for which queued backups share a resolved gateway: as long as a Service may lag behind its pods."""


class GatewayLock(asyncio.Lock):
    """Serialises the calls to one gateway. Backups that queue for it share a resolved gateway for a second."""

    def __init__(self, namespace: str, ref: GatewayRef) -> None:
        super().__init__()
        self._namespace = namespace
        self._ref = ref
        self._resolved: tuple[datetime, ResolvedGateway] | None = None

    async def begin(self, ports: Ports) -> Workload | ResolvedGateway:
        """The first read of a resolution, so that a caller can do it beside a read of its own.

        It is the last result instead, if that is younger than ``RESOLUTION_TTL``. Call it only while the lock is held.
        """
        if self._resolved is not None:
            age = (ports.clock.now() - self._resolved[0]).total_seconds()
            # A clock that was set back must not make a result last longer.
            if 0 <= age < RESOLUTION_TTL:
                return self._resolved[1]
        return await _read_workload(ports, self._namespace, self._ref)

    async def resolve(self, ports: Ports, begun: Workload | ResolvedGateway) -> ResolvedGateway:
        """The rest of the resolution. Backups that wait for the lock share a gateway that can be called."""
        if isinstance(begun, ResolvedGateway):
            return begun
        now = ports.clock.now()
        resolved = await _resolve_workload(ports, begun, cached=True)
        if resolved.target is not None:
            self._resolved = (now, resolved)
        return resolved

    def invalidate(self) -> None:
        """Forget the shared result: a call through it failed."""
        self._resolved = None


class GatewayLocks:
    """One call at a time to each gateway: the admin API would answer ``Busy`` to a second one."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[NamespacedGateway, GatewayLock] = WeakValueDictionary()

    def get(self, namespace: str, ref: GatewayRef) -> GatewayLock:
        """The lock of a gateway. It exists while somebody holds it or waits for it."""
        key = NamespacedGateway(namespace, ref)
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = GatewayLock(namespace, ref)
        return lock
