"""Ends a restore from outside at each of its calls: by a deletion, by ``spec.end``, or by the loss of its status.

Each case runs with a crash of the operator at that call, and without. Afterwards the gateway holds no open restore, and
another restore of it completes.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway_api.contract import RestoreState
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import RESTORE_FINALIZER
from gateway_operator.ports import AdminApiError
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore_object import reconcile_restore
from tests.unit.gateway_operator.simulation.faults import Faults, World, log
from tests.unit.gateway_operator.simulation.test_crash_points import TERMINAL, run_once, undisturbed, with_restore

pytestmark = pytest.mark.slow

_WRITES = {"write_status", "set_finalizer", "create_ours", "restore", "commit", "rollback", "restart", "event"}
_POLLED = {"read", "health", "read_restore"}
Case = tuple[str, World, Ref]
HOW: dict[str, dict[str, Any]] = {
    "healthy": {},
    "restarted": {"reload": "Restart"},
    "unhealthy": {"unhealthy": True},
    "unhealthy, left": {"unhealthy": True, "onFailure": "Leave"},
}


def _body(world: World, ref: Ref) -> dict[str, Any] | None:
    return world.cluster.objects.get((ref.kind, ref.name))


def _touch(world: World, ref: Ref) -> dict[str, Any]:
    """The object for an edit by a user, which gives it a new version."""
    body = world.cluster.objects[ref.kind, ref.name]
    world.cluster.version += 1
    body["metadata"]["resourceVersion"] = str(world.cluster.version)
    return body


def delete(world: World, ref: Ref) -> None:
    """Delete the object as the API server does: it stays while it has a finalizer."""
    if _body(world, ref) is None:
        return
    if _touch(world, ref)["metadata"].get("finalizers"):
        _touch(world, ref)["metadata"]["deletionTimestamp"] = timestamps.text(world.clock.now())
    else:
        del world.cluster.objects[ref.kind, ref.name]


def end(world: World, ref: Ref, action: str) -> None:
    """Set ``spec.end``, which can be set once."""
    body = _touch(world, ref)
    body["spec"].setdefault("end", action)
    body["metadata"]["generation"] = 2


def _calls(how: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The calls of a run without faults that change something, and these with the reads around them.

    A crash after a read leaves the same state as one before it. Most polls of a health check are left out.
    """
    world, ref = with_restore(Faults(), **how)
    world.run(ref)
    names = dict(enumerate(world.faults.names, 1))
    writes = [number for number, name in names.items() if name in _WRITES]
    polls = [number for number, name in names.items() if name in _POLLED]
    return writes, sorted({*writes, *polls[:12], *polls[12:-12:7], *polls[-12:]})


def at_each_call(act: Callable[[World, Ref], None], how: dict[str, Any], *, ended: bool = True) -> Iterator[Case]:
    """For each call of the restore: a crash after it and then the action, or the action during it without a crash.

    ``ended``: also the action after the end of the restore.
    """
    writes, calls = _calls(how)
    for number in writes:
        world, ref = with_restore(Faults(crash_after={number}), **how)
        run_once(world, ref)
        act(world, ref)
        world.run(ref)
        yield f"after a crash at {number}", world, ref
    for number in calls:
        faults = Faults()
        world, ref = with_restore(faults, **how)
        faults.meanwhile = {number: lambda world=world, ref=ref: act(world, ref)}  # type: ignore[misc]
        world.run(ref)
        # The watch event of the edit: the run may have read the object before it.
        world.run(ref)
        yield f"during {number}", world, ref
    if ended:
        world, ref = with_restore(**how)
        world.run(ref)
        act(world, ref)
        world.run(ref)
        yield "after the end", world, ref


def check_not_open(world: World, case: str) -> str:
    """The gateway has no open restore, and the live config is that of its end. Returns the config."""
    record = world.admin.restore_record
    assert record is None or record.state in (RestoreState.committed, RestoreState.rolled_back), case
    assert world.admin.replaced_times <= 1, case
    committed = record is not None and record.state is RestoreState.committed
    assert world.admin.live == ("good" if committed else "old"), case
    return str(world.admin.live)


