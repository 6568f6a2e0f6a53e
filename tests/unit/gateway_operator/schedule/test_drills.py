"""Drills of a schedule: their CronJob, their records, the condition Drilled, and a crash at any call."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import DRILL_TEMPLATE, RESTORE_KIND, job_backup_name
from gateway_operator.domain.schedule.drill_cronjob import DRILL_VARIABLE, desired_drill_cron_job, max_drill_seconds
from gateway_operator.ports import ForbiddenError
from tests.unit.gateway_operator.schedule.test_decide import schedule
from tests.unit.gateway_operator.schedule.world import IMAGE, World
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE, START
from tests.unit.gateway_operator.simulation.faults import Faults

DRILL = {"schedule": "0 4 * * 0"}
NAME = "nightly-drill"


def add_drill(world: World, job: str, **status: Any) -> Ref:
    """A Job of the drill's CronJob and the record that its pod creates. The drill is finished if it has a phase."""
    uid = world.cron_jobs.add_job(NAME, job)
    ref = world.cluster.add(
        RESTORE_KIND, job_backup_name(job, uid), {"mode": "Drill", "job": {"name": job, "uid": uid}}
    )
    if status:
        world.cluster.objects[RESTORE_KIND, ref.name]["status"] = {"completionTime": "2026-01-04T04:02:00Z", **status}
    return ref


GOOD = {"phase": "Completed", "reason": "Drilled", "source": {"backupName": "b-1"}, "drill": {"totalSeconds": 41.4}}
BAD = {"phase": "Failed", "reason": "CountsDiffer", "message": "The drill has 1 user, the backup 2."}


def drilled(world: World) -> tuple[str, str, str] | None:
    """Status, reason and message of the condition; None without it."""
    every = world.cluster.status(world.ref)["conditions"]
    return next(((one["status"], one["reason"], one["message"]) for one in every if one["type"] == "Drilled"), None)


def owners(world: World, ref: Ref) -> list[str]:
    """The uids of the owners of a record."""
    return [one["uid"] for one in world.cluster.objects[ref.kind, ref.name]["metadata"].get("ownerReferences", ())]


@pytest.mark.parametrize("name", ["nightly", "x" * 46])
def test_drill_cronjob_creates_a_drill_of_the_newest_backup(name: str) -> None:
    one = schedule(drill={**DRILL, "timeoutSeconds": 900, "identitySecretRef": {"name": "key"}}, suspend=True)
    one = replace(one, meta=replace(one.meta, ref=replace(one.meta.ref, name=name)))
    assert one.drill is not None
    body = desired_drill_cron_job(one, one.drill, IMAGE)
    assert body["metadata"]["name"] == f"{name}-drill"
    assert len(body["metadata"]["name"]) <= 52, "the controller adds 11 characters to the name of a CronJob"
    spec = body["spec"]
    assert (spec["schedule"], spec["suspend"], spec["concurrencyPolicy"]) == ("0 4 * * 0", True, "Forbid")
    pod = spec["jobTemplate"]["spec"]["template"]
    template = json.loads(pod["metadata"]["annotations"][DRILL_TEMPLATE])
    assert template["spec"] == {
        "gatewayRef": {"kind": "Deployment", "name": "gw", "ordinal": 0},
        "mode": "Drill",
        "latest": {"group": name},
        "startingDeadlineSeconds": 300,
        "timeoutSeconds": 900,
        "identitySecretRef": {"name": "key"},
    }
    (container,) = pod["spec"]["containers"]
    assert container["args"][:4] == ["drill", "create", "--from-job", "--wait"]
    assert [one["name"] for one in container["env"]] == ["JOB_NAME", "JOB_UID", DRILL_VARIABLE]
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > max_drill_seconds(one.drill) > 1200


def test_good_drill_sets_the_condition_and_the_times() -> None:
    world = World(drill=DRILL)
    world.run()
    assert drilled(world) is None
    ref = add_drill(world, "nightly-drill-1", **GOOD)
    world.clock.time = START + timedelta(days=4)
    world.run()
    assert owners(world, ref) == ["0uid-of-nightly-drill-1"]
    assert drilled(world) == ("True", "Drilled", "Backup b-1 was restored in a drill in 41 s at 2026-01-04T04:02:00Z.")
    status = world.cluster.status(world.ref)["drill"]
    assert status == {
        "cronJob": NAME,
        "cronJobUID": "c-2",
        "nextTime": "2026-01-11T04:00:00Z",
        "lastName": ref.name,
        "lastTime": "2026-01-04T04:02:00Z",
        "lastSuccessfulTime": "2026-01-04T04:02:00Z",
        "lastSuccessfulBackup": "b-1",
        "lastSuccessfulSeconds": 41.4,
    }


