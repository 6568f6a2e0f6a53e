"""Injects each crash into a scheduled backup and a safety backup: the origin is right after any of them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import RESTORE_LABEL, job_backup_name, safety_backup_name
from gateway_operator.ports import ClusterError, ForbiddenError
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE
from tests.unit.gateway_operator.simulation.faults import Faults, World
from tests.unit.gateway_operator.simulation.test_crash_points import undisturbed, with_restore

pytestmark = pytest.mark.slow


def with_scheduled(faults: Faults | None = None, *, recorded: str = "", **spec: Any) -> tuple[World, Ref]:
    """A world with a schedule, its CronJob, a Job and the Job's backup. ``recorded``: the uid in the schedule."""
    world = World(faults)
    cluster = world.cluster
    template = {"verification": {"level": "Verified", "maxShrinkPercent": 20}}
    owner = cluster.add("GatewayBackupSchedule", "nightly", {"schedule": "@daily", "backupTemplate": template})
    if recorded:
        cluster.objects["GatewayBackupSchedule", "nightly"]["status"] = {"cronJobUID": recorded}
    cron_job = cluster.add("CronJob", "nightly", {}, ownerReferences=[{"controller": True, "uid": owner.uid}])
    reference = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": cron_job.uid}
    job = cluster.add("Job", "nightly-1", {}, ownerReferences=[{**reference, "controller": True}])
    spec = {"group": "nightly", "job": {"name": job.name, "uid": job.uid}, **spec}
    return world, cluster.add("GatewayBackup", job_backup_name(job.name, job.uid), spec)


def check_scheduled(world: World, ref: Ref) -> None:
    """The backup is Completed with the origin Schedule, in its status and in the manifest."""
    status = world.cluster.status(ref)
    assert (status["phase"], status["origin"], status["schedule"]) == ("Completed", "Schedule", "nightly"), status
    assert status["thresholds"] == {"level": "Verified", "maxShrinkPercent": 20}
    ((record, _),) = world.admin.backups.values()
    assert (record.metadata["origin"], record.metadata["schedule"]) == ("Schedule", "nightly")
    schedule = world.cluster.objects["GatewayBackupSchedule", "nightly"]
    assert schedule["status"]["cronJobUID"] == world.cluster.objects["CronJob", "nightly"]["metadata"]["uid"]


@pytest.mark.parametrize("recorded", ["", "uid-of-a-deleted-cron-job"])
def test_scheduled_backup_has_its_origin_after_any_single_crash(recorded: str) -> None:
    plans = undisturbed(with_scheduled, recorded=recorded).single_faults()
    for name, faults in itertools.chain([("nothing", Faults())], plans):
        world, ref = with_scheduled(faults, recorded=recorded)
        world.run(ref)
        with faults.named(name):
            check_scheduled(world, ref)


def test_origin_is_written_before_the_gateway_is_asked_and_never_again() -> None:
    world, ref = with_scheduled()
    world.run(ref)
    names = world.faults.names
    assert names.index("write_status") < names.index("backup")
    del world.cluster.objects["Job", "nightly-1"]
    world.cluster.objects["GatewayBackup", ref.name]["status"]["phase"] = "Running"
    world.run(ref)
    assert world.cluster.status(ref)["origin"] == "Schedule"


def test_missing_job_gives_manual_and_one_event() -> None:
    world, ref = with_scheduled()
    del world.cluster.objects["Job", "nightly-1"]
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["origin"]) == ("Completed", "Manual")
    assert "schedule" not in status
    assert [note.reason for note in world.cluster.events] == ["OriginNotConfirmed", "BackedUp"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ForbiddenError("jobs is forbidden"), "NotAuthorized"), (ClusterError("timeout"), "OriginUnknown")],
)
def test_failed_check_is_retried_until_the_deadline(
    error: ClusterError, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, ref = with_scheduled()
    failures = 5

    async def read_job(_namespace: str, _name: str) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise error
        return world.cluster.objects["Job", "nightly-1"]

    monkeypatch.setattr(world.cluster, "job", read_job)
    world.run(ref)
    check_scheduled(world, ref)
    world, ref = with_scheduled()
    failures = 10_000
    monkeypatch.setattr(world.cluster, "job", read_job)
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", reason)
    assert "origin" not in status
    assert world.admin.files_made == 0


def test_scheduled_backup_that_never_starts_is_one_of_the_schedule() -> None:
    world, ref = with_scheduled()
    world.cluster.present = False
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["origin"], status["schedule"]) == ("Failed", "Schedule", "nightly")


def test_thresholds_of_the_object_do_not_weaken_those_of_the_schedule() -> None:
    world, first = with_scheduled()
    world.admin.counts = world.admin.counts.model_copy(update={"users": 10})
    world.run(first)
    job = world.cluster.add(
        "Job", "nightly-2", {}, ownerReferences=world.cluster.objects["Job", "nightly-1"]["metadata"]["ownerReferences"]
    )
    world.admin.counts = world.admin.counts.model_copy(update={"users": 7})
    spec = {"group": "nightly", "job": {"name": job.name, "uid": job.uid}, "verification": {"maxShrinkPercent": 100}}
    second = world.cluster.add("GatewayBackup", job_backup_name(job.name, job.uid), spec)
    world.clock.advance(60)
    world.run(second)
    assert world.cluster.status(second)["reason"] == "Suspicious"


def test_safety_backup_has_its_origin_after_any_single_crash() -> None:
    plans = undisturbed(with_restore).single_faults()
    for name, faults in itertools.chain([("nothing", Faults())], plans):
        world, ref = with_restore(faults)
        world.run(ref)
        status = world.cluster.status(ref)
        safety = world.cluster.objects.get(("GatewayBackup", safety_backup_name("r", ref.uid)))
        if status["phase"] != "Completed":
            continue
        assert safety is not None, (name, faults.names)
        origin = safety["status"]["origin"], safety["status"]["restore"]
        assert origin == ("Restore", {"name": "r", "uid": ref.uid}), (name, faults.names)
        assert status["safetyBackupUID"] == safety["metadata"]["uid"]


@pytest.mark.parametrize(
    "change", [{"group": "manual"}, {"description": "mine"}, {"timeoutSeconds": 10}, {"ttl": "1s"}]
)
def test_restore_uses_no_prepared_object_of_its_safety_backups_name(change: dict[str, Any]) -> None:
    world, ref = with_restore()
    spec = {
        "gatewayRef": {"kind": "Deployment", "name": "gw", "ordinal": 0}, "group": "safety", "pinned": False,
        "verification": {"level": "Verified", "maxShrinkPercent": 50}, "timeoutSeconds": 600, "retryLimit": 5,
        "startingDeadlineSeconds": 300, "description": "The config that GatewayRestore r replaced.",
    }  # fmt: skip
    labels = {RESTORE_LABEL: "r"}
    world.cluster.add("GatewayBackup", safety_backup_name("r", ref.uid), {**spec, **change}, labels=labels)
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", "SafetyBackupFailed")
    assert world.admin.live == "old"
    world, ref = with_restore()
    world.cluster.add("GatewayBackup", safety_backup_name("r", ref.uid), spec, labels=labels)
    world.run(ref)
    assert world.cluster.status(ref)["phase"] == "Completed"
    safety = world.cluster.objects["GatewayBackup", safety_backup_name("r", ref.uid)]
    assert (safety["status"]["origin"], safety["metadata"]["namespace"]) == ("Restore", NAMESPACE)
