"""Passes of the sweeper over a small world in memory: what it deletes, what it says, and that it may die anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import ACCEPT_INVENTORY, FINALIZER, RESTORE_UID
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.result import explain
from gateway_operator.domain.retention.sets import gather
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import AdminApiError, AdminTarget, ClusterError, Ports
from gateway_operator.reconcile.deletion import finalize_backup
from gateway_operator.reconcile.retention.sweep import RetentionController
from tests.unit.gateway_operator.simulation.fake_admin_api import VOLUME, backup_record, inspection_of
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults, World, log

DAY = timedelta(days=1)


class Place(World):
    """A world with finished backups, and passes over it."""

    def __init__(self, faults: Faults | None = None) -> None:
        super().__init__(faults)
        self.begun = self.clock.now()

    def add(self, name: str, age: timedelta, *, group: str = "nightly", phase: str = "Completed", **spec: Any) -> Ref:
        """A finished backup, so old, and its file."""
        meta = {key: spec.pop(key) for key in ("labels", "annotations") if key in spec}
        ref = self.cluster.add("GatewayBackup", name, {"group": group, **spec}, **meta)
        made, backup_id = self.clock.now() - age, self.admin.backup_id(VOLUME, ref.uid)
        status: dict[str, Any] = {
            "phase": phase,
            "completionTime": timestamps.text(made),
            "startTime": timestamps.text(made),
        }
        if phase == "Completed":
            status |= {
                "snapshotTime": timestamps.precise(made), "backupID": backup_id, "volumeID": VOLUME,
                "path": f"{group}/{name}", "verification": {"level": "Verified"},
            }  # fmt: skip
            stored = backup_record(backup_id=backup_id, path=f"{group}/{name}", created=made)
            self.admin.backups[backup_id] = (stored, "old")
        self.cluster.objects["GatewayBackup", name]["status"] = status
        return ref

    def schedule(self, name: str = "nightly", **spec: Any) -> None:
        """A schedule."""
        self.cluster.add("GatewayBackupSchedule", name, {"schedule": "@daily", **spec})

    def daily(self, number: int, **spec: Any) -> None:
        """One backup a day; ``d0`` is an hour old."""
        for day in range(number):
            self.add(f"d{day}", timedelta(hours=1) + day * DAY, **spec)

    def sweep(
        self, *, sweeper: RetentionController | None = None, passes: int = 1, ports: Ports | None = None
    ) -> RetentionController:
        """Passes, each followed by what the operator does about what is being deleted."""
        sweeper = sweeper or RetentionController(ports or self.plain, [], log)

        async def run() -> None:
            for _ in range(passes):
                await sweeper.run_once()
                await self.finish()

        asyncio.run(run())
        return sweeper

    async def finish(self) -> None:
        """The delete handler, and kopf taking the finalizer off."""
        for (kind, name), body in list(self.cluster.objects.items()):
            if kind == "GatewayBackup" and body["metadata"].get("deletionTimestamp"):
                assert body["metadata"]["finalizers"] == [FINALIZER]
                assert body["spec"]["deleteFile"]
                if await finalize_backup(self.plain, Ref(kind, NAMESPACE, name, body["metadata"]["uid"]), log) is None:
                    del self.cluster.objects[kind, name]

    def names(self) -> set[str]:
        """The backups that there are."""
        return {name for kind, name in self.cluster.objects if kind == "GatewayBackup"}

    def files(self) -> set[str]:
        """The files that there are."""
        return {stored.path.rpartition("/")[2] for stored, _ in self.admin.backups.values()}

    def status_of(self, name: str, kind: str = "GatewayBackup") -> dict[str, Any]:
        """A status."""
        return dict(self.cluster.objects[kind, name].get("status") or {})

    def condition(self, kind: str = "RetentionApplied", name: str = "nightly") -> tuple[str, str]:
        """Status and reason of a condition of a schedule."""
        found = self.status_of(name, "GatewayBackupSchedule").get("conditions") or []
        return next((one["status"], one["reason"]) for one in found if one["type"] == kind)

    def edit(self, name: str, change: Callable[[dict[str, Any]], None], kind: str = "GatewayBackup") -> None:
        """Somebody changes an object."""
        body = self.cluster.objects[kind, name]
        change(body)
        self.cluster.version += 1
        body["metadata"]["resourceVersion"] = str(self.cluster.version)


def test_a_pass_deletes_files_and_objects_says_why_the_others_stay_and_a_second_writes_nothing() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 2, "keepDaily": 3})
    place.daily(6)
    place.add("broken", 2 * DAY, phase="Failed")
    sweeper = place.sweep()
    assert place.names() == {"d0", "d1", "d2", "broken"}
    assert place.files() == {"d0", "d1", "d2"}
    assert place.status_of("d0")["keptBy"] == ["minKeep", "keepLast", "keepDaily 2026-01-01"]
    assert place.status_of("d2")["keptBy"] == ["keepDaily 2025-12-30"]
    assert place.condition() == ("True", "Applied")
    remembered = place.status_of("nightly", "GatewayBackupSchedule")["retention"]
    assert (remembered["kept"], remembered["inventory"], remembered["deletedTotal"]) == (3, 3, 3)
    told = [note.message for note in place.cluster.events if note.reason == "DeletedByRetention"]
    assert told == [f"GatewayBackup d{day} is deleted with its file: no rule keeps it." for day in (5, 5, 4, 4, 3, 3)]
    writes = place.cluster.version
    place.clock.advance(600)
    place.sweep(sweeper=sweeper, passes=3)
    assert place.cluster.version == writes


def test_without_a_policy_nothing_is_deleted_and_no_backup_is_written_to() -> None:
    place = Place()
    place.schedule()
    place.daily(5)
    place.daily(5, group="manual")
    before = [
        body["metadata"]["resourceVersion"]
        for (kind, _), body in place.cluster.objects.items()
        if kind == "GatewayBackup"
    ]
    place.sweep()
    after = [
        body["metadata"]["resourceVersion"]
        for (kind, _), body in place.cluster.objects.items()
        if kind == "GatewayBackup"
    ]
    assert before == after
    assert place.condition() == ("False", "NoPolicy")


def test_a_ttl_needs_no_schedule_and_leaves_the_last_verified() -> None:
    place = Place()
    place.add("brief", 3 * DAY, group="manual", ttl="1d")
    place.add("last", 2 * DAY, group="manual", ttl="1d")
    place.add("young", timedelta(hours=1), group="other", ttl="1d")
    place.add("newest", timedelta(0), group="other", ttl="1d")
    place.sweep(passes=2)
    assert place.names() == place.files() == {"last", "young", "newest"}
    assert place.status_of("young") | {"expiresAt": "2026-01-02T11:00:00Z"} == place.status_of("young")
    assert place.status_of("newest")["keptBy"] == ["minKeep"], "and when it may go is not known"
    assert [note.reason for note in place.cluster.events].count("DeletedByTTL") == 1


def test_a_set_without_a_schedule_goes_by_its_newest_policy_which_binds_only_its_like() -> None:
    place = Place()
    place.daily(3, group="byhand", retention={"keepLast": 2})
    place.add("other", 9 * DAY, group="byhand")
    place.sweep()
    assert place.names() == {"d0", "d1", "other"}


def test_safety_backups_of_restores_are_kept_five_times() -> None:
    place = Place()
    place.daily(7, group="safety", annotations={RESTORE_UID: "r"})
    place.add("mine", 99 * DAY, group="safety")
    place.sweep()
    assert place.names() == {"d0", "d1", "d2", "d3", "d4", "mine"}


def test_a_failed_one_goes_without_asking_the_gateway() -> None:
    place = Place()
    place.schedule(retention={"failed": {"keepLast": 0}})
    place.daily(2)
    place.add("broken", DAY, phase="Failed")
    place.cluster.present = False
    place.sweep()
    assert place.names() == place.files() == {"d0", "d1"}


# the brakes


def test_an_incomplete_list_deletes_nothing_and_forgets_nothing() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 5}, objective={"maxAge": "26h"})
    place.daily(5)
    place.sweep()
    remembered = place.status_of("nightly", "GatewayBackupSchedule")["retention"]
    place.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 1}), "GatewayBackupSchedule")
    place.cluster.listing_ends_early = True
    place.sweep(passes=2)
    assert len(place.names()) == 5
    assert place.condition() == ("False", "ListingIncomplete")
    assert place.condition("ObjectiveMet") == ("True", "ObjectiveMet")
    assert place.status_of("nightly", "GatewayBackupSchedule")["retention"] == remembered
    place.cluster.listing_ends_early = False
    place.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 4}), "GatewayBackupSchedule")
    place.sweep()
    assert len(place.names()) == 4


@pytest.mark.parametrize(
    ("step", "reason"),
    [(timedelta(days=-1), "ClockBehind"), (timedelta(days=-400), "ClockBehind"), (timedelta(days=365), "ClockDiffers")],
)
def test_a_clock_that_jumps_deletes_nothing(step: timedelta, reason: str) -> None:
    place = Place()
    place.schedule(retention={"maxAge": "30d"})
    place.daily(5, ttl="90d")
    place.sweep()
    place.cluster.server_time = place.clock.now()
    place.clock.time += step
    place.sweep(passes=2)
    assert len(place.names()) == 5
    assert place.condition() == ("False", reason)
    place.clock.time -= step
    place.sweep()
    assert place.condition() == ("True", "Applied")


def test_half_of_them_gone_stops_retention_until_a_person_says_so_over_a_restart() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 8})
    place.daily(8)
    place.sweep()
    for day in range(2, 6):
        del place.cluster.objects["GatewayBackup", f"d{day}"]
    place.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 1}), "GatewayBackupSchedule")
    place.sweep(passes=2)  # each with a sweeper that knows nothing
    assert len(place.names()) == 4
    assert place.condition() == ("False", "InventoryShrank")
    assert place.status_of("nightly", "GatewayBackupSchedule")["retention"]["wouldDelete"] == 3
    place.edit(
        "nightly", lambda body: body["metadata"].update(annotations={ACCEPT_INVENTORY: "4/8"}), "GatewayBackupSchedule"
    )
    place.sweep()
    assert place.names() == {"d0"}
    assert place.condition() == ("True", "Applied")


def test_its_own_deletions_are_no_loss_wherever_it_dies() -> None:
    """From eight to one: an operator that dies in the middle and then stopped for ever would be of no use."""
    for crash in range(1, 200):
        place = Place()
        place.schedule(retention={"keepLast": 8})
        place.daily(8)
        place.sweep()
        place.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 1}), "GatewayBackupSchedule")
        place.faults.calls, place.faults.after = 0, {crash}
        died = False
        try:
            place.sweep(ports=place.ports)
        except CrashError:
            died = True
        place.sweep(passes=2)
        assert place.names() == place.files() == {"d0"}, crash
        assert place.condition() == ("True", "Applied"), crash
        if not died:
            return
    raise AssertionError("the pass has more calls than were broken")


def test_an_unknown_time_zone_deletes_nothing_and_is_said() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 1, "timeZone": "Mars/Olympus"})
    place.daily(5, ttl="1d")
    place.sweep()
    assert len(place.names()) == 5
    assert place.condition() == ("False", "PolicyInvalid")


def test_a_dry_run_says_how_many() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 1, "dryRun": True})
    place.daily(5)
    place.sweep(passes=2)
    assert len(place.names()) == 5
    assert place.condition() == ("False", "DryRun")
    assert place.status_of("nightly", "GatewayBackupSchedule")["retention"]["wouldDelete"] == 4


# what others do meanwhile


class Meanwhile:
    """A port of which one call is preceded by something that another does."""

    def __init__(self, port: Any, name: str, act: Callable[[], Any], nth: int = 1) -> None:
        self._port, self._name, self._act, self._left = port, name, act, nth

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name != self._name:
            return method

        async def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self._act()
            return await method(*arguments)

        return call


@pytest.mark.parametrize("call", ["read", "list_ours", "write_status"])
def test_one_that_is_pinned_after_the_list_stays(call: str) -> None:
    """A stale list, and every moment until the deletion."""
    place = Place()
    place.schedule(retention={"keepLast": 1})
    place.daily(3)

    def pin() -> None:
        place.edit("d2", lambda body: body["spec"].update(pinned=True))

    ports = Ports(Meanwhile(place.cluster, call, pin), place.admin, place.clock)
    place.sweep(ports=ports, passes=2)
    assert place.names() == place.files() == {"d0", "d2"}
    assert place.status_of("d2")["keptBy"] == ["pinned"]


def test_one_that_a_restore_came_to_need_stays_until_it_ends() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 1})
    place.daily(3)

    def restore() -> None:
        place.cluster.add("GatewayRestore", "again", {"backupName": "d2"})

    ports = Ports(Meanwhile(place.cluster, "read", restore), place.admin, place.clock)
    place.sweep(ports=ports, passes=2)
    assert place.names() == {"d0", "d2"}
    assert place.status_of("d2")["keptBy"] == ["restore again"]
    place.edit("again", lambda body: body.update(status={"phase": "Completed"}), "GatewayRestore")
    place.sweep()
    assert place.names() == {"d0"}


def test_while_a_restore_chooses_nothing_is_deleted() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 1})
    place.daily(3)
    place.cluster.add("GatewayRestore", "back", {"before": "2025-12-31T00:00:00Z"})
    place.sweep()
    assert len(place.names()) == 3
    assert place.condition() == ("False", "RestoreChoosing")
    status = {"phase": "Restoring", "source": {"backupName": "d1"}}
    place.edit("back", lambda body: body.update(status=status), "GatewayRestore")
    place.sweep()
    assert place.names() == {"d0", "d1"}


def test_a_namesake_of_one_that_was_deleted_stays() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 1})
    place.daily(2)

    def again() -> None:
        del place.cluster.objects["GatewayBackup", "d1"]
        place.cluster.objects["GatewayBackup", "filler"] = {"metadata": {}}
        place.add("d1", timedelta(0))
        del place.cluster.objects["GatewayBackup", "filler"]

    ports = Ports(Meanwhile(place.cluster, "read", again), place.admin, place.clock)
    place.sweep(ports=ports)
    assert place.names() == {"d0", "d1"}


def test_two_operators_do_it_once() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 2})
    place.daily(6)

    async def both() -> None:
        one, other = (
            RetentionController(Ports(Slow(place.cluster), place.admin, place.clock), [], log) for _ in range(2)
        )
        for _ in range(3):
            await asyncio.gather(one.run_once(), other.run_once())
            await place.finish()

    asyncio.run(both())
    assert place.names() == place.files() == {"d0", "d1"}
    assert place.condition() == ("True", "Applied")


class Slow:
    """A port whose every call lets others go first."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            await asyncio.sleep(0)
            result = await getattr(self._port, name)(*arguments)
            await asyncio.sleep(0)
            return result

        return call


