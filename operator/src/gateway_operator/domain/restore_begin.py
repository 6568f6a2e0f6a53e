"""A GatewayRestore until the config is replaced: nothing has changed yet, and every failure ends in Failed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_api.contract import RestoreResult, RestoreState, SystemHealthData
from gateway_operator.domain import attempts, times
from gateway_operator.domain.actions import CallRestore, CreateSafetyBackup, Poll, RestoreAction, Wait, Write
from gateway_operator.domain.calls import Failure, NotFound, counts_status
from gateway_operator.domain.gateway import Endpoint, Problem
from gateway_operator.domain.names import ENCRYPTED, restore_request_id, safety_backup_name
from gateway_operator.domain.objects import Restore
from gateway_operator.domain.reasons import Reason
from gateway_operator.domain.restore_end import finish, out_of_time, roll_back, step
from gateway_operator.domain.restore_observed import Observed
from gateway_operator.domain.source import Refusal, resolve

SAFETY_POLL: Final = 1.0
_SHORTEST_CALL: Final = 5.0
_SAFETY_GRACE: Final = 30.0
_SETTLE: Final = 30.0
_LOOK: Final = 5.0


def deadline(restore: Restore) -> datetime:
    """Until when it must have started, or, once started, must have been applied."""
    started = restore.time("startTime")
    if started is None:
        return times.later(restore.meta.created, restore.starting_deadline)
    return times.later(started, restore.timeout)


def _unusable(seen: Observed, now: datetime) -> RestoreAction | None:
    """What every phase before the config changes has to ask first. None: the gateway answers, and there is time."""
    restore = seen.restore
    if isinstance(seen.answer, Failure):
        return _failed(seen, seen.answer, now)
    if now >= deadline(restore):
        return out_of_time(restore, seen.identity or seen.gateway, now)
    if not isinstance(seen.gateway, Endpoint):
        return attempts.wait_for_gateway(restore, seen.gateway, deadline(restore), now)
    if isinstance(seen.health, Failure):
        return _failed(seen, seen.health, now)
    if isinstance(seen.journal, Failure):
        return _failed(seen, seen.journal, now)
    return None


def _failed(seen: Observed, failure: Failure, now: datetime) -> RestoreAction:
    """A call failed before anything is known to have changed."""
    if attempts.may_pass(failure) and now < deadline(seen.restore):
        return attempts.again(seen.restore, failure, now)
    message = failure.sentence()
    if failure.code == "RestorePending":
        message = pending_message(seen.health, seen.pending_owner, failure)
    errors = attempts.with_error(seen.restore, failure, now)
    return finish(seen.restore, "Failed", failure.code, message, now, {"lastErrors": errors})


def pending_request(health: SystemHealthData | Failure | None) -> str | None:
    """The request id of the restore that is neither committed nor rolled back; None if there is none, or no answer."""
    pending = health.pending_restore if isinstance(health, SystemHealthData) else None
    return pending.request_id if pending is not None else None


def pending_message(
    health: SystemHealthData | Failure | None, owner: str | None, failure: Failure | None = None
) -> str:
    """Who holds the gateway in an unfinished restore, and how to end that."""
    request = pending_request(health)
    if owner is not None:
        who = f"GatewayRestore {owner} is not finished, or was left by its onFailure: Leave"
    else:
        who = "its GatewayRestore no longer exists"
    name = request or "REQUEST_ID"
    said = f"{failure.message} " if failure else ""
    return (
        f"{said}Another restore ({name}) is neither committed nor rolled back: {who}. If it still runs, wait for it; "
        f"else end it with POST /api/v1/system/restores/{name}/commit (keeps the config as it is) or …/rollback (puts "
        "the one before it back) on the gateway's admin API, then restore under another name."
    )


def pending(seen: Observed, now: datetime) -> RestoreAction:
    """Wait for a gateway that answers."""
    if isinstance(seen.answer, Failure) and seen.answer.code == Reason.NotAuthorized:
        problem = Problem(seen.answer.code, seen.answer.message, forbidden=True)
        return attempts.wait_for_gateway(seen.restore, problem, deadline(seen.restore), now)
    refused = _unusable(seen, now)
    if refused is not None:
        return refused
    status: dict[str, Any] = {"startTime": times.text(now), "pod": _pod(seen)}
    fixed = attempts.authorized(seen.restore, None, now)
    if fixed is not None:
        status["conditions"] = fixed
    return step(seen.restore, "Validating", Reason.Validating, "The source is being looked up.", now, status)


def _pod(seen: Observed) -> str:
    return seen.gateway.pod if isinstance(seen.gateway, Endpoint) else ""


def validating(seen: Observed, now: datetime) -> RestoreAction:
    """Find out what to restore, once, and whether it has been done already."""
    restore = seen.restore
    refused = _unusable(seen, now)
    if refused is not None:
        return refused
    health = seen.health
    if not isinstance(health, SystemHealthData) or health.volume_id is None:
        message = f"The admin API in pod {_pod(seen)} does not say which volume it has."
        return _failed(seen, Failure(Reason.VolumeUnknown, message, retryable=True), now)
    request_id = restore_request_id(health.volume_id, restore.meta.ref.namespace, restore.meta.ref.name, restore.spec)
    if restore.request_id != request_id:
        # Before the source: a finished restore has run, whether or not its backup still exists.
        ids = {"requestID": request_id, "volumeID": health.volume_id, "gatewayID": health.gateway_id}
        return Write(ids)
    if isinstance(seen.journal, RestoreResult):
        return _known_already(restore, seen.journal, now)
    if not restore.source:
        return _resolve(seen, health, health.volume_id, now)
    if seen.identity is not None:
        return _without_identity(restore, seen.identity, now)
    fixed = attempts.authorized(restore, None, now)
    message = "The live config is being backed up before it is replaced."
    more = {"conditions": fixed} if fixed is not None else {}
    return step(restore, "SafetyBackup", Reason.SafetyBackup, message, now, more)


def _known_already(restore: Restore, record: RestoreResult, now: datetime) -> RestoreAction:
    """The journal has this request although this object never sent it: an earlier one of the same name and spec did."""
    if record.state is RestoreState.committed:
        message = "A restore of this name and spec was already committed on this volume; nothing was done now."
        return finish(restore, "Completed", Reason.AlreadyApplied, message, now, applied_status(record))
    if record.state is RestoreState.rolled_back:
        message = "A restore of this name and spec was already rolled back on this volume; nothing was done now."
        said = f"{message} To run it again, give it another name."
        return finish(restore, "Failed", Reason.AlreadyApplied, said, now, applied_status(record))
    if record.state is RestoreState.applied:
        message = "An earlier object of this name began this restore; it goes on."
        return step(restore, "Restarting", Reason.Restarting, message, now, applied_status(record))
    message = "An earlier object of this name began this restore, and the admin API cannot tell how far it came."
    return finish(restore, "Failed", "RestoreStateUnknown", message, now)


def _resolve(seen: Observed, health: SystemHealthData, volume_id: str, now: datetime) -> RestoreAction:
    restore = seen.restore
    if pending_request(health) not in (None, restore.request_id):
        message = pending_message(health, seen.pending_owner)
        return finish(restore, "Failed", "RestorePending", message, now)
    if seen.persistent is False:
        message = f"{health.config_path} in pod {_pod(seen)} is not on a persistent volume: a restart undoes a restore."
        return finish(restore, "Failed", Reason.ConfigNotPersistent, message, now)
    source = resolve(restore, seen.backups, volume_id)
    if isinstance(source, Refusal):
        return finish(restore, "Failed", source.reason, source.message, now)
    if restore.identity is None and (source.path or "").endswith(ENCRYPTED):
        message = f"{source.path} is encrypted: name the Secret with the age identity in spec.identitySecretRef."
        return finish(restore, "Failed", "IdentityRequired", message, now)
    return Write({"source": source.status()})


def _without_identity(restore: Restore, problem: Problem, now: datetime) -> RestoreAction:
    """A Secret may be applied after the restore that names it, and so may a right; the rest is a refusal."""
    if problem.forbidden or problem.reason == Reason.IdentityMissing:
        return attempts.wait_for_gateway(restore, problem, deadline(restore), now)
    return finish(restore, "Failed", problem.reason, problem.message, now)


def safety_backup(seen: Observed, now: datetime) -> RestoreAction:
    """Keep what is about to be replaced."""
    restore = seen.restore
    if restore.safety_backup == "Skip":
        return _to_restoring(restore, "No safety backup was asked for.", now, {"kind": "none"})
    safety = seen.safety
    if safety is not None and safety.phase == "Completed":
        kept = {"kind": "backup", "backupName": safety.meta.ref.name, "path": safety.status.get("path")}
        return _to_restoring(restore, f"Kept as GatewayBackup {safety.meta.ref.name}.", now, kept)
    if safety is not None and safety.phase in ("Failed", "Deleting"):
        return _safety_failed(restore, str(safety.status.get("message", "")), safety.meta.ref.name, now)
    if safety is not None:
        since = safety.meta.created
        limit = safety.starting_deadline + safety.timeout + _SAFETY_GRACE
        if (now - since).total_seconds() > limit:
            return _safety_failed(restore, "It did not finish in time.", safety.meta.ref.name, now)
        return Poll(SAFETY_POLL)
    refused = _unusable(seen, now)
    if refused is not None:
        return refused
    if isinstance(seen.health, SystemHealthData) and not seen.health.config_valid:
        message = "The live config cannot be read as one: the admin API keeps it as it is."
        return _to_restoring(restore, message, now, {})
    return CreateSafetyBackup(safety_backup_name(restore.meta.ref.name, restore.uid))


def _safety_failed(restore: Restore, why: str, name: str, now: datetime) -> RestoreAction:
    if restore.safety_backup == "Required":
        message = f"The safety backup {name} failed, and it is required: {why}"
        return finish(restore, "Failed", Reason.SafetyBackupFailed, message, now)
    message = f"The safety backup {name} failed: {why} Going on: the previous config is still kept for a rollback."
    return _to_restoring(restore, message, now, {"kind": "kept", "backupName": name})


def _to_restoring(restore: Restore, message: str, now: datetime, kept: dict[str, Any]) -> RestoreAction:
    said = "The admin API has been asked to replace the config."
    more = {"safetyBackup": kept} if kept else {}
    return step(restore, "Restoring", Reason.Restoring, said, now, more, ended=message)


def restoring(seen: Observed, now: datetime) -> RestoreAction:
    """Replace the config. The call is repeated until it is answered: only its answer says that the gateway, which may
    have been in the middle of a write of its own, has let the new config stand."""
    restore = seen.restore
    if isinstance(seen.answer, RestoreResult):
        return _applied(restore, seen.answer, now)
    record = seen.journal if isinstance(seen.journal, RestoreResult) else None
    if record is not None and record.state is RestoreState.rolled_back:
        message = "It was rolled back by somebody else; the previous config is in place."
        return finish(restore, "RolledBack", Reason.RolledBack, message, now, applied_status(record))
    if record is not None and record.state is RestoreState.committed:
        return _applied(restore, record, now)
    over = now >= deadline(restore)
    if record is not None and record.state is RestoreState.applied and (over or not _may_repeat(seen)):
        return _given_up(seen, record, now)
    if over:
        return _is_it_applied(seen, now)
    refused = _unusable(seen, now)
    if refused is not None:
        return refused
    source = restore.source
    by_id = source.get("backupID")
    return CallRestore(
        request_id=restore.request_id,
        backup_id=by_id,
        path=None if by_id else source.get("path"),
        expected_sha256=source.get("sha256"),
        safety_backup=_asked_of_the_api(restore),
        timeout=max(_SHORTEST_CALL, times.seconds_until(deadline(restore), now)),
        identity=restore.needed_identity,
        identity_optional=record is not None and record.state is RestoreState.applied,
        accept_unsigned=restore.accept_unsigned,
    )


def _may_repeat(seen: Observed) -> bool:
    return not isinstance(seen.answer, Failure) or attempts.may_pass(seen.answer)


def _applied(restore: Restore, record: RestoreResult, now: datetime) -> RestoreAction:
    status = applied_status(record, restore)
    return step(restore, "Restarting", Reason.Restarting, "The config is replaced.", now, status)


def _given_up(seen: Observed, record: RestoreResult, now: datetime) -> RestoreAction:
    """The config was replaced, and did not stand: what was kept of it goes back."""
    why = seen.answer.message if isinstance(seen.answer, Failure) else "The gateway kept writing over the new config."
    return roll_back(seen.restore, Reason.ConfigOverwritten, why, now, applied_status(record, seen.restore))


def _is_it_applied(seen: Observed, now: datetime) -> RestoreAction:
    """Time is up in the middle of the call. Only the journal may say that nothing was changed.

    A call that was given up may still be at work in the pod, so the journal's silence counts only after a while; and a
    gateway that cannot be asked is asked for as long again.
    """
    restore = seen.restore
    over = -times.seconds_until(deadline(restore), now)
    if isinstance(seen.journal, NotFound) and (over >= _SETTLE or not restore.status.get("lastErrors")):
        return out_of_time(restore, seen.gateway, now)
    if over < restore.timeout:
        problem = seen.gateway if isinstance(seen.gateway, Problem) else None
        said = problem.message if problem else "The admin API does not say how far the restore is."
        reason = str(problem.reason) if problem else restore.reason
        return Wait(_LOOK, {"reason": reason, "message": f"{said} Waiting to know whether the config was replaced."})
    message = (
        f"The gateway could not be asked whether the config was replaced. GET /api/v1/system/restores/"
        f"{restore.request_id} on its admin API tells; `applied` there waits for a commit or a rollback."
    )
    return finish(restore, "Failed", "RestoreStateUnknown", message, now)


def _asked_of_the_api(restore: Restore) -> bool | str:
    """A safety backup by the API itself, only where there is none yet and one is wanted.

    It must not depend on anything that may change between two calls: the same request has the same body.
    """
    if restore.status.get("safetyBackup"):
        return False
    return "required" if restore.safety_backup == "Required" else True


def applied_status(record: RestoreResult, restore: Restore | None = None) -> dict[str, Any]:
    """What the journal says, as the status shows it."""
    status: dict[str, Any] = {
        "previousDigest": record.previous_sha256,
        "restoredDigest": record.restored_sha256,
        "sectionsDigest": record.sections_digest,
        "counts": counts_status(record.counts),
    }
    if restore is None or not restore.status.get("safetyBackup"):
        kept = {"kind": record.safety_backup.kind, "path": record.safety_backup.path}
        status["safetyBackup"] = {key: value for key, value in kept.items() if value is not None}
    return status
