"""The last check of a gateway: fed by the retention passes, and without a false moment of an unreachable gateway."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway_operator.domain.gateway.health import Answer, GatewayHealth, GatewayHealthIndex
from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.ports import AdminApiError
from gateway_operator.reconcile.retention.controller import RetentionController
from tests.unit.gateway_operator.retention.world import RetentionWorld
from tests.unit.gateway_operator.simulation.faults import log

HOUR = 3600


class RecordedIndex(GatewayHealthIndex):
    """An index that counts the reports of an unreachable gateway."""

    unreachable_reports = 0

    def record(self, gateway: NamespacedGateway, answer: Answer, *rest: Any) -> None:
        super().record(gateway, answer, *rest)
        self.unreachable_reports += not self.checks[gateway].reachable


def test_check_follows_the_gateway_and_keeps_the_last_answer() -> None:
    world, index = RetentionWorld(), RecordedIndex()
    world.schedule()
    controller = RetentionController(world.plain, [], log, health=index)

    def check() -> GatewayHealth | None:
        world.clock.advance(HOUR)
        world.run_passes(controller=controller)
        return next(iter(index.checks.values()), None)

    good = check()
    assert good is not None
    assert (good.reachable, good.healthy, good.issues) == (True, True, 0)
    world.admin.live = "broken"
    bad = check()
    assert bad is not None
    assert (bad.reachable, bad.healthy) == (True, False)
    assert index.unreachable_reports == 0, "a scrape during a check must not see a reachable gateway as unreachable"
    world.admin.failing = [AdminApiError("Unreachable", "no answer", retryable=True) for _ in range(9)]
    lost = check()
    assert lost is not None
    assert (lost.reachable, lost.healthy) == (False, False)
    world.admin.failing, world.admin.live = [], "config"
    back = check()
    assert back is not None
    assert replace(back, checked=good.checked) == good
    del world.cluster.objects["GatewayBackupSchedule", "nightly"]
    assert check() is None, "no object names the gateway"


def test_gateway_that_has_never_answered_has_no_values() -> None:
    world, index = RetentionWorld(), RecordedIndex()
    world.schedule()
    world.admin.failing = [AdminApiError("Unreachable", "no answer", retryable=True) for _ in range(9)]
    world.run_passes(controller=RetentionController(world.plain, [], log, health=index))
    (health,) = index.checks.values()
    assert (health.reachable, health.has_answered) == (False, False)
