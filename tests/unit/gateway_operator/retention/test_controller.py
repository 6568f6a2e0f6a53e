"""Tests of retention passes over simulated ports: deletions, reports, and a crash at any call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.admission import InstalledPolicy
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.result import explain
from gateway_operator.domain.retention.sets import gather
from gateway_operator.domain.retention.volume import assume_present
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import AdminApiError, AdminTarget, ClusterError, Ports
from gateway_operator.reconcile.retention.controller import RetentionController
from tests.unit.gateway_operator.retention.world import DAY, ActBeforeCall, RetentionWorld
from tests.unit.gateway_operator.simulation.fake_admin_api import VOLUME, inspection_of
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults, log


def test_pass_deletes_and_explains_and_second_pass_writes_nothing() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 2, "keepDaily": 4})
    world.daily(6)
    world.add("broken", 2 * DAY, phase="Failed")
    controller = world.run_passes()
    assert world.names() == {"d0", "d1", "d2", "d3", "broken"}
    assert world.files() == {"d0", "d1", "d2", "d3"}
    assert world.status_of("d0")["keptBy"] == ["minKeep", "keepLast", "keepDaily 2026-01-01"]
    assert world.status_of("d2")["keptBy"] == ["keepDaily 2025-12-30"]
    assert world.condition() == ("True", "Applied")
    remembered = world.status_of("nightly", "GatewayBackupSchedule")["retention"]
    assert (remembered["kept"], remembered["inventory"], remembered["deletedTotal"]) == (4, 4, 2)
    messages = [note.message for note in world.cluster.events if note.reason == "DeletedByRetention"]
    assert messages == [f"GatewayBackup d{day} is deleted with its file: no rule keeps it." for day in (5, 5, 4, 4)]
    writes = world.cluster.version
    world.clock.advance(600)
    world.run_passes(controller=controller, passes=3)
    assert world.cluster.version == writes


def test_without_a_policy_no_backup_is_deleted_or_written() -> None:
    world = RetentionWorld()
    world.schedule()
    world.daily(5)
    world.add("mine", DAY, group="manual")
    before = [
        body["metadata"]["resourceVersion"]
        for (kind, _), body in world.cluster.objects.items()
        if kind == "GatewayBackup"
    ]
    world.run_passes()
    after = [
        body["metadata"]["resourceVersion"]
        for (kind, _), body in world.cluster.objects.items()
        if kind == "GatewayBackup"
    ]
    assert before == after
    assert world.condition() == ("False", "NoPolicy")


def test_ttl_works_without_a_schedule_and_keeps_the_last_verified() -> None:
    world = RetentionWorld()
    world.add("brief", 3 * DAY, group="manual", ttl="1d")
    world.add("last", 2 * DAY, group="manual", ttl="1d")
    world.add("young", timedelta(hours=1), group="other", ttl="1d")
    world.add("newest", timedelta(minutes=1), group="other", ttl="1d")
    world.run_passes(passes=2)
    assert world.names() == world.files() == {"last", "young", "newest"}
    assert world.status_of("young") | {"expiresAt": "2026-01-02T11:00:00Z"} == world.status_of("young")
    assert world.status_of("newest")["keptBy"] == ["minKeep"], "and when it may go is not known"
    assert [note.reason for note in world.cluster.events].count("DeletedByTTL") == 1


def test_five_safety_backups_are_kept() -> None:
    world = RetentionWorld()
    world.daily(7, group="safety")
    world.run_passes()
    assert world.names() == {"d0", "d1", "d2", "d3", "d4"}


def test_failed_backup_is_deleted_without_a_gateway_call() -> None:
    world = RetentionWorld()
    world.schedule(retention={"failed": {"keepLast": 0}})
    world.daily(2)
    world.add("broken", DAY, phase="Failed")
    world.cluster.present = False
    world.run_passes()
    assert world.names() == world.files() == {"d0", "d1"}


# safety checks


def test_incomplete_list_deletes_nothing_and_keeps_the_inventory() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 5}, objective={"maxAge": "26h"})
    world.daily(5)
    world.run_passes()
    remembered = world.status_of("nightly", "GatewayBackupSchedule")["retention"]
    world.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 1}), "GatewayBackupSchedule")
    world.cluster.listing_ends_early = True
    world.run_passes(passes=2)
    assert len(world.names()) == 5
    assert world.condition() == ("False", "ListingIncomplete")
    assert world.condition("ObjectiveMet") == ("True", "ObjectiveMet")
    assert world.status_of("nightly", "GatewayBackupSchedule")["retention"] == remembered
    world.cluster.listing_ends_early = False
    world.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 4}), "GatewayBackupSchedule")
    world.run_passes()
    assert len(world.names()) == 4


@pytest.mark.parametrize(
    ("step", "reason"),
    [(timedelta(days=-1), "ClockBehind"), (timedelta(days=-400), "ClockBehind"), (timedelta(days=365), "ClockDiffers")],
)
def test_clock_jump_deletes_nothing(step: timedelta, reason: str) -> None:
    world = RetentionWorld()
    world.schedule(retention={"maxAge": "30d"})
    world.daily(5, ttl="90d")
    world.run_passes()
    world.cluster.server_time = world.clock.now()
    world.clock.time += step
    world.run_passes(passes=2)
    assert len(world.names()) == 5
    assert world.condition() == ("False", reason)
    world.clock.time -= step
    world.run_passes()
    assert world.condition() == ("True", "Applied")


def test_approved_large_deletion_continues_after_a_crash() -> None:
    """From eight to one: after a crash in the middle, no second approval is needed."""
    for crash in range(1, 200):
        world = RetentionWorld()
        world.schedule(retention={"keepLast": 8})
        world.daily(8)
        world.run_passes()
        world.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 1}), "GatewayBackupSchedule")
        world.run_passes()
        world.approve()
        world.faults.calls, world.faults.after = 0, {crash}
        died = False
        try:
            world.run_passes(ports=world.ports)
        except CrashError:
            died = True
        world.run_passes(passes=2)
        assert world.names() == world.files() == {"d0"}, crash
        assert world.condition() == ("True", "Applied"), crash
        if not died:
            return
    raise AssertionError("the pass has more calls than were broken")


@pytest.mark.parametrize("installed", [None, InstalledPolicy(), InstalledPolicy("op-schedules", error="HTTP 503")])
def test_an_approval_counts_only_with_the_admission_policy(installed: InstalledPolicy | None) -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 8})
    world.daily(8)
    world.run_passes()
    world.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 1}), "GatewayBackupSchedule")
    world.run_passes()
    world.approve()
    valid, world.cluster.policy = world.cluster.policy, installed
    world.run_passes(passes=2)
    assert len(world.names()) == 8
    status = world.status_of("nightly", "GatewayBackupSchedule")
    assert world.condition() == ("False", "LargeDeletion")
    assert status["retention"]["approvals"] == []
    message = next(one["message"] for one in status["conditions"] if one["type"] == "RetentionApplied")
    assert "It cannot be approved" in message
    assert "kubectl gateway retention approve" not in message
    world.cluster.policy = valid
    world.run_passes(passes=2)
    assert world.names() == {"d0"}


def test_unknown_time_zone_deletes_nothing_and_is_reported() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1, "timeZone": "Mars/Olympus"})
    world.daily(5, ttl="1d")
    world.run_passes()
    assert len(world.names()) == 5
    assert world.condition() == ("False", "PolicyInvalid")


def test_dry_run_reports_the_number_of_deletions() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1, "dryRun": True})
    world.daily(5)
    world.run_passes(passes=2)
    assert len(world.names()) == 5
    assert world.condition() == ("False", "DryRun")
    assert world.status_of("nightly", "GatewayBackupSchedule")["retention"]["wouldDelete"] == 4


# changes by other clients during a pass


@pytest.mark.parametrize("call", ["read", "list_ours", "write_status"])
def test_backup_pinned_after_the_list_stays(call: str) -> None:
    """The pin comes after the list, at each call until the deletion."""
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(3)

    def pin() -> None:
        world.edit("d2", lambda body: body["spec"].update(pinned=True))

    ports = Ports(ActBeforeCall(world.cluster, call, pin), world.admin, world.clock)
    world.run_passes(ports=ports, passes=2)
    assert world.names() == world.files() == {"d0", "d2"}
    assert world.status_of("d2")["keptBy"] == ["pinned"]


def test_backup_used_by_a_new_restore_stays_until_its_end() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(3)

    def restore() -> None:
        world.cluster.add("GatewayRestore", "again", {"backupName": "d2"})

    ports = Ports(ActBeforeCall(world.cluster, "read", restore), world.admin, world.clock)
    world.run_passes(ports=ports, passes=2)
    assert world.names() == {"d0", "d2"}
    assert world.status_of("d2")["keptBy"] == ["restore again"]
    world.edit("again", lambda body: body.update(status={"phase": "Completed"}), "GatewayRestore")
    world.run_passes()
    assert world.names() == {"d0"}


def test_nothing_is_deleted_while_a_restore_is_unresolved() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(3)
    world.cluster.add("GatewayRestore", "back", {"before": "2025-12-31T00:00:00Z"})
    world.run_passes()
    assert len(world.names()) == 3
    assert world.condition() == ("False", "RestoreChoosing")
    status = {"phase": "Restoring", "source": {"backupName": "d1"}}
    world.edit("back", lambda body: body.update(status=status), "GatewayRestore")
    world.run_passes()
    assert world.names() == {"d0", "d1"}


def test_factory_reset_holds_no_deletion() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(3)
    world.cluster.add("GatewayRestore", "reset", {"factoryReset": {"confirm": True}})
    world.run_passes()
    assert world.names() == {"d0"}


def test_new_backup_with_a_reused_name_stays() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(2)

    def recreate() -> None:
        del world.cluster.objects["GatewayBackup", "d1"]
        world.cluster.objects["GatewayBackup", "filler"] = {"metadata": {}}
        world.add("d1", timedelta(0))
        del world.cluster.objects["GatewayBackup", "filler"]

    ports = Ports(ActBeforeCall(world.cluster, "read", recreate), world.admin, world.clock)
    world.run_passes(ports=ports)
    assert world.names() == {"d0", "d1"}


def test_two_operators_delete_once() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 4})
    world.daily(6)

    async def both() -> None:
        one, other = (
            RetentionController(Ports(Slow(world.cluster), world.admin, world.clock), [], log) for _ in range(2)
        )
        for _ in range(3):
            await asyncio.gather(one.run_once(), other.run_once())
            await world.finish()

    asyncio.run(both())
    assert world.names() == world.files() == {"d0", "d1", "d2", "d3"}
    assert world.condition() == ("True", "Applied")


class Slow:
    """A port that yields to the event loop before each call."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            await asyncio.sleep(0)
            result = await getattr(self._port, name)(*arguments)
            await asyncio.sleep(0)
            return result

        return call