def _away(place: Place) -> Callable[[], None]:
    """The gateway does not answer until the result is called."""
    answer = place.admin.health

    async def away(target: AdminTarget) -> SystemHealthData:
        raise AdminApiError("Unreachable", "no answer", retryable=True)

    setattr(place.admin, "health", away)  # noqa: B010
    return lambda: setattr(place.admin, "health", answer)


def test_nothing_is_committed_while_the_gateway_cannot_be_reached() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 2, "failed": {"keepLast": 0}})
    place.daily(4)
    place.add("broken", DAY, phase="Failed")
    back = _away(place)
    sweeper = place.sweep(passes=3)
    assert place.names() == place.files() == {"d0", "d1", "d2", "d3"}
    assert {place.status_of(name)["phase"] for name in place.names()} == {"Completed"}
    assert place.condition() == ("False", "DeletionRefused")
    remembered = place.status_of("nightly", "GatewayBackupSchedule")["retention"]
    assert remembered["wouldDelete"] == 2
    assert "inventory" not in remembered, "a loss of half of the four is noticed all the same"
    back()
    place.sweep(sweeper=sweeper)
    assert place.names() == place.files() == {"d0", "d1"}
    assert place.condition() == ("True", "Applied")


def test_without_a_schedule_an_event_says_once_what_cannot_be_deleted() -> None:
    place = Place()
    place.add("brief", 3 * DAY, group="manual", ttl="1d")
    place.add("last", 2 * DAY, group="manual")
    place.cluster.present = False
    place.sweep(sweeper=place.sweep(), passes=3)
    assert place.names() == {"brief", "last"}
    assert [note.reason for note in place.cluster.events] == ["DeletionRefused"]


