"""The condition CertificateValid: what it says near the end of a certificate, and while no gateway answers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway_operator.domain.schedule.certificate import check_certificate
from gateway_operator.ports import AdminApiError
from tests.unit.gateway_operator.retention.world import RetentionWorld
from tests.unit.gateway_operator.simulation.fake_cluster import Clock

DAY = 24 * 3600


@pytest.mark.parametrize(
    ("days_left", "reason"),
    [(365, "CertificateValid"), (30.1, "CertificateValid"), (30, "CertificateExpiring"), (0.1, "CertificateExpiring"),
     (0, "CertificateExpired"), (-400, "CertificateExpired")],
)  # fmt: skip
def test_certificate_is_judged_by_the_days_that_are_left(days_left: float, reason: str) -> None:
    now = Clock().now()
    result = check_certificate(now + timedelta(days=days_left), now)
    assert (result.reason, result.valid) == (reason, reason == "CertificateValid")


def test_condition_follows_the_certificate_also_when_no_gateway_answers() -> None:
    world = RetentionWorld()
    world.schedule()
    controller = world.run_passes()
    conditions = world.status_of("nightly", "GatewayBackupSchedule")["conditions"]
    assert "CertificateValid" not in {one["type"] for one in conditions}, "without TLS there is no certificate"
    world.admin.certificate_end = world.clock.now() + timedelta(days=60)
    world.clock.advance(DAY)
    world.run_passes(controller=controller)
    assert world.condition("CertificateValid") == ("True", "CertificateValid")
    world.clock.advance(30 * DAY)
    world.run_passes(controller=controller)
    assert world.condition("CertificateValid") == ("False", "CertificateExpiring")
    # After the end of the certificate no call succeeds, so nobody reports it any more.
    world.admin.failing = [AdminApiError("CertificateNotTrusted", "expired", retryable=True) for _ in range(9)]
    world.clock.advance(40 * DAY)
    world.run_passes(controller=controller)
    assert world.condition("CertificateValid") == ("False", "CertificateExpired")
    warnings = [note.reason for note in world.cluster.events if note.warning and "Certificate" in note.reason]
    # The last one is the reason of the condition GatewayHealthy.
    assert warnings == ["CertificateExpiring", "CertificateExpired", "CertificateNotTrusted"]