def _away(world: RetentionWorld) -> Callable[[], None]:
    """Make the gateway unreachable until the returned function is called."""
    answer = world.admin.health

    async def away(target: AdminTarget) -> SystemHealthData:
        raise AdminApiError("Unreachable", "no answer", retryable=True)

    setattr(world.admin, "health", away)  # noqa: B010
    return lambda: setattr(world.admin, "health", answer)


def test_no_deletion_is_committed_without_the_gateway() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 2, "failed": {"keepLast": 0}})
    world.daily(4)
    world.add("broken", DAY, phase="Failed")
    back = _away(world)
    controller = world.run_passes(passes=3)
    assert world.names() == world.files() == {"d0", "d1", "d2", "d3"}
    assert {world.status_of(name)["phase"] for name in world.names()} == {"Completed"}
    assert world.condition() == ("False", "DeletionRefused")
    remembered = world.status_of("nightly", "GatewayBackupSchedule")["retention"]
    assert remembered["wouldDelete"] == 2
    assert "inventory" not in remembered, "a loss of half of the four is noticed all the same"
    back()
    world.run_passes(controller=controller)
    assert world.names() == world.files() == {"d0", "d1"}
    assert world.condition() == ("True", "Applied")


def test_without_a_schedule_one_event_reports_a_blocked_deletion() -> None:
    world = RetentionWorld()
    world.add("brief", 3 * DAY, group="manual", ttl="1d")
    world.add("last", 2 * DAY, group="manual")
    world.cluster.present = False
    world.run_passes(controller=world.run_passes(), passes=3)
    assert world.names() == {"brief", "last"}
    assert [note.reason for note in world.cluster.events] == ["ListingIncomplete"]


