"""Tests of the comparison with the volume: only backups whose file is there count."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from gateway_api.contract import BackupEntry, BackupPage
from gateway_operator.domain.model.admin_api import TaggedPage
from gateway_operator.ports import AdminApiError, Ports
from gateway_operator.reconcile.retention import file_presence
from gateway_operator.reconcile.retention.controller import RetentionController
from tests.unit.gateway_operator.retention.world import DAY, RetentionWorld
from tests.unit.gateway_operator.simulation.fake_admin_api import VOLUME, inspection_of
from tests.unit.gateway_operator.simulation.faults import log

MINUTE = timedelta(minutes=1)


def record_of(world: RetentionWorld, name: str) -> Any:
    """The admin API's record of a backup."""
    return next(stored for stored, _ in world.admin.backups.values() if stored.path.endswith(f"/{name}"))


def lose_files(world: RetentionWorld, *names: str) -> dict[str, Any]:
    """Remove files as an older snapshot of the volume does. Returns them, so that a test can bring them back."""
    lost = {key: one for key, one in world.admin.backups.items() if one[0].path.rpartition("/")[2] in names}
    for key in lost:
        del world.admin.backups[key]
    return lost


def file_present(world: RetentionWorld, name: str) -> str | None:
    """The status of the condition FilePresent; None without it."""
    present = world.status_of(name).get("conditions") or []
    return next((str(one["status"]) for one in present if one["type"] == "FilePresent"), None)


def test_lost_files_push_out_no_file_and_miss_the_objective() -> None:
    """An older snapshot of the volume is mounted, and one more backup is made."""
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 4}, objective={"maxAge": "26h"})
    world.daily(4)
    controller = world.run_passes()
    lost = lose_files(world, "d0", "d1", "d2")
    world.clock.advance(DAY.total_seconds())
    world.run_passes(controller=controller)
    assert world.condition("ObjectiveMet") == ("False", "ObjectiveMissed")
    world.add("new", MINUTE)
    world.run_passes(controller=controller, passes=3)
    assert world.files() == {"d3", "new"}
    assert world.condition() == ("False", "InventoryShrank")
    assert [file_present(world, name) for name in ("d0", "d2", "d3", "new")] == ["False", "False", None, None]
    assert [one.reason for one in world.cluster.events].count("FileMissing") == 3
    world.admin.backups.update(lost)
    world.clock.advance(601)
    world.run_passes(controller=controller, passes=2)
    assert file_present(world, "d0") is None
    assert world.files() == {"d0", "d1", "d2", "new"}, "and retention goes on: d3 is the fifth"
    assert world.condition() == ("True", "Applied")


def test_approval_goes_on_without_the_lost_files() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 2, "failed": {"maxAge": "7d"}})
    world.daily(2)
    for number in range(3):
        world.add(f"x{number}", (9 + number) * DAY)
    lose_files(world, "d0", "d1", "x0")
    controller = world.run_passes()
    assert world.condition() == ("False", "InventoryShrank")
    world.approve()
    world.add("new", MINUTE)
    world.clock.advance(1)
    world.run_passes(controller=controller)
    assert world.files() == {"new", "x1"}
    world.clock.advance(8 * DAY.total_seconds())
    world.run_passes(controller=controller)
    assert world.names() == {"new", "x1"}, "the records go after failed.maxAge"


def test_volume_with_lost_files_of_deleted_objects_holds() -> None:
    """Objects are deleted and their files stay: the files remember the set, also for a new schedule."""
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 8})
    world.daily(8)
    controller = world.run_passes()
    for number in range(2, 8):
        del world.cluster.objects["GatewayBackup", f"d{number}"]
    del world.cluster.objects["GatewayBackupSchedule", "nightly"]
    world.schedule(retention={"keepLast": 1})
    world.clock.advance(120)
    world.run_passes(controller=controller, passes=2)
    assert len(world.files()) == 8
    assert world.condition() == ("False", "InventoryShrank")
    assert world.status_of("nightly", "GatewayBackupSchedule")["unownedFiles"] == 6