def check_next_completes(world: World, case: str) -> None:
    """Another restore of the gateway is neither blocked nor confused by the first one."""
    world.admin.unhealthy_on = None
    world.admin._state()
    spec = {"backupName": "good", "healthCheck": {"timeoutSeconds": 6, "consecutive": 1}}
    after = world.cluster.add("GatewayRestore", "next", spec)
    world.run(after)
    assert world.cluster.status(after)["phase"] == "Completed", (case, world.cluster.status(after))


@pytest.mark.parametrize("how", HOW)
def test_deleted_restore_leaves_nothing_open(how: str) -> None:
    for case, world, ref in at_each_call(delete, HOW[how]):
        assert _body(world, ref) is None, case
        check_not_open(world, case)
        check_next_completes(world, case)


@pytest.mark.parametrize("how", HOW)
def test_requested_commit_survives_a_deletion(how: str) -> None:
    """If the config was replaced by then and no rollback has begun."""
    replaced: dict[str, bool] = {}

    def commit_and_delete(world: World, ref: Ref) -> None:
        if _body(world, ref) is not None:
            record = world.admin.restore_record
            applied = record is not None and record.state is RestoreState.applied
            replaced["now"] = applied and world.cluster.status(ref).get("phase") != "RollingBack"
            end(world, ref, "Commit")
            delete(world, ref)

    kept = 0
    for case, world, ref in at_each_call(commit_and_delete, HOW[how]):
        assert _body(world, ref) is None, case
        live = check_not_open(world, case)
        assert live == "good" or not replaced.pop("now", False), case
        kept += live == "old"
    assert kept


def test_deletion_before_the_end_rolls_back() -> None:
    """The record says committed only if the commit was made before the deletion was seen."""
    lives = [check_not_open(world, case) for case, world, _ in at_each_call(delete, {}, ended=False)]
    assert 0 < lives.count("good") < lives.count("old")


@pytest.mark.parametrize("how", ["healthy", "unhealthy, left"])
def test_deletion_survives_a_second_crash(how: str) -> None:
    """A crash, a deletion, and then a crash at each write of the run that ends it."""
    for first in _calls(HOW[how])[0][5:]:
        world, ref = with_restore(Faults(crash_after={first}), **HOW[how])
        run_once(world, ref)
        delete(world, ref)
        world.run(ref)
        later = [number for number, name in enumerate(world.faults.names, 1) if name in _WRITES and number > first]
        for second in later:
            world, ref = with_restore(Faults(crash_after={first}), **HOW[how])
            run_once(world, ref)
            delete(world, ref)
            world.faults.after = {second}
            world.run(ref)
            assert _body(world, ref) is None, (first, second)
            check_not_open(world, f"{first}, {second}")


@pytest.mark.parametrize("action", ["Commit", "Rollback"])
@pytest.mark.parametrize("how", ["healthy", "unhealthy", "unhealthy, left"])
def test_requested_end_is_carried_out(how: str, action: str) -> None:
    """A restore that is open at the gateway, also after its own end, ends as requested. Others do not change."""
    for case, world, ref in at_each_call(lambda world, ref: end(world, ref, action), HOW[how]):
        status = world.cluster.status(ref)
        live = check_not_open(world, case)
        assert status["phase"] in TERMINAL, case
        assert status["observedGeneration"] == 2, case
        assert RESTORE_FINALIZER not in _body(world, ref)["metadata"].get("finalizers", ()), case  # type: ignore[index]
        if case == "after the end" and how == "unhealthy, left":
            expected = ("Completed", "good") if action == "Commit" else ("RolledBack", "old")
            assert (status["phase"], live) == expected, case
            assert status["end"]["action"] == action
        if case == "after the end" and how == "healthy":
            assert (status["phase"], live) == ("Completed", "good")
        check_next_completes(world, case)


