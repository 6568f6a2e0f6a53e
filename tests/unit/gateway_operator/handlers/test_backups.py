"""The work queue gets the GatewayBackups that have work, and the finalizer exists while a file must be deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway_operator.domain.backup.status import has_work
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND, FINALIZER
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup.object import reconcile_backup_object
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from tests.unit.gateway_operator.simulation.fake_admin_api import Admin
from tests.unit.gateway_operator.simulation.fake_cluster import Clock, Cluster

DELETED = {"deletionTimestamp": "2026-01-01T12:00:00Z"}
OURS = {"finalizers": [FINALIZER]}
DELETE = {"deleteFile": True}


@pytest.mark.parametrize(
    ("phase", "spec", "meta", "expected"),
    [
        ("", {}, {}, True),
        ("Running", {}, {}, True),
        ("Completed", {}, {}, False),
        ("Failed", {}, {}, False),
        ("Completed", DELETE, {}, True),
        ("Completed", DELETE, OURS, False),
        ("Completed", {}, OURS, True),
        ("Completed", {"pinned": True}, {"generation": 2}, True),
        ("Completed", DELETE, {**DELETED, **OURS}, True),
        ("Deleting", DELETE, {**DELETED, **OURS}, True),
        ("Running", {}, {**DELETED, "finalizers": ["another/one"]}, False),
    ],
)
def test_backups_with_work(phase: str, spec: dict[str, Any], meta: dict[str, Any], expected: bool) -> None:
    status = {"phase": phase, "observedGeneration": 1}
    body = {"metadata": {"name": "b", "uid": "u", "generation": 1, **meta}, "spec": spec, "status": status}
    assert has_work(Backup.parse(body)) is expected


class World:
    """One backup, and a loop in place of its work queue."""

    def __init__(self, **spec: Any) -> None:
        self.clock = Clock()
        self.cluster = Cluster(self.clock)
        self.admin = Admin(self.cluster, self.clock)
        self.ports = Ports(self.cluster, self.admin, self.clock)
        self.locks = GatewayLocks()
        self.ref = self.cluster.add(BACKUP_KIND, "b", spec)

    def backup(self) -> Backup:
        return Backup.parse(self.cluster.objects[(BACKUP_KIND, "b")])

    def run(self) -> None:
        """Reconcile until nothing is left to do."""
        for _ in range(50):
            after = asyncio.run(reconcile_backup_object(self.ports, self.locks, self.backup()))
            if after is None:
                return
            self.clock.advance(after)
        raise AssertionError("The backup is not finished after 50 runs.")


def test_backup_without_delete_file_has_no_finalizer() -> None:
    world = World()
    world.run()
    assert world.backup().phase == "Completed"
    assert world.backup().meta.finalizers == ()


def test_finalizer_is_added_before_the_backup_and_removed_after_the_file() -> None:
    world = World(**DELETE)
    world.run()
    assert world.backup().phase == "Completed"
    assert world.backup().meta.finalizers == (FINALIZER,)
    asyncio.run(world.cluster.delete_ours(world.backup().meta))
    assert world.backup().meta.deleting_since is not None
    world.run()
    assert asyncio.run(world.cluster.read(Ref(BACKUP_KIND, "prod", "b", ""))) is None


def test_finalizer_is_removed_when_delete_file_is_unset() -> None:
    world = World(**DELETE)
    world.run()
    world.cluster.objects[(BACKUP_KIND, "b")]["spec"]["deleteFile"] = False
    world.run()
    assert world.backup().meta.finalizers == ()
