"""The last check of each gateway's admin API: one record for the conditions of schedules and for the metrics.

The condition GatewayHealthy is on the schedule, because people watch schedules, and there is no object for a gateway.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gateway_api.contract import SystemHealthData, SystemStatus
from gateway_operator.domain.gateway.volumes import BackupVolume
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason

GATEWAY_HEALTHY: Final = "GatewayHealthy"
_OWN_PROBLEMS: Final = frozenset({Reason.KubernetesError, Reason.InternalError})
"""Problems of the operator or of the API server. They say nothing about the gateway."""
_MAX_ISSUES: Final = 5
_OWN_CONDITION: Final = frozenset({"CertificateExpiring"})
"""Warnings of the admin API for which a schedule has a condition of its own."""

Answer = SystemHealthData | Failure | GatewayProblem


@dataclass(frozen=True, slots=True)
class GatewayCheck:
    """The value of the condition GatewayHealthy."""

    healthy: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class GatewayHealth:
    """The last check of a gateway, with the content of its last answer, which outlives an unreachable gateway."""

    checked: datetime
    check: GatewayCheck | None = None
    """None if the gateway was not observed yet, because of a problem of the operator itself."""
    reachable: bool | None = None
    """Whether the last check was answered; None as above."""
    healthy: bool | None = None
    """False if the config is missing or invalid; None without an answer yet."""
    issues: int | None = None
    """The number of issues and warnings."""
    free_bytes: int | None = None
    total_bytes: int | None = None
    certificate_end: datetime | None = None
    """None without TLS, or if the certificate cannot be read."""
    backup_volume: BackupVolume | None = None
    """None if it was not read yet."""

    @property
    def has_answered(self) -> bool:
        """Whether the admin API has answered once."""
        return self.healthy is not None


class GatewayHealthIndex:
    """The last check of each gateway. The retention pass writes it; conditions and metrics are made of it.

    Nothing is stored: after a restart every gateway is checked again.
    """

    def __init__(self) -> None:
        self._checks: dict[NamespacedGateway, GatewayHealth] = {}

    @property
    def checks(self) -> Mapping[NamespacedGateway, GatewayHealth]:
        """The last check of each gateway."""
        return self._checks

    def record(
        self, gateway: NamespacedGateway, answer: Answer, now: datetime, backup_volume: BackupVolume | None = None
    ) -> None:
        """Store the answer to a check. ``backup_volume`` is None if it was not read: the last one then stays.

        A problem of the operator itself changes only the time.
        """
        before = replace(self._checks.get(gateway, GatewayHealth(now)), checked=now)
        check = judge_gateway(answer)
        if isinstance(answer, SystemHealthData):
            volume = answer.volume
            self._checks[gateway] = GatewayHealth(
                checked=now,
                check=check,
                reachable=True,
                healthy=answer.status is not SystemStatus.unhealthy,
                issues=len(answer.issues) + len(answer.warnings),
                free_bytes=None if volume is None else volume.free_bytes,
                total_bytes=None if volume is None else volume.total_bytes,
                certificate_end=answer.certificate_end,
                backup_volume=before.backup_volume if backup_volume is None else backup_volume,
            )
        else:
            self._checks[gateway] = before if check is None else replace(before, check=check, reachable=False)

    def forget(self, namespace: str, gateways: Collection[NamespacedGateway]) -> None:
        """Drop the gateways of a namespace that are not in ``gateways``. Empty: of all namespaces."""
        for one in [one for one in self._checks if namespace in ("", one.namespace) and one not in gateways]:
            del self._checks[one]


def judge_gateway(answer: Answer) -> GatewayCheck | None:
    """The result of a check. None if the gateway was not observed: the condition then stays as it is."""
    if isinstance(answer, SystemHealthData):
        return _judge_answer(answer)
    reason = answer.code if isinstance(answer, Failure) else answer.reason
    if reason in _OWN_PROBLEMS:
        return None
    message = answer.sentence() if isinstance(answer, Failure) else answer.message
    return GatewayCheck(False, str(reason), message)


def _judge_answer(health: SystemHealthData) -> GatewayCheck:
    reported = [one for one in (*health.issues, *health.warnings) if one.code not in _OWN_CONDITION]
    unhealthy = health.status is SystemStatus.unhealthy
    if not unhealthy and (health.status is SystemStatus.healthy or not reported):
        return GatewayCheck(True, str(Reason.GatewayHealthy), "The gateway's admin API answers and reports no problem.")
    reason = Reason.GatewayUnhealthy if unhealthy else Reason.GatewayDegraded
    problems = [f"{one.code}: {one.message}" for one in reported]
    return GatewayCheck(
        False, str(reason), f"The gateway's admin API reports {health.status}. {_list(problems)}".strip()
    )


def _list(problems: Sequence[str]) -> str:
    more = len(problems) - _MAX_ISSUES
    text = "; ".join(problems[:_MAX_ISSUES])
    return f"{text}; and {more} more" if more > 0 else text