def test_a_gateway_that_is_deleted_keeps_its_records() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 1})
    place.daily(3)
    place.cluster.present = False
    place.sweep()
    assert place.names() == place.files() == {"d0", "d1", "d2"}


def _committed(place: Place, name: str, reason: str = "Retention") -> None:
    """A pass has committed its deletion and died."""
    status = {"phase": "Deleting", "deletion": {"reason": reason, "time": timestamps.text(place.clock.now())}}
    place.edit(name, lambda body: body["status"].update(status))


def test_a_committed_deletion_is_finished_whatever_changed_since() -> None:
    place = Place()
    place.schedule()
    place.daily(3)
    place.add("brief", DAY, group="manual", ttl="1d")
    _committed(place, "d1")
    _committed(place, "brief", "TTL")
    place.edit("d1", lambda body: body["spec"].update(pinned=True))
    place.sweep()
    assert place.names() == place.files() == {"d0", "d2"}
    assert [note.reason for note in place.cluster.events].count("FileDeleted") == 2


def test_a_committed_deletion_waits_for_its_gateway_for_24_hours_and_then_keeps_the_file() -> None:
    place = Place()
    place.schedule()
    place.daily(2)
    _committed(place, "d1")
    back = _away(place)
    place.sweep(passes=2)
    assert place.names() == place.files() == {"d0", "d1"}
    assert place.condition() == ("False", "DeletionRefused")
    assert place.status_of("d1")["failure"]["reason"] == "Unreachable"
    place.clock.advance(24 * 3600)
    place.sweep()
    assert place.names() == {"d0"}
    assert place.files() == {"d0", "d1"}
    assert "FileKept" in [note.reason for note in place.cluster.events]
    back()


