"""Simulations of timeouts, lost answers and an operator that was down."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway_api.contract import BackupRecord, RestoreState
from gateway_operator.domain.model.actions import CallBackup, Finish
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import RESTORE_FINALIZER
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.decide import decide as decide_restore
from gateway_operator.domain.restore.status import RestoreObservation
from gateway_operator.ports import AdminApiError, AdminTarget
from tests.unit.gateway_operator.simulation.fake_admin_api import restore_result
from tests.unit.gateway_operator.simulation.fake_cluster import START
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults, World
from tests.unit.gateway_operator.simulation.test_crash_points import (
    check_backup,
    check_restore,
    run_once,
    with_backup,
    with_restore,
)

DAY = 24 * 3600


def passing(code: str = "InternalError") -> AdminApiError:
    """A retryable failure of an admin API call."""
    return AdminApiError(code, "not now", retryable=True)


def lose_answers(world: World, code: str = "CallTimedOut") -> None:
    """Every backup call is executed, and its answer is lost."""
    make = world.admin.backup

    async def backup(target: AdminTarget, call: CallBackup) -> BackupRecord:
        await make(target, call)
        raise AdminApiError(code, "no answer", retryable=True, outcome_unknown=True)

    world.admin.backup = backup  # type: ignore[method-assign]


def deleted(world: World, *, delete_file: bool = True) -> None:
    """Mark the backup as being deleted since now."""
    body = world.cluster.objects[("GatewayBackup", "b")]
    body["spec"]["deleteFile"] = delete_file
    body["metadata"]["deletionTimestamp"] = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def reasons(world: World) -> list[str]:
    """The reasons of all emitted events, in order."""
    return [note.reason for note in world.cluster.events]


def test_retries_are_counted_and_end() -> None:
    world, ref = with_backup()
    world.admin.failing = [passing() for _ in range(99)]
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"], status["attempt"]) == ("Failed", "InternalError", 6)
    assert len(status["lastErrors"]) == 6
    assert reasons(world) == ["InternalError", "InternalError"]


def test_crash_does_not_consume_an_attempt() -> None:
    for number in range(1, 10):
        world, ref = with_backup(Faults(crash_after={number, number + 1, number + 2}))
        world.run(ref)
        assert world.cluster.status(ref)["attempt"] == 1


def test_busy_gateway_consumes_time_but_no_attempt() -> None:
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


def test_backup_on_the_volume_completes_although_all_answers_are_lost() -> None:
    world, ref = with_backup()
    lose_answers(world)
    world.run(ref)
    check_backup(world, ref)


def test_backup_completes_if_its_description_was_edited_after_the_call() -> None:
    """The description is part of the request, so the admin API refuses the repeated one."""
    world, ref = with_backup()
    make, made = world.admin.backup, list[BackupRecord]()

    async def backup(target: AdminTarget, call: CallBackup) -> BackupRecord:
        if made:
            raise AdminApiError("RequestIdReused", "another body", retryable=False)
        made.append(await make(target, call))
        raise AdminApiError("CallTimedOut", "no answer", retryable=True, outcome_unknown=True)

    world.admin.backup = backup  # type: ignore[method-assign]
    world.run(ref)
    check_backup(world, ref)


def test_backup_on_the_volume_completes_after_its_deadline() -> None:
    """The operator crashed after the call and was down for a day."""
    for number in range(1, 20):
        world, ref = with_backup(Faults(crash_after={number}))
        run_once(world, ref)
        if world.admin.files_made:
            world.clock.advance(DAY)
            world.run(ref)
            check_backup(world, ref)


def test_no_backup_starts_after_the_starting_deadline() -> None:
    world, ref = with_backup()
    world.clock.advance(DAY)
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", "StartingDeadlineExceeded")
    assert world.admin.files_made == 0


def test_backup_fails_if_its_file_is_removed_before_verification() -> None:
    for number in range(1, 20):
        world, ref = with_backup(Faults(crash_after={number}), level="Stored")
        run_once(world, ref)
        if world.cluster.status(ref).get("phase") == "Verifying":
            world.admin.backups.clear()
            world.run(ref)
            status = world.cluster.status(ref)
            assert (status["phase"], status["reason"]) == ("Failed", "RecordMismatch")
            return
    raise AssertionError("No crash left the backup in phase Verifying.")


@pytest.mark.parametrize("why", ["unreachable", "moved", "gone"])
def test_deletion_always_ends_and_keeps_the_file_in_doubt(why: str) -> None:
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


def test_encrypted_backup_has_an_age_suffix_that_never_changes() -> None:
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
    assert world.admin.files_made == 1


def test_deletion_without_delete_file_calls_no_gateway() -> None:
    world, ref = with_backup()
    world.run(ref)
    deleted(world, delete_file=False)
    world.run(ref, forget=True)
    assert len(world.admin.backups) == 1
    assert world.faults.names.count("delete_backup") == 0


def restored(world: World, ref: Ref) -> dict[str, object]:
    """Run the restore to its end and return its status."""
    world.run(ref)
    return world.cluster.status(ref)


def test_restore_is_retried_if_the_gateway_wrote_its_config() -> None:
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


def test_restore_rolls_back_if_the_gateway_keeps_writing_its_config() -> None:
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


def test_unreachable_gateway_after_the_call_ends_as_state_unknown() -> None:
    """The restore was sent and the gateway no longer answers: it may or may not have been applied."""
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


@pytest.mark.parametrize("answer", ["CallTimedOut", "InProgress", None], ids=["none", "in progress", "operator ended"])
@pytest.mark.parametrize("timeout", [10, 60])
def test_call_that_is_carried_out_after_the_deadline_is_not_missed(answer: str | None, timeout: int) -> None:
    """The call is sent shortly before the deadline, and a slow gateway replaces the config twenty seconds after it."""
    world, ref = with_restore(timeoutSeconds=timeout)
    restore, read = world.admin.restore, world.admin.read_restore
    sent: list[tuple[object, ...]] = []

    async def slow(*arguments: object) -> object:
        sent.append(arguments)
        world.clock.advance(timeout + 1)
        if answer is None:
            raise CrashError("the operator ended")
        raise AdminApiError(answer, "no answer", retryable=True, outcome_unknown=True)

    async def late(target: AdminTarget, request_id: str) -> object:
        if sent and world.clock.now() >= sent_at + timedelta(seconds=timeout + 20):
            await restore(*sent.pop())  # type: ignore[arg-type]
        return await read(target, request_id)

    sent_at = world.clock.now()
    world.admin.restore, world.admin.read_restore = slow, late  # type: ignore[assignment, method-assign]
    assert restored(world, ref)["phase"] in ("Completed", "RolledBack")
    check_restore(world, ref)


@pytest.mark.parametrize("timeout", [10, 29, 60])
def test_call_that_is_never_carried_out_ends_the_restore_as_failed(timeout: int) -> None:
    world, ref = with_restore(timeoutSeconds=timeout)

    async def lost(*_: object) -> object:
        world.clock.advance(timeout + 1)
        raise AdminApiError("CallTimedOut", "no answer", retryable=True, outcome_unknown=True)

    world.admin.restore = lost  # type: ignore[assignment, method-assign]
    status = restored(world, ref)
    assert (status["phase"], check_restore(world, ref)) == ("Failed", "Failed")
    assert status["reason"] != "RestoreStateUnknown"


def test_rollback_by_a_user_is_reported() -> None:
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


def test_restore_waits_for_its_gateway_until_the_deadline() -> None:
    world, ref = with_restore()
    world.cluster.present = False
    status = restored(world, ref)
    assert (status["phase"], status["reason"]) == ("Failed", "GatewayNotFound")
    assert world.admin.live == "old"


def test_rollback_keeps_its_cause_after_other_messages() -> None:
    """The cause is a field of the status: a message about a missing permission must not replace it."""
    cause = {"reason": "RestartFailed", "message": "The pods were not replaced in time."}
    status = {"phase": "RollingBack", "reason": "NotAuthorized", "message": "Forbidden.", "failure": cause}
    spec = {"gatewayRef": {"name": "gw"}, "backupName": "b", "restart": "Never"}
    restore = Restore.parse(
        {"metadata": {"name": "r", "uid": "u", "finalizers": [RESTORE_FINALIZER]}, "spec": spec, "status": status}
    )
    result = restore_result(state=RestoreState.rolled_back)
    action = decide_restore(RestoreObservation(restore, journal=result), START)
    assert isinstance(action, Finish)
    assert (action.status["phase"], action.status["reason"]) == ("RolledBack", "RestartFailed")
    assert action.status["message"] == "The pods were not replaced in time. The previous config is live again."
    assert action.status["failure"] == cause


def test_failure_field_is_set_by_an_attempt_and_removed_at_completion() -> None:
    world, ref = with_backup()
    world.admin.failing = [passing()]
    run_once(world, ref)
    assert world.cluster.status(ref)["failure"] == {"reason": "InternalError", "message": "not now"}
    world.clock.advance(60)
    world.run(ref)
    check_backup(world, ref)
    assert "failure" not in world.cluster.status(ref)
