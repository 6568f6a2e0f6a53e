"""The condition GatewayHealthy of a schedule: whether the admin API of its gateway answers and reports no problem.

The condition is on the schedule, because people watch schedules, and there is no object for a gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway_api.contract import SystemHealthData, SystemStatus
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason

GATEWAY_HEALTHY: Final = "GatewayHealthy"
_OWN_PROBLEMS: Final = frozenset({Reason.KubernetesError, Reason.InternalError})
"""Problems of the operator or of the API server. They say nothing about the gateway."""
_MAX_ISSUES: Final = 5
_OWN_CONDITION: Final = frozenset({"CertificateExpiring"})
"""Warnings of the admin API for which a schedule has a condition of its own."""


@dataclass(frozen=True, slots=True)
class GatewayCheck:
    """The value of the condition GatewayHealthy."""

    healthy: bool
    reason: str
    message: str


def judge_gateway(answer: SystemHealthData | Failure | GatewayProblem) -> GatewayCheck | None:
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
