"""Decides the steps of a GatewayRestore until the config is replaced: Pending, Validating, SafetyBackup, Restoring.

The live config is unchanged in these phases, so every failure ends in Failed. Restoring is the exception: when its call
was sent and no answer came, only the admin API's journal tells whether the config was replaced.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_api.contract import RestoreResult, RestoreState, SystemHealthData
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import retry, timestamps
from gateway_operator.domain.model.actions import (
    CallRestore,
    CreateSafetyBackup,
    RecheckSoon,
    RestoreAction,
    Wait,
    Write,
)
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.names import ENCRYPTED, safety_backup_name
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.obstacles import restart_problem, wait_or_end
from gateway_operator.domain.restore.pending_restore import pending_message, pending_request
from gateway_operator.domain.restore.request_id import restore_request_id
from gateway_operator.domain.restore.source import Refusal, resolve
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
_ABANDONED_CALL_SECONDS: Final = 30.0
_RECHECK_SECONDS: Final = 5.0


def _unusable(observed: RestoreObservation, now: datetime) -> RestoreAction | None:
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
    if failure.code == "RestorePending":
        message = pending_message(observed.health, observed.pending_owner, failure)
    errors = retry.with_error(observed.restore, failure, now)
    return finish(observed.restore, "Failed", failure.code, message, now, {"lastErrors": errors})


def pending(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Wait for a gateway that answers."""
    if isinstance(observed.answer, Failure) and observed.answer.code == Reason.NotAuthorized:
        problem = GatewayProblem(observed.answer.code, observed.answer.message, forbidden=True)
        return retry.wait_for_gateway(observed.restore, problem, deadline(observed.restore), now)
    refused = _unusable(observed, now)
    if refused is not None:
        return refused
    status: dict[str, Any] = {"startTime": timestamps.text(now), "pod": _pod(observed)}
    fixed = retry.authorized_conditions(observed.restore, None, now)
    if fixed is not None:
        status["conditions"] = fixed
    return step(observed.restore, "Validating", Reason.Validating, "The source is being looked up.", now, status)


def _pod(observed: RestoreObservation) -> str:
    return observed.gateway.pod if isinstance(observed.gateway, Endpoint) else ""