@pytest.mark.parametrize("change", ["created again", "policy by mistake", "new schedule"])
def test_large_deletion_waits_for_approval(change: str) -> None:
    world = RetentionWorld()
    if change != "new schedule":
        world.schedule(retention={"keepLast": 30})
    world.daily(8)
    controller = world.run_passes()
    world.cluster.objects.pop(("GatewayBackupSchedule", "nightly"), None) if change == "created again" else None
    if change == "policy by mistake":
        spec = {"retention": {"keepLast": 3}}
        world.edit("nightly", lambda body: body["spec"].update(spec), "GatewayBackupSchedule")
    else:
        world.schedule(retention={"keepLast": 3})
    world.run_passes(controller=controller, passes=3)
    assert len(world.files()) == 8
    assert world.condition() == ("False", "LargeDeletion")
    world.add("new", MINUTE)  # another plan: the approval of the first one does not count
    world.approve()
    world.clock.advance(1)
    world.run_passes(controller=controller)
    assert len(world.files()) == 9
    world.approve()
    world.run_passes(controller=controller, passes=2)
    assert world.files() == {"new", "d0", "d1"}
    assert world.condition() == ("True", "Applied")


def entry(world: RetentionWorld, name: str, **fields: Any) -> BackupEntry:
    """The entry of a backup in the list of files."""
    record = record_of(world, name)
    defaults = {"kind": "backup", "path": record.path, "size_bytes": 1, "modified": record.created, "record": record}
    return BackupEntry(**{**defaults, **fields})


def _gzipped(world: RetentionWorld) -> BackupEntry:
    record = record_of(world, "d0").model_copy(update={"stored_sha256": "c" * 64})
    return entry(world, "d0", kind="compressed", path=f"{record.path}.gz", record=record)


def _hard_link(world: RetentionWorld) -> BackupEntry:
    return entry(world, "d0", problems=[{"code": "BackupUnusable", "message": "It has two links."}])


def _moved(world: RetentionWorld) -> BackupEntry:
    return entry(
        world, "d0", path="archive/d0", record=record_of(world, "d0").model_copy(update={"path": "archive/d0"})
    )


def _replaced(world: RetentionWorld) -> BackupEntry:
    return entry(world, "d0", record=record_of(world, "d0").model_copy(update={"stored_sha256": "c" * 64}))


def _other_id(world: RetentionWorld) -> BackupEntry:
    return entry(world, "d0", record=record_of(world, "d0").model_copy(update={"backup_id": "other"}))


def _changed(world: RetentionWorld) -> BackupEntry:
    return entry(world, "d0", kind="changed", record=None, backup_id=record_of(world, "d0").backup_id)


def _unusable(world: RetentionWorld) -> BackupEntry:
    return entry(world, "d0", kind="unusable", record=None)


@pytest.mark.parametrize(
    ("shape", "counts"),
    [
        (_gzipped, True), (_hard_link, True), (_moved, False), (_replaced, False), (_other_id, False),
        (_changed, False), (_unusable, False),
    ],
)  # fmt: skip
def test_only_the_right_content_at_its_place_counts(shape: Any, counts: bool) -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 2})
    world.daily(3)
    changed = shape(world)
    world.admin.special = {record_of(world, "d0").path: changed} if changed.path.endswith("/d0") else {}
    if not changed.path.startswith("nightly/d0") or changed.path.endswith(".gz"):
        world.admin._entries = _entries_without(world, "nightly/d0", changed)  # type: ignore[method-assign]
    world.run_passes(passes=2)
    assert world.files() == ({"d0", "d1"} if counts else {"d0", "d1", "d2"})
    assert file_present(world, "d0") is None, "something of it is there"


def _entries_without(world: RetentionWorld, path: str, added: BackupEntry) -> Any:
    entries = world.admin._entries
    return lambda: [*(one for one in entries() if one.path != path), added]


def test_other_volume_judges_nothing_of_the_first_one() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1}, objective={"maxAge": "26h"})
    world.daily(3)
    files = dict(world.admin.backups)
    world.admin.volume, world.admin.backups = "w" * 32, {}
    world.run_passes(passes=2)
    assert world.names() == {"d0", "d1", "d2"}
    assert world.condition("ObjectiveMet") == ("True", "ObjectiveMet"), "the schedule is new"
    world.clock.advance(2 * DAY.total_seconds())
    world.run_passes(passes=2)
    assert world.condition("ObjectiveMet") == ("False", "ObjectiveMissed")
    assert file_present(world, "d0") is None
    world.admin.volume, world.admin.backups = VOLUME, files
    world.run_passes()
    assert world.files() == {"d0"}


def test_list_of_two_volumes_is_incomplete() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(3)
    full = world.admin.list_files

    async def mixed(target: Any, token: str | None) -> BackupPage:
        page = await full(target, token)
        return page.model_copy(update={"volume_id": "w" * 32}) if token else page

    world.admin.list_files = mixed  # type: ignore[method-assign]
    world.run_passes(passes=2)
    assert len(world.files()) == 3
    assert world.condition() == ("False", "ListingIncomplete")


