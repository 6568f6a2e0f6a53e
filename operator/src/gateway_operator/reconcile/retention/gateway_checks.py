"""Checks each minute whether the gateways of schedules answer, and keeps the last result of each.

A listing of the volume is a check as well. Its interval is ten minutes, which is too long for a report of an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.schedule.gateway_health import GatewayCheck, judge_gateway
from gateway_operator.ports import Ports
from gateway_operator.reconcile.gateway_lookup import call_or_failure, resolve_gateway

INTERVAL: Final = timedelta(minutes=1)
_INTERVAL_OF_EACH: Final = timedelta(seconds=0.2)
"""With many gateways the interval is longer, so that there are at most five checks a second."""
_TIMEOUT: Final = 10.0
"""Seconds for one check, so that gateways that do not answer delay a pass only briefly."""


class GatewayChecks:
    """The last check of each gateway. Nothing is stored: after a restart every gateway is due."""

    def __init__(self, ports: Ports, health: GatewayHealthIndex) -> None:
        self._ports = ports
        self._health = health
        self._results: dict[NamespacedGateway, GatewayCheck] = {}
        self._checked: dict[NamespacedGateway, datetime] = {}

    def result(self, gateway: NamespacedGateway) -> GatewayCheck | None:
        """The last result; None if the gateway was not observed yet."""
        return self._results.get(gateway)

    def due(self, gateways: Collection[NamespacedGateway], now: datetime) -> set[NamespacedGateway]:
        """The gateways whose last check is old. A clock that was set back must not stop the checks."""
        interval = max(INTERVAL, _INTERVAL_OF_EACH * len(gateways))
        return {one for one in gateways if one not in self._checked or abs(now - self._checked[one]) >= interval}

    async def check(self, gateway: NamespacedGateway) -> None:
        """Check a gateway now, also for the metrics. Each problem is a result, and nothing is raised."""
        self._checked[gateway] = self._ports.clock.now()
        try:
            async with asyncio.timeout(_TIMEOUT):
                answer = await self._observe(gateway)
        except TimeoutError:
            message = f"The gateway did not answer within {_TIMEOUT:.0f} s."
            answer = GatewayProblem(Reason.CallTimedOut, message)
        self.record(gateway, answer)

    async def _observe(self, gateway: NamespacedGateway) -> SystemHealthData | Failure | GatewayProblem:
        resolved = await resolve_gateway(self._ports, gateway.namespace, gateway.gateway)
        if isinstance(resolved.gateway, GatewayProblem):
            return resolved.gateway
        if resolved.target is None:
            return GatewayProblem(Reason.InternalError, "The gateway was not observed.")
        return await call_or_failure(self._ports.admin_api.health(resolved.target))

    def record(self, gateway: NamespacedGateway, answer: SystemHealthData | Failure | GatewayProblem) -> None:
        """Store what a check or a listing has observed, also for the metrics.

        A problem of the operator itself changes nothing.
        """
        self._checked[gateway] = self._ports.clock.now()
        result = judge_gateway(answer)
        if result is None:
            return
        self._results[gateway] = result
        if isinstance(answer, SystemHealthData):
            self._health.answered(gateway, answer)
        else:
            self._health.unreachable(gateway)

    def forget(self, namespace: str, gateways: Collection[NamespacedGateway]) -> None:
        """Drop the results of a namespace for gateways that no object names any more. Empty: of all namespaces."""
        for one in [one for one in self._checked if namespace in ("", one.namespace) and one not in gateways]:
            del self._checked[one]
            self._results.pop(one, None)
