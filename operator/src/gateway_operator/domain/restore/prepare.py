"""Decides the steps of a GatewayRestore until the config is replaced: Pending, SafetyBackup, Restoring.

The step between Pending and SafetyBackup is in ``validating.py``.

The live config is unchanged in these phases, so every failure ends in Failed. Restoring is the exception: when its call
was sent and no answer came, only the admin API's journal tells whether the config was replaced.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_api.contract import ErrorCode, RestoreResult, RestoreState, SystemHealthData
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import retry, timestamps
from gateway_operator.domain.model.actions import (
    CallReset,
    CallRestore,
    CreateSafetyBackup,
    RecheckSoon,
    RestoreAction,
    Wait,
    Write,
)
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.names import safety_backup_name
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.approval import wait as approval
from gateway_operator.domain.restore.commands import both_commands, pending_message
from gateway_operator.domain.restore.status import (
    RestoreObservation,
    applied_status,
    deadline,
    deadline_exceeded,
    finish,
    kept_note,
    roll_back,
    step,
)

SAFETY_POLL_SECONDS: Final = 1.0
_MIN_CALL_SECONDS: Final = 5.0
_SAFETY_GRACE_SECONDS: Final = 30.0
ABANDONED_CALL_SECONDS: Final = 30.0
"""A call without an answer may still run in the gateway's pod for this time."""
_RECHECK_SECONDS: Final = 5.0


def unusable(observed: RestoreObservation, now: datetime) -> RestoreAction | None:
    """The action if the gateway cannot be used now; None if it answers and the deadline has not passed."""
    restore = observed.restore
    if isinstance(observed.answer, Failure):
        return call_failed(observed, observed.answer, now)
    if now >= deadline(restore):
        return deadline_exceeded(restore, observed.identity_problem or observed.gateway, now)
    if not isinstance(observed.gateway, Endpoint):
        return retry.wait_for_gateway(restore, observed.gateway, deadline(restore), now)
    if isinstance(observed.health, Failure):
        return call_failed(observed, observed.health, now)
    if isinstance(observed.journal, Failure):
        return call_failed(observed, observed.journal, now)
    return None


def call_failed(observed: RestoreObservation, failure: Failure, now: datetime) -> RestoreAction:
    """Retry or end after a call that failed, while the config counts as unchanged."""
    if retry.is_retryable(failure) and now < deadline(observed.restore):
        return retry.retry(observed.restore, failure, now)
    message = failure.sentence()
    if failure.code == ErrorCode.RestorePending:
        if observed.running_restore is not None and now < deadline(observed.restore):
            return wait_for_other(observed, observed.running_restore, now)
        message = pending_message(observed.restore, observed.health, observed.pending_owner, failure)
    errors = retry.with_error(observed.restore, failure, now)
    return finish(observed.restore, "Failed", failure.code, message, now, {"lastErrors": errors})


