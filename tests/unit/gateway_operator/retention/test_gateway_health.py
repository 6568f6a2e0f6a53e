"""The condition GatewayHealthy: what it says, how soon, and what it does not blame on a gateway."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway_api.contract import Issue, SystemHealthData, SystemStatus
from gateway_operator.domain.gateway.health import GATEWAY_HEALTHY, GatewayHealthIndex, judge_gateway
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import GatewayRef, NamespacedGateway
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.ports import AdminApiError
from gateway_operator.reconcile.retention.gateway_checks import GatewayChecks
from tests.unit.gateway_operator.retention.world import RetentionWorld
from tests.unit.gateway_operator.simulation.fake_admin_api import health_data

UNREACHABLE = AdminApiError("Unreachable", "refused", retryable=True)


def health(status: SystemStatus, *codes: str) -> SystemHealthData:
    return health_data(status=status, issues=[Issue(code=one, where="x", message="text") for one in codes])


@pytest.mark.parametrize(
    ("answer", "healthy", "reason"),
    [
        (health(SystemStatus.healthy), True, "GatewayHealthy"),
        (health(SystemStatus.degraded, "VolumeNearlyFull"), False, "GatewayDegraded"),
        (health(SystemStatus.unhealthy, "ConfigInvalid"), False, "GatewayUnhealthy"),
        # The condition CertificateValid reports it.
        (health(SystemStatus.degraded, "CertificateExpiring"), True, "GatewayHealthy"),
        (health(SystemStatus.degraded, "CertificateExpiring", "VolumeNearlyFull"), False, "GatewayDegraded"),
        (health(SystemStatus.unhealthy, "CertificateExpiring"), False, "GatewayUnhealthy"),
        (Failure("Unreachable", "refused", retryable=True), False, "Unreachable"),
        (GatewayProblem(Reason.NoReadyPod, "No pod is Ready."), False, "NoReadyPod"),
    ],
)
def test_answer_decides_the_condition(
    answer: SystemHealthData | Failure | GatewayProblem, healthy: bool, reason: str
) -> None:
    result = judge_gateway(answer)
    assert result is not None
    assert (result.healthy, result.reason) == (healthy, reason)


def test_message_names_the_first_problems_only() -> None:
    result = judge_gateway(health(SystemStatus.degraded, *(f"Code{number}" for number in range(9))))
    assert result is not None
    assert "Code4: text; and 4 more" in result.message


@pytest.mark.parametrize("reason", [Reason.KubernetesError, Reason.InternalError])
def test_problem_of_the_operator_is_not_one_of_the_gateway(reason: Reason) -> None:
    assert judge_gateway(GatewayProblem(reason, "text")) is None
    assert judge_gateway(Failure(reason, "text", retryable=True)) is None


def test_outage_is_reported_within_a_minute_and_ends() -> None:
    world = RetentionWorld()
    world.schedule()
    controller = world.run_passes(ports=world.ports)
    assert world.condition(GATEWAY_HEALTHY) == ("True", "GatewayHealthy")
    world.admin.failing = [UNREACHABLE]
    world.clock.advance(61)
    world.run_passes(controller=controller)
    assert world.condition(GATEWAY_HEALTHY) == ("False", "Unreachable")
    world.clock.advance(61)
    writes = world.cluster.writes
    world.run_passes(controller=controller)
    assert world.condition(GATEWAY_HEALTHY) == ("True", "GatewayHealthy")
    assert world.cluster.writes == writes + 1
    # No call and no write while nothing changes and no check is due.
    health_calls = world.faults.names.count("health")
    world.clock.advance(5)
    world.run_passes(controller=controller)
    assert world.faults.names.count("health") == health_calls
    assert world.cluster.writes == writes + 1


def test_missing_gateway_is_reported() -> None:
    world = RetentionWorld()
    world.schedule()
    world.cluster.present = False
    world.run_passes()
    assert world.condition(GATEWAY_HEALTHY) == ("False", "GatewayNotFound")


@pytest.mark.parametrize(("number", "seconds"), [(1, 60), (300, 60), (1000, 200)])
def test_number_of_checks_a_second_is_bounded(number: int, seconds: int) -> None:
    world, index = RetentionWorld(), GatewayHealthIndex()
    checks, now = GatewayChecks(world.ports, index), world.clock.now()
    gateways = {NamespacedGateway("prod", GatewayRef("Deployment", f"gw{index}")) for index in range(number)}
    assert checks.due(gateways, now) == gateways
    for one in gateways:
        index.record(one, health(SystemStatus.healthy), now)
    assert checks.due(gateways, now + timedelta(seconds=seconds - 1)) == set()
    assert checks.due(gateways, now + timedelta(seconds=seconds)) == gateways
    assert checks.due(gateways, now - timedelta(days=1)) == gateways, "the clock was set back"
    index.forget("", ())
    assert checks.due(gateways, now) == gateways