def test_a_person_who_deletes_a_committed_one_meanwhile_triggers_nothing_more() -> None:
    """Another's finalizer holds the object: the pass leaves it, and its file, alone."""
    place = Place()
    place.schedule()
    place.daily(2)
    _committed(place, "d1")
    gone = {"deletionTimestamp": timestamps.text(place.clock.now()), "finalizers": ["example.org/mine"]}
    place.edit("d1", lambda body: body["metadata"].update(gone))
    asyncio.run(RetentionController(place.plain, [], log).run_once())
    assert place.names() == place.files() == {"d0", "d1"}


def test_a_deletion_that_kubernetes_refuses_is_committed_and_finished_later() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 1})
    place.daily(3)
    allowed = place.cluster.delete_by_uid

    async def refuse(ref: Ref) -> None:
        raise ClusterError("no")

    setattr(place.cluster, "delete_by_uid", refuse)  # noqa: B010
    place.sweep(passes=2)
    assert len(place.names()) == 3
    assert place.files() == {"d0"}
    assert place.condition() == ("False", "DeletionRefused")
    setattr(place.cluster, "delete_by_uid", allowed)  # noqa: B010
    place.sweep()
    assert place.names() == {"d0"}
    assert place.condition() == ("True", "Applied")


def test_files_that_no_backup_names_are_counted_now_and_then_and_left_alone() -> None:
    place = Place()
    place.schedule()
    place.daily(2)
    place.add("mine", DAY, group="manual")
    gone = place.add("forgotten", DAY)
    del place.cluster.objects["GatewayBackup", "forgotten"]
    stored = place.admin.backups[place.admin.backup_id(VOLUME, gone.uid)][0]
    place.admin.foreign["by-hand.json"] = inspection_of(stored, path="by-hand.json")
    sweeper = place.sweep()
    assert place.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 2
    place.admin.foreign.clear()
    place.sweep(sweeper=sweeper)
    assert place.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 2, "not at every pass"
    place.clock.advance(601)
    place.cluster.present = False
    place.sweep(sweeper=sweeper)
    assert place.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 2, (
        "a gateway that is away says nothing"
    )
    place.cluster.present = True
    place.clock.advance(601)
    place.sweep(sweeper=sweeper)
    assert place.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 1
    assert len(place.files()) == 4