@pytest.mark.parametrize("answer", ["error", "there"])
def test_missing_file_is_confirmed_by_its_record(answer: str) -> None:
    """A list that lacks a file is not enough: the record decides, and an error decides nothing."""
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(2)
    path = record_of(world, "d0").path
    entries = world.admin._entries
    world.admin._entries = lambda: [one for one in entries() if one.path != path]  # type: ignore[method-assign]
    if answer == "error":

        async def broken(*_: object) -> Any:
            raise AdminApiError("Unreachable", "cut", retryable=True)

        setattr(world.admin, "read_backup", broken)  # noqa: B010
    world.run_passes(passes=2)
    assert file_present(world, "d0") is None
    assert world.files() == {"d0", "d1"}


def test_gateway_that_stops_answering_does_not_delay_a_pass_for_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(30)
    world.admin._entries = list  # type: ignore[method-assign]
    seconds, reads = 0.0, 0

    async def hanging(*_: object) -> Any:
        nonlocal seconds, reads
        seconds, reads = seconds + 10, reads + 1
        raise AdminApiError("Unreachable", "no answer", retryable=True)

    setattr(world.admin, "read_backup", hanging)  # noqa: B010
    monkeypatch.setattr(file_presence, "monotonic", lambda: seconds)
    world.run_passes(passes=1)
    assert reads == 4, "two for each of the two comparisons of a pass with deletions"
    assert len(world.files()) == 30


def test_backup_that_is_newer_than_the_list_is_not_judged() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(1)
    world.run_passes()
    full = world.admin.list_if_changed

    async def old(target: Any, etag: str) -> TaggedPage:
        listed = await full(target, "")
        assert listed.page is not None
        early = {"items": [], "listed_at": world.clock.now() - timedelta(hours=2), "continue_token": None}
        return TaggedPage(listed.page.model_copy(update=early), "")

    world.admin.list_if_changed = old  # type: ignore[method-assign]
    world.run_passes(passes=2)
    assert file_present(world, "d0") is None


def test_unchanged_volume_costs_one_small_request() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 9})
    world.daily(7)
    controller = world.run_passes()
    assert world.admin.full_lists == 1
    for _ in range(5):
        world.clock.advance(601)
        world.run_passes(controller=controller)
    assert world.admin.full_lists == 1
    world.clock.advance(120)
    world.add("new", MINUTE)
    world.run_passes(controller=controller)
    assert world.admin.full_lists == 2, "a new backup is judged in the next pass"


def test_adopted_file_without_a_manifest_is_neither_lost_nor_counted() -> None:
    world = RetentionWorld()
    world.add("foreign", DAY, group="manual", origin="Adopted")
    stored = record_of(world, "foreign")
    world.admin.backups.clear()
    world.admin.foreign[stored.path] = inspection_of(stored)
    world.edit("foreign", lambda body: body["status"].update(backupID=""))
    world.add("verified", 9 * DAY, group="manual", ttl="1d")
    world.run_passes(passes=2)
    assert world.names() == {"foreign", "verified"}, "the only proven backup of the group stays"
    assert file_present(world, "foreign") is None


STEPS = [
    ("cluster", name)
    for name in ("page", "read", "write_status", "delete_by_uid", "list_ours", "event", "workload", "pods", "secret")
] + [("admin", name) for name in ("list_if_changed", "list_files", "health", "read_backup", "delete_backup")]


class OddPort:
    """A port that raises an unexpected exception in one of its calls, if the arguments concern a gateway or name."""

    def __init__(self, port: Any, name: str, word: str) -> None:
        self._port, self._name, self._word = port, name, word
        self.raised = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name != self._name:
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            if self._word in str(arguments):
                self.raised += 1
                raise KeyError("odd")
            return await method(*arguments, **options)

        return call


@pytest.mark.parametrize("name", ["read", "write_status", "delete_by_uid", "event"])
def test_unexpected_exception_in_one_set_stops_no_other(name: str) -> None:
    world = RetentionWorld()
    for schedule in ("alpha", "beta", "gamma"):
        world.schedule(schedule, retention={"keepLast": 2})
        for number in range(4):
            world.add(f"{schedule}-{number}", number * DAY + MINUTE, group=schedule, origin="Schedule")
    world.add("alpha-brief", 9 * DAY, group="alpha", origin="Manual", ttl="1d")
    odd = OddPort(world.cluster, name, "beta")
    controller = RetentionController(Ports(odd, world.admin, world.clock), [], log)
    world.run_passes(controller=controller, passes=2)
    assert odd.raised
    assert {"alpha-2", "alpha-3", "gamma-2", "gamma-3"}.isdisjoint(world.files())
    assert {"beta-0", "beta-1"} <= world.files()
    world.run_passes(passes=3)
    assert {one for one in world.files() if one.startswith("beta")} == {"beta-0", "beta-1"}