def test_requested_commit_needs_no_health() -> None:
    world, ref = stopped_in("Restarting", unhealthy=True)
    end(world, ref, "Commit")
    world.run(ref)
    assert (world.cluster.status(ref)["phase"], world.admin.live) == ("Completed", "good")


@pytest.mark.parametrize("how", ["healthy", "unhealthy", "unhealthy, left"])
def test_restore_without_its_status_runs_once(how: str) -> None:
    """As after a restore by Velero: the object comes back with its spec and finalizer, and without a status."""

    def wipe(world: World, ref: Ref) -> None:
        body = _touch(world, ref)
        body.pop("status", None)

    for case, world, ref in at_each_call(wipe, HOW[how]):
        status, record = world.cluster.status(ref), world.admin.restore_record
        assert status["phase"] in TERMINAL, (case, status)
        assert world.admin.replaced_times <= 1, case
        assert len(world.admin.request_ids) <= 1, case
        assert len(set(world.cluster.restarts)) == len(world.cluster.restarts), case
        if record is None:
            # The safety backup of the lost status has another origin by now, so it is not used. Nothing was changed.
            assert (status["reason"], world.admin.live) == ("SafetyBackupFailed", "old"), (case, status)
        elif how == "healthy":
            assert (status["phase"], world.admin.live) == ("Completed", "good"), (case, status)


def _unreachable(times: int) -> list[AdminApiError]:
    return [AdminApiError("Unreachable", "No route.", retryable=True) for _ in range(times)]


def stopped_in(phase: str, **how: Any) -> tuple[World, Ref]:
    """A restore in this phase, after a crash of the operator."""
    return _stopped_at(_first_call_in(phase, **how), how)


def _stopped_at(number: int, how: dict[str, Any]) -> tuple[World, Ref]:
    world, ref = with_restore(Faults(crash_after={number}), **how)
    run_once(world, ref)
    return world, ref


@functools.cache
def _first_call_in(phase: str, **how: Any) -> int:
    for number in range(1, undisturbed(with_restore, **how).calls):
        world, ref = _stopped_at(number, how)
        if world.cluster.status(ref).get("phase") == phase:
            return number
    raise AssertionError(f"no crash left the restore in {phase}")


def _deleted_in_health_check() -> tuple[World, Ref]:
    world, ref = stopped_in("HealthCheck")
    delete(world, ref)
    assert _body(world, ref) is not None
    return world, ref


def test_deleted_restore_of_a_deleted_gateway_is_released_at_once() -> None:
    world, ref = _deleted_in_health_check()
    world.cluster.present = False
    started = world.clock.now()
    world.run(ref)
    assert _body(world, ref) is None
    assert (world.clock.now() - started).total_seconds() < 5
    assert world.cluster.events[-1].reason == "RestoreReleased"


def test_deleted_restore_of_an_unreachable_gateway_is_released_in_time() -> None:
    world, ref = _deleted_in_health_check()
    world.admin.failing = _unreachable(100_000)
    started = world.clock.now()
    world.run(ref)
    assert _body(world, ref) is None
    assert 600 <= (world.clock.now() - started).total_seconds() < 700
    released = world.cluster.events[-1]
    assert (released.reason, released.warning) == ("RestoreReleased", True)
    assert "spec.supersede: true" in released.message


def test_deleted_restore_keeps_a_config_that_was_changed_since() -> None:
    """A rollback would discard the change, so the restore is committed. The changed config stays live."""
    world, ref = _deleted_in_health_check()
    world.admin.live = "changed since"
    world.run(ref)
    assert _body(world, ref) is None
    assert world.admin.live == "changed since"
    record = world.admin.restore_record
    assert record is not None
    assert record.state is RestoreState.committed