def test_a_great_clearing_takes_several_passes_and_is_no_loss_in_between() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 250})
    place.daily(250)
    place.sweep()
    place.edit("nightly", lambda body: body["spec"].update(retention={"keepLast": 2}), "GatewayBackupSchedule")
    for left in (150, 50, 2):
        place.sweep()  # each with a sweeper that knows nothing
        assert len(place.names()) == len(place.files()) == left
        assert place.condition() == ("True", "Applied")
        remembered = place.status_of("nightly", "GatewayBackupSchedule")["retention"]
        assert (remembered["inventory"], remembered["wouldDelete"]) == (2, left - 2)
    assert remembered["deletedTotal"] == 248


def test_a_set_of_which_nothing_is_left_begins_anew() -> None:
    place = Place()
    place.daily(8, group="byhand", retention={"keepLast": 1})
    sweeper = place.sweep()
    del place.cluster.objects["GatewayBackup", "d0"]
    place.sweep(sweeper=sweeper)
    place.daily(3, group="byhand", retention={"keepLast": 1})
    place.sweep(sweeper=sweeper)
    assert place.names() == {"d0"}


def test_an_adopted_one_from_the_future_holds_nothing_back() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 1})
    place.daily(3)
    place.add("alien", timedelta(days=-400), labels={"mcpgateway.dev/adopted": "true"})
    place.sweep()
    assert place.names() == {"d0", "alien"}