def test_deleted_gateway_keeps_its_backups() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(3)
    world.cluster.present = False
    world.run_passes()
    assert world.names() == world.files() == {"d0", "d1", "d2"}


def _committed(world: RetentionWorld, name: str, reason: str = "Retention") -> None:
    """Set the status as a pass leaves it that crashed after the commit."""
    status = {"phase": "Deleting", "deletion": {"reason": reason, "time": timestamps.text(world.clock.now())}}
    world.edit(name, lambda body: body["status"].update(status))


def test_committed_deletion_is_always_completed() -> None:
    world = RetentionWorld()
    world.schedule()
    world.daily(3)
    world.add("brief", DAY, group="manual", ttl="1d")
    _committed(world, "d1")
    _committed(world, "brief", "TTL")
    world.edit("d1", lambda body: body["spec"].update(pinned=True))
    world.run_passes()
    assert world.names() == world.files() == {"d0", "d2"}
    assert [note.reason for note in world.cluster.events].count("FileDeleted") == 2


def test_committed_deletion_keeps_the_file_after_24_hours_without_gateway() -> None:
    world = RetentionWorld()
    world.schedule()
    world.daily(2)
    _committed(world, "d1")
    back = _away(world)
    world.run_passes(passes=2)
    assert world.names() == world.files() == {"d0", "d1"}
    assert world.condition() == ("False", "DeletionRefused")
    assert world.status_of("d1")["failure"]["reason"] == "Unreachable"
    world.clock.advance(24 * 3600)
    world.run_passes()
    assert world.names() == {"d0"}
    assert world.files() == {"d0", "d1"}
    assert "FileKept" in [note.reason for note in world.cluster.events]
    back()