def test_only_a_requested_rollback_discards_later_changes() -> None:
    world, ref = stopped_in("HealthCheck")
    world.admin.live = "changed since"
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("RollbackFailed", "ConfigOverwritten")
    for verb in ("rollback", "commit"):
        assert f"kubectl gateway restore {verb} -n prod r" in status["message"]
    assert RESTORE_FINALIZER in world.cluster.objects[ref.kind, ref.name]["metadata"]["finalizers"]
    end(world, ref, "Rollback")
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"], world.admin.live) == ("RolledBack", "RollbackRequested", "old")
    assert "finalizers" not in (meta := world.cluster.objects[ref.kind, ref.name]["metadata"]) or not meta["finalizers"]


def _second(world: World) -> Ref:
    quick = {"timeoutSeconds": 6, "consecutive": 1}
    return world.cluster.add("GatewayRestore", "second", {"backupName": "good", "healthCheck": quick})


@pytest.mark.parametrize("phase", ["SafetyBackup", "Restoring", "Restarting", "HealthCheck"])
def test_second_restore_waits_for_the_first(phase: str) -> None:
    world, first = stopped_in(phase)
    second = _second(world)
    for _ in range(3):
        run_once(world, second)
        world.clock.advance(1)
    status = world.cluster.status(second)
    assert (status["phase"], status["reason"]) == ("Validating", "RestoreInProgress"), status
    assert "GatewayRestore r of the same gateway is running" in status["message"]
    world.run(first)
    world.run(second)
    for ref in (first, second):
        assert world.cluster.status(ref)["phase"] == "Completed", world.cluster.status(ref)
    assert world.admin.replaced_times == 2


def test_waiting_restore_fails_at_its_deadline_and_names_the_other() -> None:
    world, _ = stopped_in("HealthCheck")
    second = _second(world)
    world.run(second)
    status = world.cluster.status(second)
    assert (status["phase"], status["reason"]) == ("Failed", "RestoreInProgress")
    assert "GatewayRestore r" in status["message"]


def test_restores_that_start_together_run_one_after_the_other() -> None:
    """Both are in Validating before the status of either shows that it begins."""
    world, first = with_restore()
    second = _second(world)
    locks = GatewayLocks()

    async def both() -> None:
        async def to_end(ref: Ref) -> None:
            while (wait := await reconcile_restore(world.plain, locks, ref, log)) is not None:
                await world.clock.sleep(wait)
                # The clock has jumped for both. The other one has its turns before it jumps again.
                for _ in range(20):
                    await asyncio.sleep(0)

        await asyncio.gather(to_end(first), to_end(second))

    asyncio.run(both())
    statuses = [world.cluster.status(ref) for ref in (first, second)]
    assert [one["phase"] for one in statuses] == ["Completed", "Completed"]
    assert sorted(one["safetyBackup"]["kind"] for one in statuses) == ["backup", "backup"]
    assert world.admin.replaced_times == 2


def test_restore_left_open_is_named_with_its_commands() -> None:
    world, first = with_restore(unhealthy=True, onFailure="Leave")
    world.run(first)
    second = _second(world)
    world.run(second)
    status = world.cluster.status(second)
    assert (status["phase"], status["reason"]) == ("Failed", "RestorePending")
    for verb in ("commit", "rollback"):
        assert f"kubectl gateway restore {verb} -n prod r" in status["message"]


def test_backups_wait_for_a_running_restore_only() -> None:
    world, first = stopped_in("HealthCheck", onFailure="Leave")
    backup = world.cluster.add("GatewayBackup", "meanwhile", {})
    run_once(world, backup)
    status = world.cluster.status(backup)
    assert (status["phase"], status["reason"]) == ("Pending", "RestoreInProgress")
    assert "GatewayRestore r of this gateway is running" in status["message"]
    # The origin is recorded while it waits, so its schedule counts it and reports that it waits.
    assert status["origin"] == "Manual"
    # A restore that has ended and was left open may stay so for weeks.
    world.admin.unhealthy_on = "good"
    world.admin._state()
    world.run(first)
    assert world.cluster.status(first)["phase"] == "Failed"
    world.run(backup)
    assert world.cluster.status(backup)["phase"] == "Completed"
