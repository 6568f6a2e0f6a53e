"""Tests of a schedule's decisions: drift of the CronJob, its owner, and the status."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.index.backup_index import BackupIndex, BackupSummary
from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.schedule.backup_summaries import progress
from gateway_operator.domain.schedule.cronjob import (
    Image,
    desired_cron_job,
    max_backup_seconds,
)
from gateway_operator.domain.schedule.cronjob_check import CorrectCronJob, CreateCronJob, CronJobError
from gateway_operator.domain.schedule.decide import ScheduleObservation, ScheduleStatusUpdate, decide
from gateway_operator.domain.schedule.drift import correction, differences
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ForbiddenError, InvalidError
from tests.unit.gateway_operator.schedule.world import IMAGE, World, merged
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE, START
from tests.unit.gateway_operator.simulation.faults import Faults
from tests.unit.gateway_operator.summaries import summary

NAME = "nightly"


def schedule(**spec: Any) -> GatewayBackupSchedule:
    """A schedule from an object of the API server."""
    meta = {
        "namespace": "prod",
        "name": "nightly",
        "uid": "s-1",
        "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    spec = {"gatewayRef": {"name": "gw"}, "schedule": "0 2 * * *", **spec}
    return GatewayBackupSchedule.parse({"metadata": meta, "spec": spec})


def stored(one: GatewayBackupSchedule, image: Image = IMAGE) -> dict[str, Any]:
    """Its CronJob with the defaults that the API server adds."""
    body = copy.deepcopy(desired_cron_job(one, image))
    body["metadata"] |= {"uid": "c-1", "resourceVersion": "7", "generation": 1}
    body["spec"]["jobTemplate"]["metadata"]["creationTimestamp"] = None
    pod = body["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "serviceAccount": "gw-backup"}
    pod["containers"][0] |= {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
    for one_variable in pod["containers"][0]["env"]:
        one_variable["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    if not pod["imagePullSecrets"]:
        del pod["imagePullSecrets"]
    body["status"] = {"lastScheduleTime": "2025-12-31T02:00:00Z"}
    return body


def observation(one: GatewayBackupSchedule, cron_job: Json | None, **more: Any) -> ScheduleObservation:
    """The observation of a schedule and its CronJob."""
    return ScheduleObservation(one, cron_job, more.pop("has_account", True), more.pop("backups", ()), IMAGE, **more)


def written_status(observation: ScheduleObservation) -> dict[str, Any]:
    """The status of a decision that writes one."""
    action = decide(observation, START)
    assert isinstance(action, ScheduleStatusUpdate)
    return action.status


def ready(status: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether it is Ready, and why."""
    (one,) = [one for one in status["conditions"] if one["type"] == "Ready"]
    return one["status"] == "True", one["reason"]


