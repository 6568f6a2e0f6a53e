"""Decides the step Validating of a GatewayRestore: everything that can be known before anything changes.

The source is resolved and recorded. Then the admin API makes a dry run: it reads the file with the digest, signature
and identity of the spec, and returns the difference. In mode DryRun this is the result.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway_api.contract import ErrorCode, RestorePlan, RestoreResult, RestoreState, SystemHealthData
from gateway_operator.domain.model import retry
from gateway_operator.domain.model.actions import CallPlan, RestoreAction, Write
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.approval import wait as approval
from gateway_operator.domain.restore.commands import pending_message, pending_request
from gateway_operator.domain.restore.obstacles import restart_problem, wait_or_end
from gateway_operator.domain.restore.plan import diff_status, diff_text, plan_refusal
from gateway_operator.domain.restore.prepare import call_failed, pod_name, replacement_call, unusable, wait_for_other
from gateway_operator.domain.restore.request_id import restore_request_id
from gateway_operator.domain.restore.source import Refusal, resolve
from gateway_operator.domain.restore.status import RestoreObservation, applied_status, finish, step


def validating(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Resolve the source once, after a check that this restore has not run already. Then check the dry run."""
    restore = observed.restore
    refused = unusable(observed, now)
    if refused is not None:
        return refused
    if observed.volumes_problem is not None:
        return wait_or_end(restore, observed.volumes_problem, now)
    health = observed.health
    scope = _scope(restore, health)
    if not isinstance(health, SystemHealthData) or scope is None:
        which = "volume" if restore.names_backup else "gateway"
        message = f"The admin API in pod {pod_name(observed)} does not say which {which} it has."
        return call_failed(observed, Failure(Reason.VolumeUnknown, message, retryable=True), now)
    ids = {"volumeID": health.volume_id, "gatewayID": health.gateway_id}
    if not restore.is_dry_run:
        request_id = restore_request_id(scope, restore.meta.ref.namespace, restore.meta.ref.name, restore.spec)
        if restore.request_id != request_id:
            if restore.approved:
                message = f"The gateway has another volume ({health.volume_id}) than when the restore was approved."
                return finish(restore, "Failed", Reason.WrongVolume, message, now)
            # Durable before anything else: the journal is read under this id. It is asked before the source is
            # resolved, because a restore that has run must be recognised even when its backup no longer exists.
            return Write({"requestID": request_id, **ids})
        if isinstance(observed.journal, RestoreResult):
            return _resume_from_record(restore, observed.journal, now)
    if observed.running_restore is not None:
        return wait_for_other(observed, observed.running_restore, now)
    if not restore.source:
        return _resolve(observed, health, ids, now)
    problem = observed.identity_problem or (None if restore.is_dry_run else restart_problem(observed))
    if problem is not None:
        return wait_or_end(restore, problem, now)
    if not isinstance(observed.answer, RestorePlan):
        # It changes nothing, so a crash needs no record of it.
        return CallPlan(replacement_call(restore, now))
    refusal = plan_refusal(restore, health, observed.answer)
    if refusal is not None:
        return finish(restore, "Failed", refusal.reason, refusal.message, now)
    if restore.is_dry_run:
        return _report(observed, observed.answer, now)
    if approval.is_needed(observed):
        # With the difference, so that the second person sees what would change.
        return approval.request(observed, diff_status(observed.answer), now)
    fixed = retry.authorized_conditions(restore, None, now)
    message = "The live config is being backed up before it is replaced."
    extra_status = {"conditions": fixed} if fixed is not None else {}
    return step(restore, "SafetyBackup", Reason.SafetyBackup, message, now, extra_status)


def _scope(restore: Restore, health: SystemHealthData | Failure | None) -> str | None:
    """The id in which this restore runs once: the backup volume, or the gateway where no backup is named."""
    if not isinstance(health, SystemHealthData):
        return None
    return health.volume_id if restore.names_backup else health.gateway_id


def _report(observed: RestoreObservation, plan: RestorePlan, now: datetime) -> RestoreAction:
    """End a dry run with the difference, and with the obstacle that a restore would meet now."""
    diff, message = diff_status(plan), f"{diff_text(plan)} Nothing was changed."
    obstacle = restart_problem(observed) or _not_persistent(observed)
    if obstacle is not None:
        message = f"{message} A restore would be refused now: {obstacle.message}"
        diff["obstacle"] = obstacle.message
    status = {"diff": diff, "restoredDigest": plan.restored_sha256}
    return finish(observed.restore, "Completed", Reason.WouldRestore, message, now, status)


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
        # Durable: the journal proves that the config is replaced, so no phase before that is entered again.
        return step(restore, "Restarting", Reason.Restarting, message, now, applied_status(record))
    message = "An earlier object of this name started this restore, and the admin API does not report its state."
    return finish(restore, "Failed", ErrorCode.RestoreStateUnknown, message, now)


def _resolve(
    observed: RestoreObservation, health: SystemHealthData, ids: dict[str, Any], now: datetime
) -> RestoreAction:
    restore = observed.restore
    # A running restore ends itself: to commit it here would take its rollback away.
    supersedes = restore.supersede and not observed.pending_owner_runs
    if pending_request(health) not in (None, restore.request_id) and not supersedes:
        message = pending_message(restore, health, observed.pending_owner)
        return finish(restore, "Failed", ErrorCode.RestorePending, message, now)
    obstacle = _not_persistent(observed)
    if obstacle is not None and not restore.is_dry_run:
        return finish(restore, "Failed", obstacle.reason, obstacle.message, now)
    source = resolve(restore, observed.backups, health.volume_id or "")
    if isinstance(source, Refusal):
        return finish(restore, "Failed", source.reason, source.message, now)
    # Durable before the safety backup: `latest` must mean the same backup after a restart of the operator.
    return Write({"source": source.status(), **(ids if restore.is_dry_run else {})})


def _not_persistent(observed: RestoreObservation) -> GatewayProblem | None:
    health = observed.health
    if observed.persistent is not False or not isinstance(health, SystemHealthData):
        return None
    message = (
        f"{health.config_path} in pod {pod_name(observed)} is not on a persistent volume: a restart undoes a restore."
    )
    return GatewayProblem(Reason.ConfigNotPersistent, message)
