"""Which files go with their objects, in a small world: marks, pins, sweeps, and the delete that others call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway_operator.domain.deletion import HOLD, SETTLE, left_behind
from gateway_operator.domain.names import DELETE_FILE
from gateway_operator.domain.objects import Backup, Meta, Ref
from gateway_operator.ports import ConflictError
from gateway_operator.reconcile.deletion import delete_with_file, forget_backup
from tests.unit.operator.test_bad_days import deleted, reasons
from tests.unit.operator.test_crashes import with_backup
from tests.unit.operator.worlds import Faults, World, log


def finished(number: int = 1, **spec: Any) -> tuple[World, list[Ref]]:
    """A world with finished backups."""
    world = World()
    refs = [world.cluster.add("GatewayBackup", f"b{one}", spec) for one in range(number)]
    for ref in refs:
        world.run(ref)
    return world, refs


def body(world: World, ref: Ref) -> dict[str, Any]:
    """An object as the API server has it."""
    return world.cluster.objects[(ref.kind, ref.name)]


def go(world: World, ref: Ref, why: str | None = None) -> None:
    """Somebody deletes it now."""
    meta = body(world, ref)["metadata"]
    meta["deletionTimestamp"] = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    if why:
        meta["annotations"] = {DELETE_FILE: why}


def remove(world: World, ref: Ref, why: str = "retention") -> bool:
    """What retention and the command line call."""
    return asyncio.run(delete_with_file(world.cluster, Meta.parse(body(world, ref), ref.kind), why))


@pytest.mark.parametrize("why", ["retention", "ttl", "requested"])
def test_a_marked_one_takes_its_file_with_it(why: str) -> None:
    world, (ref,) = finished()
    assert remove(world, ref, why) is True
    world.run(ref, forget=True)
    assert world.admin.backups == {}
    assert world.cluster.events[-1].message.endswith(f"({why}).")


def test_a_mark_that_is_none_of_ours_counts_for_nothing() -> None:
    world, (ref,) = finished()
    go(world, ref, "because")
    world.run(ref, forget=True)
    assert len(world.admin.backups) == 1


@pytest.mark.parametrize(("why", "kept"), [("retention", 1), ("ttl", 1), ("requested", 0)])
def test_a_pin_is_stronger_than_retention_and_ttl_but_not_than_a_person(why: str, kept: int) -> None:
    world, (ref,) = finished(pinned=True)
    go(world, ref, why)
    world.run(ref, forget=True)
    assert len(world.admin.backups) == kept


def test_a_newer_one_is_not_deleted() -> None:
    world, (ref,) = finished()
    seen = Meta.parse(body(world, ref), ref.kind)
    body(world, ref)["metadata"]["resourceVersion"] = "999"
    with pytest.raises(ConflictError):
        asyncio.run(delete_with_file(world.cluster, seen, "retention"))
    assert DELETE_FILE not in (body(world, ref)["metadata"].get("annotations") or {})


def test_one_that_was_pinned_between_the_mark_and_the_deletion_stays_and_loses_the_mark() -> None:
    world, (ref,) = finished()
    mark = world.cluster.mark_file_for_deletion

    async def pinned_meanwhile(meta: Meta, why: str) -> Any:
        marked = await mark(meta, why)
        body(world, ref)["spec"]["pinned"] = True
        body(world, ref)["metadata"].update(generation=2, resourceVersion="999")
        return marked

    world.cluster.mark_file_for_deletion = pinned_meanwhile  # type: ignore[method-assign]
    with pytest.raises(ConflictError):
        remove(world, ref)
    assert DELETE_FILE not in body(world, ref)["metadata"]["annotations"]
    assert "deletionTimestamp" not in body(world, ref)["metadata"]


def test_a_note_of_the_operator_between_the_two_is_no_change() -> None:
    world, (ref,) = finished()
    mark = world.cluster.mark_file_for_deletion

    async def noted_meanwhile(meta: Meta, why: str) -> Any:
        marked = await mark(meta, why)
        body(world, ref)["metadata"]["resourceVersion"] = "999"
        return marked

    world.cluster.mark_file_for_deletion = noted_meanwhile  # type: ignore[method-assign]
    assert remove(world, ref) is True
    assert "deletionTimestamp" in body(world, ref)["metadata"]


def test_one_that_is_gone_was_not_there() -> None:
    world, (ref,) = finished()
    seen = Meta.parse(body(world, ref), ref.kind)
    world.cluster.objects.clear()
    assert asyncio.run(delete_with_file(world.cluster, seen, "ttl")) is False


def test_a_sweep_takes_no_file_also_when_the_operator_dies_in_the_middle() -> None:
    """All judged by what the API server says: nothing is remembered across the crash."""
    for started_anew_after in range(4):
        world, refs = finished(4, deletionPolicy="Delete")
        for ref in refs:
            go(world, ref)
        world.clock.advance(SETTLE)
        for ref in refs[: started_anew_after + 1]:
            assert asyncio.run(forget_backup(world.ports, ref, log)) == HOLD
        waiting = list(refs)
        while waiting:  # all at once, as kopf does: one look each, and those that are released go
            for ref in list(waiting):
                if asyncio.run(forget_backup(world.ports, ref, log)) is None:
                    waiting.remove(ref)
            for name in {ref.name for ref in refs} - {ref.name for ref in waiting}:
                world.cluster.objects.pop(("GatewayBackup", name), None)
            world.clock.advance(HOLD)
        assert len(world.admin.backups) == 4
        assert reasons(world).count("MassDeletion") == 4


def test_one_of_many_goes_with_its_file_but_not_before_others_could_have_followed() -> None:
    world, refs = finished(4, deletionPolicy="Delete")
    go(world, refs[0])
    started = world.clock.now()
    world.run(refs[0], forget=True)
    assert len(world.admin.backups) == 3
    assert (world.clock.now() - started).total_seconds() == SETTLE


def _one_after_the_other(world: World, refs: list[Ref], pause: float) -> None:
    """Each is deleted, and gone, before the next one is."""
    for ref in refs:
        go(world, ref)
        world.run(ref, forget=True)
        del world.cluster.objects[(ref.kind, ref.name)]
        world.clock.advance(pause)


@pytest.mark.parametrize("pause", [15, 70, 3600])
def test_a_sweep_that_is_slow_takes_a_quarter_and_no_more_whatever_is_remembered(pause: float) -> None:
    world, refs = finished(24, deletionPolicy="Delete")
    _one_after_the_other(world, refs[:12], pause)  # each by an operator that has just begun
    assert len(world.admin.backups) == 18
    assert reasons(world).count("MassDeletion") == 6
    assert "6 of 24 files" in world.cluster.events[-1].message
    assert "`kubectl gateway backup delete` deletes files on purpose" in world.cluster.events[-1].message


def test_a_few_by_hand_take_their_files_along_day_after_day() -> None:
    world, refs = finished(16, deletionPolicy="Delete")
    for day in range(3):
        _one_after_the_other(world, refs[5 * day : 5 * day + 5], 3600)
        world.clock.advance(86400)
    assert len(world.admin.backups) == 1
    assert "MassDeletion" not in reasons(world)


def test_what_somebody_asked_for_is_not_counted() -> None:
    world, refs = finished(6, deletionPolicy="Delete")
    for ref in refs[:4]:
        remove(world, ref, "requested")
        world.run(ref, forget=True)
        del world.cluster.objects[(ref.kind, ref.name)]
    assert world.cluster.notes == {}
    _one_after_the_other(world, refs[4:], 15)
    assert world.admin.backups == {}


def test_what_cannot_be_counted_stays() -> None:
    world, refs = finished(4, deletionPolicy="Delete")
    world.cluster.may_annotate = False
    _one_after_the_other(world, refs[:1], 15)
    assert len(world.admin.backups) == 4
    assert world.cluster.events[-1].reason == "FileKept"


def test_a_file_is_counted_once_wherever_the_operator_dies() -> None:
    for call in range(1, 40):
        for faults in (Faults(crash_before={call}), Faults(crash_after={call})):
            world, refs = finished(8, deletionPolicy="Delete")
            world.faults.before, world.faults.after, world.faults.calls = faults.before, faults.after, 0
            go(world, refs[0])
            world.run(refs[0], forget=True)
            assert len(world.admin.backups) == 7
            said = world.cluster.notes["mcpgateway.dev/files-deleted"].split()
            assert said[1:] == ["8", refs[0].uid[:8]]


def test_what_was_asked_for_is_no_sweep_and_waits_for_nobody() -> None:
    world, refs = finished(4)
    started = world.clock.now()
    for ref in refs:
        remove(world, ref)
        world.run(ref, forget=True)
        del world.cluster.objects[(ref.kind, ref.name)]
    assert world.admin.backups == {}
    assert world.clock.now() == started


def test_it_is_told_where_a_file_is_that_was_left_behind() -> None:
    world, (ref,) = finished()
    note = left_behind(Backup.parse(body(world, ref)))
    assert note is not None
    assert note.reason == "FileKept"
    assert str(world.cluster.status(ref)["path"]) in note.message
    go(world, ref, "retention")
    assert left_behind(Backup.parse(body(world, ref))) is None
    world, waiting = with_backup()
    assert left_behind(Backup.parse(body(world, waiting))) is None
    deleted(world)
