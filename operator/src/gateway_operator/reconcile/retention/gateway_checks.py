"""Checks each minute whether the gateways of schedules answer, and records the result in the index of gateways.

A listing of the volume is a check as well. Its interval is ten minutes, which is too long for a report of an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.health import Answer, GatewayHealthIndex
from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.ports import Ports
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, call_or_failure, resolve_gateway
from gateway_operator.reconcile.retention.backup_volume import read_backup_volume

INTERVAL: Final = timedelta(minutes=1)
_INTERVAL_OF_EACH: Final = timedelta(seconds=0.2)
"""With many gateways the interval is longer, so that there are at most five checks a second."""
_TIMEOUT: Final = 10.0
"""Seconds for one check, so that gateways that do not answer delay a pass only briefly."""


class GatewayChecks:
    """Asks gateways for their health."""

    def __init__(self, ports: Ports, health: GatewayHealthIndex) -> None:
        self._ports = ports
        self._health = health

    def due(self, gateways: Collection[NamespacedGateway], now: datetime) -> set[NamespacedGateway]:
        """The gateways whose last check is old. A clock that was set back must not stop the checks."""
        interval = max(INTERVAL, _INTERVAL_OF_EACH * len(gateways))
        checks = self._health.checks
        return {one for one in gateways if one not in checks or abs(now - checks[one].checked) >= interval}

    async def check(self, gateway: NamespacedGateway) -> None:
        """Check a gateway now. Each problem is recorded, and nothing is raised."""
        last = self._health.checks.get(gateway)
        volume = None if last is None else last.backup_volume
        try:
            async with asyncio.timeout(_TIMEOUT):
                # Each listing reads the volume. A problem with it should end sooner, after a person has fixed it.
                await self.observe(gateway, reads_volume=volume is not None and volume.retained is False)
        except TimeoutError:
            message = f"The gateway did not answer within {_TIMEOUT:.0f} s."
            self._health.record(gateway, GatewayProblem(Reason.CallTimedOut, message), self._ports.clock.now())

    async def observe(self, gateway: NamespacedGateway, *, reads_volume: bool) -> ResolvedGateway:
        """Resolve a gateway, ask for its health and record the answer. TimeoutError is the caller's.

        ``reads_volume``: also read the claim and the PersistentVolume of its backups.
        """
        resolved = await resolve_gateway(self._ports, gateway.namespace, gateway.gateway)
        answer = await self._ask(resolved)
        volume = None
        if reads_volume and isinstance(answer, SystemHealthData):
            volume = await read_backup_volume(self._ports, gateway.namespace, resolved, answer)
        self._health.record(gateway, answer, self._ports.clock.now(), volume)
        return resolved

    async def _ask(self, resolved: ResolvedGateway) -> Answer:
        if isinstance(resolved.gateway, GatewayProblem):
            return resolved.gateway
        if resolved.target is None:
            return GatewayProblem(Reason.InternalError, "The gateway was not observed.")
        return await call_or_failure(self._ports.admin_api.health(resolved.target))
