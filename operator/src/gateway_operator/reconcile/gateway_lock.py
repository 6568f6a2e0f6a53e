"""One operation at a time for each gateway. Restores go first, then the backups of schedules, then all others.

Backups that queue for the lock of one gateway share the resolved gateway for a second. Many backups that start at the
same time then need one resolution instead of one each.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from enum import IntEnum
from typing import Final
from weakref import WeakValueDictionary

from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.identifiers import GatewayRef, NamespacedGateway, Ref
from gateway_operator.ports import Ports
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, read_workload, resolve_workload

RESOLUTION_TTL: Final = 1.0
"""Seconds for which queued backups share a resolved gateway. A Service may lag behind its pods by as much."""


class Priority(IntEnum):
    """The order in which operations that wait for one gateway are started."""

    RESTORE = 0
    """A restore, and its safety backup, for which it waits."""
    SCHEDULE = 1
    OTHER = 2


class PriorityLock:
    """A lock that goes to the waiter with the highest priority, and among equals to the one that came first."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def locked(self) -> bool:
        """Whether an operation holds the lock."""
        return self._held

    @asynccontextmanager
    async def hold(self, priority: Priority) -> AsyncIterator[None]:
        """Wait for the lock and hold it in the block."""
        await self._acquire(priority)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, priority: Priority) -> None:
        if not self._held:
            self._held = True
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._numbers), waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            # The lock may have been handed over just before the cancellation: pass it on, or nobody gets it.
            if waiter.done() and not waiter.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            _, _, waiter = heapq.heappop(self._waiting)
            if not waiter.done():
                waiter.set_result(None)  # the lock stays held, by the next one
                return
        self._held = False


class GatewayLock(PriorityLock):
    """Serialises the calls to one gateway, and keeps the resolved gateway for ``RESOLUTION_TTL``."""

    def __init__(self, namespace: str, ref: GatewayRef) -> None:
        super().__init__()
        self.safety_backups: set[str] = set()
        """Names of the safety backups that restores of this gateway wait for. No user can add one."""
        self.entering_restore: Ref | None = None
        """The restore that is about to begin, until its status says so to the others."""
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
        return await read_workload(ports, self._namespace, self._ref)

    async def resolve(self, ports: Ports, begun: Workload | ResolvedGateway) -> ResolvedGateway:
        """Complete a resolution that ``begin`` started. A gateway that can be called is kept for the next backup."""
        if isinstance(begun, ResolvedGateway):
            return begun
        now = ports.clock.now()
        resolved = await resolve_workload(ports, begun, cached=True)
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
