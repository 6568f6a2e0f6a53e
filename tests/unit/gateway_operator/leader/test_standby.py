"""A standby notices a watch that has ended, and nothing else."""

from __future__ import annotations

import pytest

from gateway_operator.domain.model.names import BACKUP_KIND, IMPORT_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup
from gateway_operator.handlers import standby_task
from gateway_operator.reconcile.watch_check import PATIENCE, WatchCheck
from gateway_operator.reconcile.workqueue import WorkQueue
from tests.unit.gateway_operator.simulation.faults import World


async def never(_: object) -> None:
    raise AssertionError("a standby reconciles nothing")


async def test_object_that_no_watch_has_shown_is_missed_by_the_second_list(monkeypatch: pytest.MonkeyPatch) -> None:
    world, now = World(), 1000.0
    monkeypatch.setattr(standby_task, "monotonic", lambda: now)
    queues = {kind: WorkQueue(never) for kind in (BACKUP_KIND, RESTORE_KIND, IMPORT_KIND, SCHEDULE_KIND)}
    shown, lost = (world.cluster.add(BACKUP_KIND, name, {}) for name in ("shown", "lost"))
    world.cluster.objects[BACKUP_KIND, "done"] = {
        "metadata": {"namespace": "prod", "name": "done", "uid": "u"}, "spec": {"gatewayRef": {"name": "gw"}},
        "status": {"phase": "Completed"},
    }  # fmt: skip
    queues[BACKUP_KIND].register(Backup.parse(world.cluster.objects[BACKUP_KIND, shown.name]))
    check = WatchCheck(queues)
    await standby_task.check_watches(world.plain, (), check)
    assert check.missed == []
    now += PATIENCE
    world.cluster.listing_ends_early = True
    for number in range(3):
        world.cluster.add(BACKUP_KIND, f"more-{number}", {})
    await standby_task.check_watches(world.plain, (), check)
    assert check.missed == [], "an incomplete list says nothing"
    world.cluster.listing_ends_early = False
    await standby_task.check_watches(world.plain, (), check)
    assert check.missed == [lost]