def test_failed_drill_sets_the_condition_until_the_next_good_one() -> None:
    world = World(drill=DRILL)
    world.run()
    first, second = (
        add_drill(world, "d-1", **GOOD),
        add_drill(world, "d-2", **BAD | {"completionTime": "2026-01-05T00:00:00Z"}),
    )
    world.run()
    now = drilled(world)
    assert now is not None
    assert now[:2] == ("False", "CountsDiffer")
    assert "The drill has 1 user, the backup 2." in now[2]
    # The Jobs and the records are gone: the status keeps the result.
    world.cron_jobs.job_list.clear()
    for ref in (first, second):
        del world.cluster.objects[ref.kind, ref.name]
    world.run()
    assert drilled(world) == now
    assert world.cluster.status(world.ref)["drill"]["lastSuccessfulBackup"] == "b-1"
    add_drill(world, "d-3", **GOOD | {"completionTime": "2026-01-06T00:00:00Z"})
    world.run()
    after = drilled(world)
    assert after is not None
    assert after[0] == "True"
    assert "failure" not in world.cluster.status(world.ref)["drill"]


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("good", [False, True])
def test_missing_drill_is_overdue_unless_the_schedule_is_suspended(good: bool, suspended: bool) -> None:
    world = World(drill=DRILL, suspend=suspended)
    world.run()
    world.cron_jobs.objects[NAME]["metadata"]["creationTimestamp"] = timestamps.text(START)
    if good:
        add_drill(world, "d-1", **GOOD)
    # 11 January is the second due time, which a drill has an hour and its own time to meet.
    world.clock.time = START + timedelta(days=9, hours=17)
    world.run()
    before = drilled(world)
    assert (before or ("None",))[0] == ("True" if good else "None" if suspended else "False")
    world.clock.time += timedelta(hours=2)
    world.run()
    after = drilled(world)
    if suspended:
        assert after == before
    else:
        assert after is not None
        assert after[:2] == ("False", "DrillOverdue")
        assert "kubectl describe cronjob nightly-drill" in after[2]


def forge(world: World, **changes: Any) -> Ref:
    """A finished drill whose record does not follow from a Job of this schedule."""
    uid = world.cron_jobs.add_job(changes.pop("cron_job", NAME), "d-1")
    spec = {"mode": "Drill", "job": {"name": "d-1", "uid": changes.pop("uid", uid)}, **changes.pop("spec", {})}
    name = changes.pop("name", job_backup_name("d-1", uid))
    return world.cluster.add(RESTORE_KIND, name, spec, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"cron_job": "nightly"},
        {"uid": "another"},
        {"name": "my-own"},
        {"spec": {"mode": "Apply"}},
        {"spec": {"job": None}},
        {"spec": {"gatewayRef": {"name": "other"}}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_record_of_another_creator_is_neither_owned_nor_counted(changes: dict[str, Any]) -> None:
    world = World(drill=DRILL)
    world.run()
    ref = forge(world, **changes)
    world.cluster.objects[ref.kind, ref.name]["status"] = {"completionTime": "2026-01-04T04:02:00Z", **GOOD}
    world.run()
    assert owners(world, ref) == []
    assert drilled(world) is None


def test_removed_drill_deletes_its_cronjob_and_its_status() -> None:
    world = World(drill=DRILL)
    world.run()
    add_drill(world, "d-1", **GOOD)
    world.run()
    del world.cluster.objects["GatewayBackupSchedule", "nightly"]["spec"]["drill"]
    world.run()
    assert set(world.cron_jobs.objects) == {"nightly"}
    assert drilled(world) is None
    assert "drill" not in world.cluster.status(world.ref)
    assert [note.reason for note in world.cluster.events][-1] == "CronJobDeleted"


def test_foreign_cronjob_of_the_drills_name_is_never_touched() -> None:
    world = World()
    world.cron_jobs.objects[NAME] = {"metadata": {"name": NAME, "namespace": NAMESPACE, "uid": "x"}, "spec": {}}
    world.run()
    world.cluster.objects["GatewayBackupSchedule", "nightly"]["spec"]["drill"] = DRILL
    world.run()
    now = drilled(world)
    assert now is not None
    assert now[:2] == ("False", "NameConflict")
    assert world.cron_jobs.objects[NAME]["spec"] == {}
    ready = [one["status"] for one in world.cluster.status(world.ref)["conditions"] if one["type"] == "Ready"]
    assert ready == ["True"], "the backups are not affected"


def test_missing_permission_to_own_a_record_is_reported_once() -> None:
    world = World(drill=DRILL)
    world.run()
    add_drill(world, "d-1", **GOOD)

    async def refuse(*_: Any) -> None:
        raise ForbiddenError("no patch")

    world.cluster.set_owners = refuse  # type: ignore[method-assign, assignment]
    world.run()
    now = drilled(world)
    assert now is not None
    assert now[:2] == ("False", "NotAuthorized")


def drill_life(world: World) -> Ref:
    """Create both CronJobs, drill once, and remove the drills from the schedule."""
    world.run()
    ref = add_drill(world, "d-1", **GOOD)
    world.run()
    assert drilled(world) is not None
    assert owners(world, ref) == ["0uid-of-d-1"]
    assert world.cluster.status(world.ref)["drill"]["lastSuccessfulBackup"] == "b-1"
    del world.cluster.objects["GatewayBackupSchedule", "nightly"]["spec"]["drill"]
    world.run()
    return ref


def test_drills_survive_a_crash_at_any_call() -> None:
    without = Faults()
    drill_life(World(without, drill=DRILL))
    assert without.calls > 15
    for number in range(1, without.calls + 1):
        for faults in (Faults({number}), Faults(None, {number})):
            world = World(faults, drill=DRILL)
            ref = drill_life(world)
            assert set(world.cron_jobs.objects) == {"nightly"}, (number, faults.names)
            assert world.cron_jobs.created == 2, (number, faults.names)
            assert owners(world, ref) == ["0uid-of-d-1"], (number, faults.names)
            assert drilled(world) is None, (number, faults.names)