@pytest.mark.parametrize("step", STEPS, ids=lambda one: one[1])
def test_unexpected_exception_at_any_step_deletes_nothing_that_is_kept(step: tuple[str, str]) -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 3})
    world.daily(5)
    lose_files(world, "d1")
    ports: dict[str, Any] = {"cluster": world.cluster, "admin": world.admin}
    ports[step[0]] = OddPort(ports[step[0]], step[1], "")
    controller = RetentionController(Ports(ports["cluster"], ports["admin"], world.clock), [], log)
    world.run_passes(controller=controller, passes=2)
    assert {"d0", "d2", "d3"} <= world.files()
    world.clock.advance(61)
    world.run_passes(passes=2)
    assert world.files() == {"d0", "d2", "d3"}


ODD_STATUS: list[dict[str, Any]] = [
    {"snapshotTime": "0000-01-01T00:00:00Z"},
    {"snapshotTime": "9999-12-31T23:59:59-12:00"},
    {"snapshotTime": "0001-01-01T00:00:00+14:00"},
    {"completionTime": "soon"},
    {"completionTime": "9999-12-31T23:59:59Z"},
    {"conditions": [{"type": "FilePresent", "status": "False", "lastTransitionTime": "0001-01-01T00:00:00+14:00"}]},
    {"verification": "Verified"},
    {"conditions": "Completed"},
    {"keptBy": 7},
    {"volumeID": ["v"]},
]


@pytest.mark.parametrize("status", ODD_STATUS, ids=str)
def test_odd_status_of_one_backup_stops_no_other(status: dict[str, Any]) -> None:
    world = RetentionWorld()
    for schedule in ("alpha", "beta"):
        world.schedule(schedule, retention={"keepLast": 3, "maxAge": "30d"})
        for number in range(5):
            world.add(f"{schedule}-{number}", number * DAY + MINUTE, group=schedule, origin="Schedule")
    world.edit("alpha-1", lambda body: body["status"].update(status))
    world.run_passes(passes=2)
    assert {one for one in world.files() if one.startswith("beta")} == {"beta-0", "beta-1", "beta-2"}
    assert {"alpha-0", "alpha-1", "alpha-2"} <= world.files()


@pytest.mark.parametrize("spec", [{"retention": "all"}, {"retention": {"failed": 3}}, {"retention": {"keepLast": "x"}}])
def test_odd_policy_of_one_schedule_stops_no_other(spec: dict[str, Any]) -> None:
    world = RetentionWorld()
    world.schedule("alpha", **spec)
    world.schedule("beta", retention={"keepLast": 3})
    for number in range(5):
        world.add(f"beta-{number}", number * DAY + MINUTE, group="beta", origin="Schedule")
    world.run_passes()
    assert world.files() == {"beta-0", "beta-1", "beta-2"}


@pytest.mark.parametrize("status", [{"source": "x"}, {"phase": 3}, {"conditions": 1}], ids=str)
def test_odd_restore_deletes_nothing_in_its_namespace(status: dict[str, Any]) -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 3})
    world.daily(5)
    world.cluster.add("GatewayRestore", "odd", {"backupName": "d4"})
    world.edit("odd", lambda body: body.update(status=status), "GatewayRestore")
    world.run_passes(passes=2)
    assert "d4" in world.files()


@pytest.mark.parametrize("port", ["list_if_changed", "page"])
def test_text_of_an_unexpected_error_is_in_no_object(port: str) -> None:
    """It may quote a Secret. The message has its type and place, and the log has the text."""
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(2)

    async def fail(*_: object, **__: object) -> None:
        raise ValueError("s3cret")

    setattr(world.admin if port == "list_if_changed" else world.cluster, port, fail)
    world.run_passes()
    assert world.names() == {"d0", "d1"}
    written = json.dumps(list(world.cluster.objects.values()), default=str)
    assert "s3cret" not in written + "".join(event.message for event in world.cluster.events)
    if port == "list_if_changed":
        assert "unexpected ValueError" in written