def pending(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Wait for a gateway that answers, and after Validating for an approval."""
    if observed.restore.awaits_approval:
        return approval.waiting(observed, now)
    if isinstance(observed.answer, Failure) and observed.answer.code == Reason.NotAuthorized:
        problem = GatewayProblem(observed.answer.code, observed.answer.message, forbidden=True)
        return retry.wait_for_gateway(observed.restore, problem, deadline(observed.restore), now)
    refused = unusable(observed, now)
    if refused is not None:
        return refused
    status: dict[str, Any] = {"startTime": timestamps.text(now), "pod": pod_name(observed)}
    fixed = retry.authorized_conditions(observed.restore, None, now)
    if fixed is not None:
        status["conditions"] = fixed
    # Durable: the time limit of the restore counts from this start.
    return step(observed.restore, "Validating", Reason.Validating, "The source is being looked up.", now, status)


def pod_name(observed: RestoreObservation) -> str:
    """The pod whose admin API answers; empty without one."""
    return observed.gateway.pod if isinstance(observed.gateway, Endpoint) else ""


def wait_for_other(observed: RestoreObservation, name: str, now: datetime) -> RestoreAction:
    """Wait for another restore of the gateway, at most until the deadline."""
    message = f"GatewayRestore {name} of the same gateway is running. A gateway has one restore at a time."
    problem = GatewayProblem(Reason.RestoreInProgress, message)
    return retry.wait_for_gateway(observed.restore, problem, deadline(observed.restore), now)


def safety_backup(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Create a GatewayBackup of the live config and wait for its end."""
    restore = observed.restore
    if restore.safety_backup == "Skip":
        return _to_restoring(restore, "safetyBackup is Skip: no safety backup was made.", now, {"kind": "none"})
    safety = observed.safety
    if safety is not None and safety.phase == "Completed":
        kept = {
            "kind": "backup",
            "backupName": safety.meta.ref.name,
            "path": safety.status.get("path"),
            "sha256": safety.status.get("contentDigest"),
        }
        return _to_restoring(restore, f"Kept as GatewayBackup {safety.meta.ref.name}.", now, kept)
    if safety is not None and safety.phase in ("Failed", "Deleting"):
        return _safety_failed(restore, str(safety.status.get("message", "")), safety.meta.ref.name, now)
    if safety is not None:
        since = safety.meta.created
        limit = safety.starting_deadline + safety.timeout + _SAFETY_GRACE_SECONDS
        if (now - since).total_seconds() > limit:
            return _safety_failed(restore, "It did not finish in time.", safety.meta.ref.name, now)
        # The backup takes seconds: this run keeps the object and polls.
        return RecheckSoon(SAFETY_POLL_SECONDS)
    refused = unusable(observed, now)
    if refused is not None:
        return refused
    if isinstance(observed.health, SystemHealthData) and not observed.health.config_valid:
        message = "The live config is invalid and cannot be backed up; the admin API keeps its bytes for a rollback."
        return _to_restoring(restore, message, now, {})
    # The name contains the restore's uid, so after a crash the same GatewayBackup is used.
    return CreateSafetyBackup(safety_backup_name(restore.meta.ref.name, restore.uid))


def _safety_failed(restore: Restore, cause: str, name: str, now: datetime) -> RestoreAction:
    if restore.safety_backup == "Required":
        message = f"The safety backup {name} failed, and it is required: {cause}"
        return finish(restore, "Failed", Reason.SafetyBackupFailed, message, now)
    message = f"The safety backup {name} failed: {cause} The restore continues: the previous config is kept."
    return _to_restoring(restore, message, now, {"kind": "kept", "backupName": name})


def _to_restoring(restore: Restore, message: str, now: datetime, kept: dict[str, Any]) -> RestoreAction:
    next_message = "The admin API was asked to replace the config."
    extra_status = {"safetyBackup": kept} if kept else {}
    # Durable before the call: from this phase on, only the journal can prove that the config is unchanged.
    return step(restore, "Restoring", Reason.Restoring, next_message, now, extra_status, ended=message)


def restoring(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Replace the config.

    The call is repeated until it is answered, also when the journal says ``applied``. Only the answer proves that the
    gateway has not overwritten the new config with a write that was already under way.
    """
    restore = observed.restore
    if isinstance(observed.answer, RestoreResult):
        return applied(restore, observed.answer, now)
    record = observed.journal if isinstance(observed.journal, RestoreResult) else None
    if record is not None and record.state is RestoreState.rolled_back:
        message = "Someone else rolled the restore back through the admin API; the previous config is live."
        return finish(restore, "RolledBack", Reason.RolledBack, message, now, applied_status(record))
    if record is not None and record.state is RestoreState.committed:
        return applied(restore, record, now)
    over = now >= deadline(restore)
    if record is not None and record.state is RestoreState.applied and (over or not _may_repeat(observed)):
        return _abandoned(observed, record, now)
    if over:
        return _check_applied(observed, now)
    refused = unusable(observed, now)
    if refused is not None:
        return refused
    # The admin API runs a request id once, so a repeated call after a crash or a lost answer is harmless.
    return replacement_call(restore, now, identity_optional=record is not None and record.state is RestoreState.applied)


def replacement_call(restore: Restore, now: datetime, *, identity_optional: bool = False) -> CallRestore | CallReset:
    """The call that replaces the config. It depends only on the spec and on the recorded status, except its timeout."""
    timeout = max(_MIN_CALL_SECONDS, timestamps.seconds_until(deadline(restore), now))
    safety = _safety_backup_option(restore)
    if restore.factory_reset is not None:
        rotate = restore.factory_reset.rotate_admin_key
        return CallReset(restore.request_id, rotate, safety, timeout, restore.supersede)
    by_id = restore.source.get("backupID")
    return CallRestore(
        request_id=restore.request_id,
        backup_id=by_id,
        path=None if by_id else restore.source.get("path"),
        expected_sha256=restore.source.get("sha256"),
        safety_backup=safety,
        timeout=timeout,
        identity=restore.needed_identity,
        identity_optional=identity_optional,
        accept_unsigned=restore.accept_unsigned,
        supersede=restore.supersede,
    )


def _may_repeat(observed: RestoreObservation) -> bool:
    return not isinstance(observed.answer, Failure) or retry.is_retryable(observed.answer)


def applied(restore: Restore, record: RestoreResult, now: datetime) -> Write:
    """The status write that enters Restarting, with the digests of the admin API's record."""
    # Durable before the restart: the health check compares the live config with the digests in this status.
    status = applied_status(record, restore)
    return step(restore, "Restarting", Reason.Restarting, f"The config is replaced.{kept_note(record)}", now, status)


def _abandoned(observed: RestoreObservation, record: RestoreResult, now: datetime) -> RestoreAction:
    """Roll back a config that was replaced and then overwritten."""
    cause = (
        observed.answer.message
        if isinstance(observed.answer, Failure)
        else "The gateway kept overwriting the new config."
    )
    return roll_back(observed.restore, Reason.ConfigOverwritten, cause, now, applied_status(record, observed.restore))


def _check_applied(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Decide after the deadline passed during the call. Only the journal can prove that nothing was changed.

    A call without an answer may still run in the pod: it timed out, or the operator was stopped. So a journal without a
    record counts only 30 s after the deadline. A gateway that does not answer is called for another ``timeoutSeconds``.
    """
    restore = observed.restore
    over = -timestamps.seconds_until(deadline(restore), now)
    if isinstance(observed.journal, NotFound) and over >= ABANDONED_CALL_SECONDS:
        return deadline_exceeded(restore, observed.gateway, now)
    if over < max(restore.timeout, ABANDONED_CALL_SECONDS):
        problem = observed.gateway if isinstance(observed.gateway, GatewayProblem) else None
        message = problem.message if problem else "The admin API does not report the state of the restore."
        reason = str(problem.reason) if problem else restore.reason
        # Requeue: only an answer of the gateway can tell whether the config was replaced.
        return Wait(
            _RECHECK_SECONDS,
            {"reason": reason, "message": f"{message} It is not known yet whether the config was replaced; retrying."},
        )
    message = (
        "It is not known whether the config was replaced: the gateway did not answer. When it answers again, end the "
        f"restore: {both_commands(restore)}"
    )
    return finish(restore, "Failed", ErrorCode.RestoreStateUnknown, message, now)


def _safety_backup_option(restore: Restore) -> bool | str:
    """The ``safety_backup`` field of the call: False if there is a GatewayBackup or if none is requested.

    It depends only on the recorded status, because a repeated request must have the same body.
    """
    if restore.status.get("safetyBackup"):
        return False
    return "required" if restore.safety_backup == "Required" else True