def test_what_is_explained_is_what_a_pass_does() -> None:
    place = Place()
    place.schedule(retention={"keepLast": 2})
    place.daily(4)
    place.add("mine", DAY, group="manual")

    def listed(kind: str) -> list[dict[str, Any]]:
        return [body for (one, _), body in place.cluster.objects.items() if one == kind]

    backups = [BackupSummary.from_backup(Backup.parse(body)) for body in listed("GatewayBackup")]
    schedules = map(GatewayBackupSchedule.parse, listed("GatewayBackupSchedule"))
    sets = gather(backups, schedules, [])
    rows = [row for one in sets for row in explain(plan(one.rows, one.policy, place.clock.now()))]  # type: ignore[arg-type]
    place.sweep()
    assert {row.name for row in rows if row.verdict == "keep"} == place.names()


# objectives


def test_an_objective_is_missed_met_again_and_taken_off() -> None:
    place = Place()
    place.schedule(objective={"maxAge": "26h"})
    place.sweep()
    assert place.condition("ObjectiveMet") == ("True", "ObjectiveMet")
    place.clock.advance(27 * 3600)  # nothing ran: suspended, deleted, or the operator was down
    place.sweep()
    assert place.condition("ObjectiveMet") == ("False", "ObjectiveMissed")
    assert [note.reason for note in place.cluster.events if note.warning] == ["ObjectiveMissed"]
    place.add("now", timedelta(0))
    place.sweep(passes=2)
    assert place.condition("ObjectiveMet") == ("True", "ObjectiveMet")
    assert [note.reason for note in place.cluster.events] == ["ObjectiveMissed", "ObjectiveMet"]
    place.edit("nightly", lambda body: body["spec"].pop("objective"), "GatewayBackupSchedule")
    place.sweep()
    with pytest.raises(StopIteration):
        place.condition("ObjectiveMet")


def test_every_crash_of_a_pass_ends_in_what_a_whole_pass_leaves() -> None:
    """Before and after every call: nothing that should stay is gone, and the next passes finish the work."""
    calls = _calls_of_a_pass()
    assert calls > 25
    for number in range(1, calls + 1):
        for before in (True, False):
            faults = Faults({number}, None) if before else Faults(None, {number})
            place = _many(faults)
            with pytest.raises(CrashError):
                place.sweep(ports=place.ports)
            assert {"d0", "d1", "pinned"} <= place.files()
            place.sweep(passes=3)
            assert place.names() == {"d0", "d1", "pinned"}, (number, before)
            assert place.files() == {"d0", "d1", "pinned"}, (number, before)
            assert place.condition() == ("True", "Applied")


def _many(faults: Faults) -> Place:
    place = Place(faults)
    place.schedule(retention={"keepLast": 2, "failed": {"keepLast": 0}}, objective={"maxAge": "2d"})
    place.daily(4)
    place.add("pinned", 9 * DAY, pinned=True)
    place.add("brief", 3 * DAY, ttl="1d")
    place.add("broken", DAY, phase="Failed")
    return place


def _calls_of_a_pass() -> int:
    place = _many(Faults())
    place.sweep(ports=place.ports)
    return place.faults.calls
