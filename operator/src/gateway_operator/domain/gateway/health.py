"""The last check of each gateway's admin API, for the metrics of the gateways."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gateway_api.contract import SystemHealthData, SystemStatus
from gateway_operator.domain.model.identifiers import NamespacedGateway


@dataclass(frozen=True, slots=True)
class GatewayHealth:
    """The last check of a gateway. Without an answer yet, only ``reachable`` has a value.

    The other fields outlive a gateway that no longer answers.
    """

    reachable: bool
    healthy: bool | None = None
    """False if the config is missing or invalid."""
    issues: int | None = None
    """The number of issues and warnings."""
    free_bytes: int | None = None
    total_bytes: int | None = None
    certificate_end: datetime | None = None
    """None without TLS, or if the certificate cannot be read."""

    @classmethod
    def from_answer(cls, health: SystemHealthData) -> GatewayHealth:
        """From an answer of the admin API."""
        volume = health.volume
        return cls(
            reachable=True,
            healthy=health.status is not SystemStatus.unhealthy,
            issues=len(health.issues) + len(health.warnings),
            free_bytes=None if volume is None else volume.free_bytes,
            total_bytes=None if volume is None else volume.total_bytes,
            certificate_end=health.certificate_end,
        )


class GatewayHealthIndex:
    """The last check of each gateway. The retention pass feeds it, and the metrics read it."""

    def __init__(self) -> None:
        self._checks: dict[NamespacedGateway, GatewayHealth] = {}

    @property
    def checks(self) -> Mapping[NamespacedGateway, GatewayHealth]:
        """The last check of each gateway."""
        return self._checks

    def answered(self, gateway: NamespacedGateway, health: SystemHealthData) -> None:
        """The admin API has answered."""
        self._checks[gateway] = GatewayHealth.from_answer(health)

    def unreachable(self, gateway: NamespacedGateway) -> None:
        """The admin API has not answered. Its last answer stays."""
        self._checks[gateway] = replace(self._checks.get(gateway, GatewayHealth(False)), reachable=False)

    def forget(self, namespace: str, gateways: Collection[NamespacedGateway]) -> None:
        """Drop the gateways of a namespace that are not in ``gateways``. Empty: of all namespaces."""
        for one in [one for one in self._checks if namespace in ("", one.namespace) and one not in gateways]:
            del self._checks[one]
