"""Bad days, played through in memory: time that runs out, answers that never come, an operator that was away."""

from __future__ import annotations

import pytest

from gateway_api.contract import BackupRecord, RestoreState
from gateway_operator.domain.model.actions import CallBackup, Finish
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Restore
from gateway_operator.domain.restore.decide import decide as decide_restore
from gateway_operator.domain.restore.status import RestoreObservation
from gateway_operator.ports import AdminApiError, AdminTarget
from tests.unit.gateway_operator.simulation.fake_admin_api import restore_result
from tests.unit.gateway_operator.simulation.fake_cluster import START
from tests.unit.gateway_operator.simulation.faults import Faults, World
from tests.unit.gateway_operator.simulation.test_crash_points import (
    check_backup,
    check_restore,
    run_once,
    with_backup,
    with_restore,
)

DAY = 24 * 3600


def passing(code: str = "InternalError") -> AdminApiError:
    """A failure that may pass."""
    return AdminApiError(code, "not now", retryable=True)


def lose_answers(world: World, code: str = "CallTimedOut") -> None:
    """Every backup is made, and no answer ever comes back."""
    make = world.admin.backup

    async def backup(target: AdminTarget, call: CallBackup) -> BackupRecord:
        await make(target, call)
        raise AdminApiError(code, "no answer", retryable=True, outcome_unknown=True)

    world.admin.backup = backup  # type: ignore[method-assign]


def deleted(world: World, *, delete_file: bool = True) -> None:
    """A person deletes the backup now."""
    body = world.cluster.objects[("GatewayBackup", "b")]
    body["spec"]["deleteFile"] = delete_file
    body["metadata"]["deletionTimestamp"] = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def reasons(world: World) -> list[str]:
    """What people were told."""
    return [note.reason for note in world.cluster.events]


def test_retries_are_counted_and_end() -> None:
    world, ref = with_backup()
    world.admin.failing = [passing() for _ in range(99)]
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"], status["attempt"]) == ("Failed", "InternalError", 6)
    assert len(status["lastErrors"]) == 6
    assert reasons(world) == ["InternalError", "InternalError"]


def test_a_crash_uses_up_no_attempt() -> None:
    for number in range(1, 10):
        world, ref = with_backup(Faults(crash_after={number, number + 1, number + 2}))
        world.run(ref)
        assert world.cluster.status(ref)["attempt"] == 1


def test_waiting_for_a_turn_uses_up_no_attempt_but_time() -> None:
    world, ref = with_backup()
    world.admin.failing = [passing("Busy") for _ in range(8)]
    world.run(ref)
    assert world.cluster.status(ref)["attempt"] == 1
    check_backup(world, ref)
    world, ref = with_backup()
    world.admin.failing = [passing("Busy") for _ in range(9999)]
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", "Busy")
    assert "within 600 s (timeoutSeconds)" in status["message"]


def test_what_the_volume_holds_beats_the_retries() -> None:
    world, ref = with_backup()
    lose_answers(world)
    world.run(ref)
    check_backup(world, ref)


def test_what_the_volume_holds_beats_the_clock() -> None:
    """The operator died after the call and was away for a day."""
    for number in range(1, 20):
        world, ref = with_backup(Faults(crash_after={number}))
        run_once(world, ref)
        if world.admin.made:
            world.clock.advance(DAY)
            world.run(ref)
            check_backup(world, ref)


def test_an_operator_that_was_away_starts_nothing_late() -> None:
    world, ref = with_backup()
    world.clock.advance(DAY)
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", "StartingDeadlineExceeded")
    assert world.admin.made == 0


def test_a_file_that_was_removed_before_its_verification_is_no_backup() -> None:
    for number in range(1, 20):
        world, ref = with_backup(Faults(crash_after={number}), level="Stored")
        run_once(world, ref)
        if world.cluster.status(ref).get("phase") == "Verifying":
            world.admin.backups.clear()
            world.run(ref)
            status = world.cluster.status(ref)
            assert (status["phase"], status["reason"]) == ("Failed", "RecordMismatch")
            return
    raise AssertionError("no crash left it in Verifying")


@pytest.mark.parametrize("why", ["unreachable", "moved", "gone"])
def test_a_deletion_always_ends_and_in_doubt_the_file_stays(why: str) -> None:
    world, ref = with_backup()
    world.run(ref)
    deleted(world)
    started = world.clock.now()
    if why == "unreachable":
        world.admin.failing = [passing("Unreachable") for _ in range(9999)]
    elif why == "moved":
        world.admin.volume = "w" * 32
    else:
        world.cluster.present = False
    world.run(ref, forget=True)
    assert len(world.admin.backups) == 1
    assert reasons(world)[-1] == "FileKept"
    waited = (world.clock.now() - started).total_seconds()
    assert waited >= DAY if why == "unreachable" else waited == 0


