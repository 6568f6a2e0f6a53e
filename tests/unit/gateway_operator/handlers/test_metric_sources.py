"""A snapshot for the metrics has what the watch has shown by then, and later changes do not affect it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.metrics.gauges import object_gauges
from gateway_operator.domain.model.identifiers import GatewayRef, NamespacedGateway
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.handlers.common import HandlerDependencies
from gateway_operator.handlers.metric_sources import metrics_snapshots, watch_coverage
from gateway_operator.leadership import Leadership
from gateway_operator.ports import Ports
from gateway_operator.reconcile.workqueue import WorkQueue
from tests.unit.gateway_operator.simulation.fake_admin_api import Admin
from tests.unit.gateway_operator.simulation.fake_cluster import Clock, Cluster

GATEWAY = NamespacedGateway("prod", GatewayRef("Deployment", "gw"))


def body(name: str, **status: Any) -> dict[str, Any]:
    """An object of the gateway."""
    metadata = {"namespace": "prod", "name": name, "uid": name, "creationTimestamp": "2026-06-01T12:00:00Z"}
    return {"metadata": metadata, "spec": {"gatewayRef": {"name": "gw"}}, "status": status}


async def _nothing(_: object) -> None:
    """A reconcile that does nothing."""


async def test_later_changes_do_not_affect_a_snapshot() -> None:
    clock = Clock()
    cluster = Cluster(clock)
    leadership, health = Leadership(elected=True, clock=lambda: 0.0), GatewayHealthIndex()
    dependencies = HandlerDependencies(
        ports=Ports(cluster, Admin(cluster, clock), clock, backup_index=BackupIndex()),
        backups=WorkQueue[Backup](_nothing),
        restores=WorkQueue[Restore](_nothing),
        imports=WorkQueue(_nothing),
        schedules=WorkQueue[GatewayBackupSchedule](_nothing),
        leadership=leadership,
    )
    coverage = watch_coverage(dependencies, [])
    take = metrics_snapshots(dependencies, health, coverage)
    leadership.extend(1.0)
    assert take().objects is None, "the watch has not shown all objects"
    coverage.compare("", {BACKUP_KIND: set(), RESTORE_KIND: set(), SCHEDULE_KIND: set()})
    dependencies.backup_index.upsert(Backup.parse(body("b", phase="Failed")))
    dependencies.restore_index.upsert(Restore.parse(body("r", phase="Completed")))
    dependencies.schedules.register(GatewayBackupSchedule.parse(body("nightly")))
    health.record(GATEWAY, GatewayProblem(Reason.Unreachable, "no answer"), clock.now())

    snapshot = take()
    assert snapshot.objects is not None
    before = object_gauges(snapshot.objects, snapshot.time).values
    assert len(before) > 5
    dependencies.backup_index.drop("b")
    dependencies.restore_index.drop("r")
    dependencies.schedules.drop("nightly")
    health.forget("", [])
    leadership.revoke()

    assert snapshot.is_leader
    assert object_gauges(snapshot.objects, datetime(2026, 6, 1, tzinfo=UTC)).values == before
    later = take()
    assert not later.is_leader
    assert later.objects is not None
    assert object_gauges(later.objects, later.time).values == {}