def validating(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Resolve the source once, after a check that this restore has not run already."""
    restore = observed.restore
    refused = _unusable(observed, now)
    if refused is not None:
        return refused
    if observed.volumes_problem is not None:
        return wait_or_end(restore, observed.volumes_problem, now)
    health = observed.health
    if not isinstance(health, SystemHealthData) or health.volume_id is None:
        message = f"The admin API in pod {_pod(observed)} does not say which volume it has."
        return call_failed(observed, Failure(Reason.VolumeUnknown, message, retryable=True), now)
    request_id = restore_request_id(health.volume_id, restore.meta.ref.namespace, restore.meta.ref.name, restore.spec)
    if restore.request_id != request_id:
        # Durable before anything else: the journal is read under this id. It is asked before the source is resolved,
        # because a restore that has run must be recognised even when its backup no longer exists.
        ids = {"requestID": request_id, "volumeID": health.volume_id, "gatewayID": health.gateway_id}
        return Write(ids)
    if isinstance(observed.journal, RestoreResult):
        return _resume_from_record(restore, observed.journal, now)
    if not restore.source:
        return _resolve(observed, health, health.volume_id, now)
    problem = observed.identity_problem or restart_problem(observed)
    if problem is not None:
        return wait_or_end(restore, problem, now)
    fixed = retry.authorized_conditions(restore, None, now)
    message = "The live config is being backed up before it is replaced."
    extra_status = {"conditions": fixed} if fixed is not None else {}
    return step(restore, "SafetyBackup", Reason.SafetyBackup, message, now, extra_status)


def _resume_from_record(restore: Restore, record: RestoreResult, now: datetime) -> RestoreAction:
    """Continue or end from a journal record that an earlier object of the same name and spec created."""
    if record.state is RestoreState.committed:
        message = "A restore of this name and spec was already committed on this volume. Nothing was changed."
        return finish(restore, "Completed", Reason.AlreadyApplied, message, now, applied_status(record))
    if record.state is RestoreState.rolled_back:
        message = "A restore of this name and spec was already rolled back on this volume. Nothing was changed."
        message = f"{message} To run it again, give it another name."
        return finish(restore, "Failed", Reason.AlreadyApplied, message, now, applied_status(record))
    if record.state is RestoreState.applied:
        message = "An earlier object of this name started this restore; it continues."
        return step(restore, "Restarting", Reason.Restarting, message, now, applied_status(record))
    message = "An earlier object of this name started this restore, and the admin API does not report its state."
    return finish(restore, "Failed", "RestoreStateUnknown", message, now)


def _resolve(observed: RestoreObservation, health: SystemHealthData, volume_id: str, now: datetime) -> RestoreAction:
    restore = observed.restore
    if pending_request(health) not in (None, restore.request_id):
        message = pending_message(health, observed.pending_owner)
        return finish(restore, "Failed", "RestorePending", message, now)
    if observed.persistent is False:
        message = (
            f"{health.config_path} in pod {_pod(observed)} is not on a persistent volume: a restart undoes a restore."
        )
        return finish(restore, "Failed", Reason.ConfigNotPersistent, message, now)
    source = resolve(restore, observed.backups, volume_id)
    if isinstance(source, Refusal):
        return finish(restore, "Failed", source.reason, source.message, now)
    if restore.identity is None and (source.path or "").endswith(ENCRYPTED):
        message = f"{source.path} is encrypted: name the Secret with the age identity in spec.identitySecretRef."
        return finish(restore, "Failed", "IdentityRequired", message, now)
    # Durable before the safety backup: `latest` must mean the same backup after a restart of the operator.
    return Write({"source": source.status()})


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
    refused = _unusable(observed, now)
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
    return step(restore, "Restoring", Reason.Restoring, next_message, now, extra_status, ended=message)


def restoring(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Replace the config.

    The call is repeated until it is answered, also when the journal says ``applied``. Only the answer proves that the
    gateway has not overwritten the new config with a write that was already under way.
    """
    restore = observed.restore
    if isinstance(observed.answer, RestoreResult):
        return _applied(restore, observed.answer, now)
    record = observed.journal if isinstance(observed.journal, RestoreResult) else None
    if record is not None and record.state is RestoreState.rolled_back:
        message = "Someone else rolled the restore back through the admin API; the previous config is live."
        return finish(restore, "RolledBack", Reason.RolledBack, message, now, applied_status(record))
    if record is not None and record.state is RestoreState.committed:
        return _applied(restore, record, now)
    over = now >= deadline(restore)
    if record is not None and record.state is RestoreState.applied and (over or not _may_repeat(observed)):
        return _abandoned(observed, record, now)
    if over:
        return _check_applied(observed, now)
    refused = _unusable(observed, now)
    if refused is not None:
        return refused
    source = restore.source
    by_id = source.get("backupID")
    # The admin API runs a request id once, so a repeated call after a crash or a lost answer is harmless.
    return CallRestore(
        request_id=restore.request_id,
        backup_id=by_id,
        path=None if by_id else source.get("path"),
        expected_sha256=source.get("sha256"),
        safety_backup=_safety_backup_option(restore),
        timeout=max(_MIN_CALL_SECONDS, timestamps.seconds_until(deadline(restore), now)),
        identity=restore.needed_identity,
        identity_optional=record is not None and record.state is RestoreState.applied,
        accept_unsigned=restore.accept_unsigned,
    )


def _may_repeat(observed: RestoreObservation) -> bool:
    return not isinstance(observed.answer, Failure) or retry.is_retryable(observed.answer)


def _applied(restore: Restore, record: RestoreResult, now: datetime) -> RestoreAction:
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

    A call that failed without an answer may still run in the pod. After such a call, a journal without a record counts
    only 30 s after the deadline. A gateway that does not answer is called for another ``timeoutSeconds``.
    """
    restore = observed.restore
    over = -timestamps.seconds_until(deadline(restore), now)
    if isinstance(observed.journal, NotFound) and (
        over >= _ABANDONED_CALL_SECONDS or not restore.status.get("lastErrors")
    ):
        return deadline_exceeded(restore, observed.gateway, now)
    if over < restore.timeout:
        problem = observed.gateway if isinstance(observed.gateway, GatewayProblem) else None
        message = problem.message if problem else "The admin API does not report the state of the restore."
        reason = str(problem.reason) if problem else restore.reason
        return Wait(
            _RECHECK_SECONDS,
            {"reason": reason, "message": f"{message} It is not known yet whether the config was replaced; retrying."},
        )
    message = (
        f"It is not known whether the config was replaced: the gateway did not answer. GET /api/v1/system/restores/"
        f"{restore.request_id} on its admin API shows the state; `applied` needs a commit or a rollback."
    )
    return finish(restore, "Failed", "RestoreStateUnknown", message, now)


def _safety_backup_option(restore: Restore) -> bool | str:
    """The ``safety_backup`` field of the call: False if there is a GatewayBackup or if none is requested.

    It depends only on the recorded status, because a repeated request must have the same body.
    """
    if restore.status.get("safetyBackup"):
        return False
    return "required" if restore.safety_backup == "Required" else True
