"""Tests of deletions by a person: the file is deleted only with `spec.deleteFile`."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_operator.domain.backup.deletion import remaining_file_event
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import AdminApiError
from tests.unit.gateway_operator.simulation.faults import Faults, World
from tests.unit.gateway_operator.simulation.test_crash_points import with_backup
from tests.unit.gateway_operator.simulation.test_timeouts_and_lost_answers import reasons


def finished(number: int = 1, **spec: Any) -> tuple[World, list[Ref]]:
    """Simulated ports with finished backups."""
    world = World()
    refs = [world.cluster.add("GatewayBackup", f"b{one}", spec) for one in range(number)]
    for ref in refs:
        world.run(ref)
    return world, refs


def body(world: World, ref: Ref) -> dict[str, Any]:
    """The object as stored in the API server."""
    return world.cluster.objects[(ref.kind, ref.name)]


def delete(world: World, ref: Ref, *, file: bool = True) -> None:
    """Delete the object; with ``file`` as `kubectl gateway backup delete` does."""
    body(world, ref)["spec"]["deleteFile"] = file
    body(world, ref)["metadata"]["deletionTimestamp"] = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    world.run(ref, forget=True)


@pytest.mark.parametrize("spec", [{}, {"pinned": True}, {"ttl": "30d"}])
def test_delete_file_deletes_the_file(spec: dict[str, Any]) -> None:
    world, (ref,) = finished(**spec)
    delete(world, ref)
    assert world.admin.backups == {}
    assert world.cluster.events[-1].message.endswith("(spec.deleteFile).")
    assert world.cluster.status(ref)["phase"] == "Deleting"
    assert "deletion" not in world.cluster.status(ref), "that is what retention commits"


@pytest.mark.parametrize("value", [False, None, "true", 1])
def test_without_delete_file_the_file_stays(value: object) -> None:
    world, (ref,) = finished()
    body(world, ref)["spec"]["deleteFile"] = value
    body(world, ref)["metadata"]["deletionTimestamp"] = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    world.run(ref, forget=True)
    assert len(world.admin.backups) == 1
    assert world.faults.names.count("delete_backup") == 0


def test_delete_file_without_a_deletion_deletes_nothing() -> None:
    world, (ref,) = finished()
    body(world, ref)["spec"]["deleteFile"] = True
    world.run(ref, forget=True)
    assert len(world.admin.backups) == 1


def test_unset_delete_file_releases_an_object_that_waits_for_its_gateway() -> None:
    world, (ref,) = finished()
    world.admin.failing = [AdminApiError("Unreachable", "no answer", retryable=True)]
    wait = world.clock.on_sleep
    assert wait
    body(world, ref)["spec"]["deleteFile"] = True
    body(world, ref)["metadata"]["deletionTimestamp"] = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    advance = world.clock.advance

    def taken_back(seconds: float) -> None:
        body(world, ref)["spec"]["deleteFile"] = False
        advance(seconds)

    world.clock.advance = taken_back  # type: ignore[method-assign]
    world.run(ref, forget=True)
    assert len(world.admin.backups) == 1
    assert world.cluster.status(ref)["failure"]["reason"] == "Unreachable"


def test_adopted_file_is_deleted_by_the_same_rule() -> None:
    world, (finished_backup,) = finished()
    path = str(world.cluster.status(finished_backup)["path"])
    del world.cluster.objects[(finished_backup.kind, finished_backup.name)]
    adopted = world.cluster.add("GatewayBackup", "again", {"existing": {"path": path}})
    world.run(adopted)
    assert world.cluster.status(adopted)["reason"] == "Adopted"
    delete(world, adopted)
    assert world.admin.backups == {}


def test_failed_adoption_deletes_no_file() -> None:
    world, (owner,) = finished()
    path = str(world.cluster.status(owner)["path"])
    other = world.cluster.add("GatewayBackup", "other", {"existing": {"path": path}})
    world.run(other)
    assert world.cluster.status(other)["reason"] == "AlreadyOwned"
    delete(world, other)
    assert len(world.admin.backups) == 1


def test_many_at_once_are_deleted_without_waiting() -> None:
    world, refs = finished(8)
    started = world.clock.now()
    for ref in refs:
        delete(world, ref)
    assert world.admin.backups == {}
    assert world.clock.now() == started


def test_file_is_deleted_after_a_crash_at_any_call() -> None:
    world, (ref,) = finished()
    done = world.faults.calls
    delete(world, ref)
    for call in range(done + 1, world.faults.calls + 1):
        for faults in (Faults({call}, None), Faults(None, {call})):
            world, (ref,) = finished()
            world.faults.before, world.faults.after = faults.before, faults.after
            delete(world, ref)
            assert world.admin.backups == {}, call


def test_the_event_of_a_deleted_object_names_the_file_that_stays() -> None:
    world, (ref,) = finished()
    note = remaining_file_event(Backup.parse(body(world, ref)))
    assert note is not None
    assert note.reason == "FileKept"
    assert str(world.cluster.status(ref)["path"]) in note.message
    delete(world, ref)
    assert remaining_file_event(Backup.parse(body(world, ref))) is None
    assert "FileKept" not in reasons(world)
    world, waiting = with_backup()
    assert remaining_file_event(Backup.parse(body(world, waiting))) is None