def test_person_who_deletes_a_committed_backup_triggers_nothing_more() -> None:
    """A finalizer of another controller holds the object: the pass deletes neither the object nor its file."""
    world = RetentionWorld()
    world.schedule()
    world.daily(2)
    _committed(world, "d1")
    lost = {"deletionTimestamp": timestamps.text(world.clock.now()), "finalizers": ["example.org/mine"]}
    world.edit("d1", lambda body: body["metadata"].update(lost))
    asyncio.run(RetentionController(world.plain, [], log).run_once())
    assert world.names() == world.files() == {"d0", "d1"}


def test_deletion_denied_by_kubernetes_is_completed_later() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(3)
    allowed = world.cluster.delete_by_uid

    async def refuse(ref: Ref) -> None:
        raise ClusterError("no")

    setattr(world.cluster, "delete_by_uid", refuse)  # noqa: B010
    world.run_passes(passes=2)
    assert len(world.names()) == 3
    assert world.files() == {"d0"}
    assert world.condition() == ("False", "DeletionRefused")
    setattr(world.cluster, "delete_by_uid", allowed)  # noqa: B010
    world.run_passes()
    assert world.names() == {"d0"}
    assert world.condition() == ("True", "Applied")


def test_unowned_files_are_counted_and_never_deleted() -> None:
    world = RetentionWorld()
    world.schedule()
    world.daily(2)
    world.add("mine", DAY, group="manual")
    lost = world.add("forgotten", DAY)
    del world.cluster.objects["GatewayBackup", "forgotten"]
    stored = world.admin.backups[world.admin.backup_id(VOLUME, lost.uid)][0]
    world.admin.foreign["by-hand.json"] = inspection_of(stored, path="by-hand.json")
    controller = world.run_passes()
    assert world.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 2
    world.admin.foreign.clear()
    world.run_passes(controller=controller)
    assert world.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 2, "not at every pass"
    world.clock.advance(601)
    world.cluster.present = False
    world.run_passes(controller=controller)
    assert world.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 2, (
        "a gateway that is away says nothing"
    )
    world.cluster.present = True
    world.clock.advance(601)
    world.run_passes(controller=controller)
    assert world.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 1
    assert len(world.files()) == 4