def test_where_encryption_is_demanded_the_name_says_so_and_never_changes_again() -> None:
    world, ref = with_backup()
    world.admin.encrypted = True
    world.run(ref)
    assert str(world.cluster.status(ref)["path"]).endswith(".json.zst.age")
    call = world.faults.names.index("backup") + 1
    world, ref = with_backup(Faults(crash_after={call}))
    world.admin.encrypted = True
    run_once(world, ref)
    world.admin.encrypted = False
    world.run(ref)
    assert str(world.cluster.status(ref)["path"]).endswith(".json.zst.age")
    assert world.admin.made == 1


def test_without_delete_file_a_deletion_calls_no_gateway() -> None:
    world, ref = with_backup()
    world.run(ref)
    deleted(world, delete_file=False)
    world.run(ref, forget=True)
    assert len(world.admin.backups) == 1
    assert world.faults.names.count("delete_backup") == 0


def restored(world: World, ref: Ref) -> dict[str, object]:
    """Run it to its end."""
    world.run(ref)
    return world.cluster.status(ref)


def test_a_gateway_that_was_writing_is_restored_in_the_end() -> None:
    world, ref = with_restore()
    restore = world.admin.restore
    refusals = [AdminApiError("ConfigChangedDuringRestore", "it wrote", retryable=True)]

    async def racing(*arguments: object) -> object:
        record = await restore(*arguments)  # type: ignore[arg-type]
        if refusals:
            raise refusals.pop()
        return record

    world.admin.restore = racing  # type: ignore[assignment, method-assign]
    world.run(ref)
    assert check_restore(world, ref) == "Completed"


def test_a_gateway_that_never_stops_writing_gets_its_config_back() -> None:
    world, ref = with_restore()
    restore = world.admin.restore

    async def racing(*arguments: object) -> object:
        await restore(*arguments)  # type: ignore[arg-type]
        raise AdminApiError("ConfigChangedDuringRestore", "it wrote", retryable=True)

    world.admin.restore = racing  # type: ignore[assignment, method-assign]
    status = restored(world, ref)
    assert (status["phase"], status["reason"]) == ("RolledBack", "ConfigOverwritten")
    assert str(status["message"]).endswith(" The previous config is live again.")
    assert world.admin.live == "old"


def test_nothing_is_claimed_about_a_gateway_that_cannot_be_asked() -> None:
    """The restore was sent, and from then on nobody answers: it may or may not have been applied."""
    world, ref = with_restore()
    restore = world.admin.restore

    async def silence(*arguments: object) -> object:
        await restore(*arguments)  # type: ignore[arg-type]
        world.admin.failing = [passing("Unreachable") for _ in range(99_999)]
        raise AdminApiError("CallTimedOut", "no answer", retryable=True, outcome_unknown=True)

    world.admin.restore = silence  # type: ignore[assignment, method-assign]
    status = restored(world, ref)
    assert (status["phase"], status["reason"]) == ("Failed", "RestoreStateUnknown")
    assert "It is not known whether the config was replaced" in str(status["message"])


def test_one_that_was_rolled_back_by_a_person_says_so() -> None:
    world, ref = with_restore(Faults())
    for number in range(1, 80):
        world, ref = with_restore(Faults(crash_after={number}))
        run_once(world, ref)
        if world.cluster.status(ref).get("phase") == "HealthCheck":
            break
    record = world.admin.restore_record
    assert record is not None
    world.admin.live = "old"
    world.admin._end(record.request_id, RestoreState.rolled_back)
    status = restored(world, ref)
    assert (status["phase"], status["reason"]) == ("RolledBack", "RolledBack")


def test_a_restore_waits_for_its_gateway_and_then_gives_up() -> None:
    world, ref = with_restore()
    world.cluster.present = False
    status = restored(world, ref)
    assert (status["phase"], status["reason"]) == ("Failed", "GatewayNotFound")
    assert world.admin.live == "old"


def test_a_rollback_ends_with_its_cause_whatever_the_message_said_meanwhile() -> None:
    """The cause is a field: a message about a missing permission must not replace it."""
    cause = {"reason": "RestartFailed", "message": "The pods were not replaced in time."}
    status = {"phase": "RollingBack", "reason": "NotAuthorized", "message": "Forbidden.", "failure": cause}
    spec = {"gatewayRef": {"name": "gw"}, "backupName": "b", "restart": "Never"}
    restore = Restore.parse({"metadata": {"name": "r", "uid": "u"}, "spec": spec, "status": status})
    result = restore_result(state=RestoreState.rolled_back)
    action = decide_restore(RestoreObservation(restore, journal=result), START)
    assert isinstance(action, Finish)
    assert (action.status["phase"], action.status["reason"]) == ("RolledBack", "RestartFailed")
    assert action.status["message"] == "The pods were not replaced in time. The previous config is live again."
    assert action.status["failure"] == cause


def test_the_failure_of_an_attempt_is_a_field_and_ends_with_the_backup() -> None:
    world, ref = with_backup()
    world.admin.failing = [passing()]
    run_once(world, ref)
    assert world.cluster.status(ref)["failure"] == {"reason": "InternalError", "message": "not now"}
    world.clock.advance(60)
    world.run(ref)
    check_backup(world, ref)
    assert "failure" not in world.cluster.status(ref)