@pytest.mark.parametrize("image", [IMAGE, Image("operator:1")])
def test_defaults_of_the_api_server_are_no_drift(image: Image) -> None:
    one = schedule()
    assert differences(desired_cron_job(one, image), stored(one, image)) == []


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all leaves of a structure."""
    if isinstance(value, Mapping) and value:
        return [result for key, inner in value.items() for result in paths(inner, (*path, key))]
    if isinstance(value, list) and value:
        return [result for index, inner in enumerate(value) for result in paths(inner, (*path, index))]
    return [path]


LEAVES = paths(desired_cron_job(schedule(backupTemplate={"ttl": "30d"}), IMAGE)["spec"])


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: ".".join(map(str, leaf)))
def test_change_of_any_managed_field_is_corrected(leaf: tuple[Any, ...]) -> None:
    one = schedule(backupTemplate={"ttl": "30d"})
    have = stored(one)
    part = have["spec"]
    for step in leaf[:-1]:
        part = part[step]
    part[leaf[-1]] = "else"
    want = desired_cron_job(one, IMAGE)
    assert len(differences(want, have)) == 1
    action = decide(observation(one, have), START)
    assert isinstance(action, CorrectCronJob)
    assert action.event.reason == Reason.CronJobRestored
    assert action.patch["metadata"]["resourceVersion"] == "7"
    assert differences(want, merged(have, action.patch)) == []


@settings(deadline=None)
@given(st.sets(st.sampled_from(LEAVES), max_size=4))
def test_correction_removes_all_differences(leaves: set[tuple[Any, ...]]) -> None:
    one = schedule(backupTemplate={"ttl": "30d"})
    have = stored(one)
    for leaf in leaves:
        part = have["spec"]
        for step in leaf[:-1]:
            part = part[step]
        part[leaf[-1]] = None
    want = desired_cron_job(one, IMAGE)
    assert differences(want, merged(have, correction(want, have))) == []


def test_additional_container_is_drift() -> None:
    one = schedule()
    have = stored(one)
    have["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"].append({"name": "evil"})
    assert differences(desired_cron_job(one, IMAGE), have) == ["spec.jobTemplate.spec.template.spec.containers"]


def test_new_operator_image_is_an_update_without_a_warning() -> None:
    one = schedule()
    action = decide(observation(one, stored(one, Image("operator:0"))), START)
    assert isinstance(action, CorrectCronJob)
    assert (action.event.reason, action.event.warning) == (Reason.CronJobUpdated, False)


def test_two_edits_of_one_field_are_two_events() -> None:
    one = schedule()
    texts = set()
    for generation in (2, 4):
        have = stored(one)
        have["spec"]["schedule"] = "* * * * *"
        have["metadata"]["generation"] = generation
        action = decide(observation(one, have), START)
        assert isinstance(action, CorrectCronJob)
        texts.add(action.event.message)
    assert len(texts) == 2


@pytest.mark.parametrize(
    "owners",
    [[], [{"uid": "s-0", "controller": True}], [{"uid": "s-1"}]],
    ids=["nobody's", "a namesake's that was before", "ours, but not as its controller"],
)
def test_cronjob_of_another_owner_is_never_changed(owners: list[dict[str, Any]]) -> None:
    one = schedule()
    have = stored(one)
    have["metadata"]["ownerReferences"] = owners
    assert ready(written_status(observation(one, have))) == (False, "NameConflict")


def test_missing_account_prevents_creation_but_not_correction() -> None:
    one = schedule()
    assert ready(written_status(observation(one, None, has_account=False))) == (False, "ServiceAccountMissing")
    assert isinstance(decide(observation(one, None, has_account=None), START), CreateCronJob)
    have = stored(one)
    assert ready(written_status(observation(one, have, has_account=False))) == (False, "ServiceAccountMissing")
    have["spec"]["suspend"] = True
    assert isinstance(decide(observation(one, have, has_account=False), START), CorrectCronJob)


def test_cronjob_changed_on_write_is_reported_without_a_loop() -> None:
    one = schedule()
    have = stored(one)
    have["spec"]["suspend"] = True
    status = written_status(observation(one, have, corrected=True))
    assert ready(status) == (False, "CronJobOverruled")


def test_authorized_condition_follows_the_permission() -> None:
    one = schedule()
    denied = written_status(
        observation(one, None, cron_job_error=CronJobError(Reason.NotAuthorized, "forbidden; kubectl …"))
    )
    assert conditions.condition_status(denied["conditions"], "Authorized") is False
    later = written_status(observation(replace(one, status=denied), stored(one)))
    assert conditions.condition_status(later["conditions"], "Authorized") is True
    assert ready(later) == (True, "Scheduled")


def test_next_schedule_time_is_absent_while_suspended() -> None:
    assert written_status(observation(schedule(), stored(schedule())))["nextScheduleTime"] == "2026-01-02T02:00:00Z"
    suspended = schedule(suspend=True)
    assert written_status(observation(suspended, stored(suspended)))["nextScheduleTime"] is None
    assert written_status(observation(schedule(), stored(schedule())))["lastScheduleTime"] == "2025-12-31T02:00:00Z"


def test_recreated_cronjob_keeps_the_last_schedule_time() -> None:
    one = replace(schedule(), status={"lastScheduleTime": "2025-12-30T02:00:00Z"})
    have = stored(one)
    del have["status"]
    assert written_status(observation(one, have))["lastScheduleTime"] == "2025-12-30T02:00:00Z"


def test_job_deadline_exceeds_the_longest_backup() -> None:
    for template in ({}, {"timeoutSeconds": 3600, "startingDeadlineSeconds": 7200}):
        one = schedule(backupTemplate=template)
        job = desired_cron_job(one, IMAGE)["spec"]["jobTemplate"]["spec"]
        own = template.get("timeoutSeconds", 600) + template.get("startingDeadlineSeconds", 300)
        assert own < max_backup_seconds(template) < job["activeDeadlineSeconds"]


def member(name: str, minute: int, phase: str = "Completed", **more: Any) -> BackupSummary:
    """A backup of the schedule."""
    when = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
    end = when + timedelta(seconds=5) if phase in ("Completed", "Failed") else None
    fields: dict[str, Any] = {
        "snapshot_time": when if phase == "Completed" else None,
        "completion_time": end,
        **more,
    }
    return summary(name, when, phase=phase, **fields)


def test_progress_counts_the_backups_of_the_set() -> None:
    result = progress(
        schedule(),
        [
            member("a", 1),
            member("b", 2, suspicious=True, pinned=True),
            member("c", 3, level="Stored"),
            member("d", 4, "Failed", reason="VolumeFull"),
            member("e", 5, "Running"),
            member("f", 6, ""),
        ],
    )
    assert result["active"] == ["e", "f"]
    assert result["lastBackup"] == "f"
    assert (result["lastSuccessfulBackup"], result["lastFailure"]) == ("b", "d: VolumeFull")
    assert result["backups"] == {"completed": 3, "failed": 1, "suspicious": 1, "pinned": 1, "total": 6}
    stored_is_enough = schedule(backupTemplate={"verification": {"level": "Stored"}})
    assert progress(stored_is_enough, [member("a", 1), member("c", 3, level="Stored")])["lastSuccessfulBackup"] == "c"
    assert progress(schedule(), [])["lastBackup"] is None


@pytest.mark.parametrize("suspend", [False, True])
def test_schedule_says_that_its_backup_waits_for_a_restore(suspend: bool) -> None:
    """It stays ready: the backup is made when the restore has ended. An ended backup says nothing about now."""
    one = schedule(suspend=suspend)
    backups = [
        member("first", 1, "Pending", reason="RestoreInProgress"),
        member("second", 2, "Pending", reason="RestoreInProgress"),
        member("other", 3, "Pending", reason="NoReadyPod"),
    ]
    status = written_status(observation(one, stored(one), backups=backups))
    assert ready(status) == (True, "RestoreInProgress")
    assert "second waits" in next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
    assert (status["nextScheduleTime"] is None) is suspend
    ended = [member("first", 1, "Failed", reason="RestoreInProgress"), member("second", 2)]
    status = written_status(observation(one, stored(one), backups=ended))
    assert ready(status) == (True, "Suspended" if suspend else "Scheduled")


def backup_of(group: str | None, uid: str = "u", **status: Any) -> Backup:
    spec = {"gatewayRef": {"name": "gw"}, **({} if group is None else {"group": group})}
    return Backup.parse({"metadata": {"namespace": "prod", "name": "b", "uid": uid}, "spec": spec, "status": status})


def scenarios(world: World) -> None:
    """Create the CronJob, then correct it, then create it again."""
    world.run()
    world.cron_jobs.objects[NAME]["spec"]["suspend"] = True
    world.run()
    del world.cron_jobs.objects[NAME]
    world.run()


def test_one_correct_cronjob_after_a_crash_at_any_call() -> None:
    without = Faults()
    scenarios(World(without))
    assert without.calls > 10
    for number in range(1, without.calls + 1):
        for faults in (Faults({number}), Faults(None, {number})):
            world = World(faults)
            scenarios(world)
            status = world.cluster.status(world.ref)
            assert ready(status) == (True, "Scheduled"), (number, faults.names)
            assert world.cron_jobs.created == 2, (number, faults.names)
            assert world.cron_jobs.objects[NAME]["spec"]["suspend"] is False


@pytest.mark.parametrize(
    ("error", "reason"), [(ForbiddenError("no"), "NotAuthorized"), (InvalidError("no"), "ScheduleRefused")]
)
def test_refusal_is_reported_once_and_cleared(error: Exception, reason: str) -> None:
    world = World()
    world.cron_jobs.refuses = error
    for _ in range(3):
        world.run()
    assert ready(world.cluster.status(world.ref)) == (False, reason)
    assert world.cluster.writes == 1
    assert [note.reason for note in world.cluster.events] == [reason]
    world.cron_jobs.refuses = None
    world.run()
    assert ready(world.cluster.status(world.ref)) == (True, "Scheduled")


def test_reconcile_without_changes_writes_nothing() -> None:
    world = World()
    world.run()
    writes, version = world.cluster.writes, world.cron_jobs.version
    world.run()
    assert (world.cluster.writes, world.cron_jobs.version) == (writes, version)


def test_backups_of_a_schedule_come_from_the_index_or_a_list() -> None:
    world = World()
    world.cluster.add("GatewayBackup", "a", {"group": "nightly"})
    world.cluster.add("GatewayBackup", "b", {"group": "nightly"})
    status = {"origin": "Schedule", "schedule": "nightly"}
    world.cluster.objects["GatewayBackup", "a"]["status"] = status
    world.run()
    assert world.cluster.status(world.ref)["backups"]["total"] == 1
    body = {"spec": {"gatewayRef": {"name": "gw"}, "group": "nightly"}, "status": status}
    backups = [Backup.parse({"metadata": {"namespace": NAMESPACE, "uid": uid}, **body}) for uid in ("one", "two")]
    world.parts = replace(world.parts, ports=replace(world.parts.ports, backup_index=BackupIndex(backups)))
    world.run()
    assert world.cluster.status(world.ref)["backups"]["total"] == 2


def test_a_ref_without_a_uid_finds_the_object() -> None:
    world = World()
    world.ref = Ref("GatewayBackupSchedule", NAMESPACE, "nightly", "")
    world.run()
    assert ready(world.cluster.status(world.ref)) == (True, "Scheduled")