def test_approved_large_deletion_takes_several_passes() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 250})
    world.daily(250)
    world.run_passes()
    world.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 2}), "GatewayBackupSchedule")
    world.run_passes()
    assert world.condition() == ("False", "LargeDeletion")
    world.approve()
    for left in (150, 50, 2):
        world.run_passes()  # each with a new controller, as after a restart
        assert len(world.names()) == len(world.files()) == left
        assert world.condition() == ("True", "Applied")
        remembered = world.status_of("nightly", "GatewayBackupSchedule")["retention"]
        assert (remembered["inventory"], remembered["wouldDelete"]) == (2, left - 2)
    assert remembered["deletedTotal"] == 248


def test_adopted_backup_from_the_future_causes_no_hold() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1, "includeAdopted": True})
    world.daily(3)
    world.add("alien", timedelta(days=-400), origin="Adopted", schedule="nightly")
    world.run_passes()
    assert world.names() == {"d0", "alien"}


def test_explain_equals_what_a_pass_does() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 2})
    world.daily(4)
    world.add("mine", DAY, group="manual")

    def listed(kind: str) -> list[dict[str, Any]]:
        return [body for (one, _), body in world.cluster.objects.items() if one == kind]

    backups = assume_present(BackupSummary.from_backup(Backup.parse(body)) for body in listed("GatewayBackup"))
    schedules = map(GatewayBackupSchedule.parse, listed("GatewayBackupSchedule"))
    sets = gather(backups, schedules, [])
    rows = [row for one in sets for row in explain(plan(one.rows, one.policy, world.clock.now()))]  # type: ignore[arg-type]
    world.run_passes()
    assert {row.name for row in rows if row.decision == "keep"} == world.names()


# objectives


def test_objective_is_missed_met_and_removed() -> None:
    world = RetentionWorld()
    world.schedule(objective={"maxAge": "26h"})
    world.run_passes()
    assert world.condition("ObjectiveMet") == ("True", "ObjectiveMet")
    world.clock.advance(27 * 3600)  # nothing ran: suspended, deleted, or the operator was down
    world.run_passes()
    assert world.condition("ObjectiveMet") == ("False", "ObjectiveMissed")
    assert [note.reason for note in world.cluster.events if note.warning] == ["ObjectiveMissed"]
    world.add("now", timedelta(0))
    world.run_passes(passes=2)
    assert world.condition("ObjectiveMet") == ("True", "ObjectiveMet")
    assert [note.reason for note in world.cluster.events] == ["ObjectiveMissed", "ObjectiveMet"]
    world.edit("nightly", lambda body: body["spec"].pop("objective"), "GatewayBackupSchedule")
    world.run_passes()
    with pytest.raises(StopIteration):
        world.condition("ObjectiveMet")


def test_crash_at_any_call_ends_like_an_undisturbed_pass() -> None:
    """A crash before and after every call: no protected backup is deleted, and the next passes complete the work."""
    calls = _calls_of_a_pass()
    assert calls > 25
    for number in range(1, calls + 1):
        for before in (True, False):
            faults = Faults({number}, None) if before else Faults(None, {number})
            world = _many(faults)
            with pytest.raises(CrashError):
                world.run_passes(ports=world.ports)
            assert {"d0", "d1", "d2", "pinned"} <= world.files()
            world.run_passes(passes=3)
            assert world.names() == {"d0", "d1", "d2", "pinned"}, (number, before)
            assert world.files() == {"d0", "d1", "d2", "pinned"}, (number, before)
            assert world.condition() == ("True", "Applied")


def _many(faults: Faults) -> RetentionWorld:
    world = RetentionWorld(faults)
    world.schedule(retention={"keepLast": 3, "failed": {"keepLast": 0}}, objective={"maxAge": "2d"})
    world.daily(4)
    world.add("pinned", 9 * DAY, pinned=True)
    world.add("brief", 3 * DAY, ttl="1d")
    world.add("broken", DAY, phase="Failed")
    return world


def _calls_of_a_pass() -> int:
    world = _many(Faults())
    world.run_passes(ports=world.ports)
    return world.faults.calls
