"""Decides the steps of a rollback: put the previous config back, then restart the pods if the restore did.

A rollback that the operator decides never discards a change that someone made after the restore. One that a person
requests does: the admin API keeps the discarded config until a backup holds it.
"""

from __future__ import annotations

from datetime import datetime

from gateway_api.contract import ErrorCode, RestoreResult, RestoreState, SystemHealthData
from gateway_operator.domain.model import retry
from gateway_operator.domain.model.actions import CallRollback, Restart, RestoreAction, Wait
from gateway_operator.domain.model.admin_api import Failure, NotFound, RestartRequested
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.after_apply import (
    digest_problem,
    marker,
    record_restart,
    seconds_in_phase,
    wait,
    wait_for_gateway,
)
from gateway_operator.domain.restore.commands import ROLLBACK, ways_on
from gateway_operator.domain.restore.status import RestoreObservation, finish, kept_note


def rolling_back(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Put the previous config back, then restart the pods if the restore did."""
    restore = observed.restore
    # The answer of the rollback call is newer than the journal that was read before it.
    record = next((one for one in (observed.answer, observed.journal) if isinstance(one, RestoreResult)), None)
    waited = seconds_in_phase(restore, now)
    deleting = restore.meta.deleting_since is not None
    missing = isinstance(observed.gateway, GatewayProblem) and observed.gateway.reason == Reason.GatewayNotFound
    # A deleted object does not wait for a gateway that was deleted with it.
    over = waited >= restore.timeout or (deleting and missing)
    if record is not None and record.state is RestoreState.rolled_back:
        return _rolled_back(observed, over, now)
    if record is not None and record.state is RestoreState.committed:
        message = f"Someone else committed the restore through the admin API.{kept_note(record)}"
        return finish(restore, "RollbackFailed", Reason.RollbackFailed, message, now)
    if isinstance(observed.journal, NotFound):
        message = "The admin API has no record of this restore: its journal was lost, or the volume was replaced."
        return finish(restore, "RollbackFailed", Reason.RollbackFailed, message, now)
    failure = next((one for one in (observed.answer, observed.journal) if isinstance(one, Failure)), None)
    if failure is not None and (over or not retry.is_retryable(failure)):
        return _rollback_failed(restore, failure, now)
    if failure is not None:
        return _repeat(restore, failure, now)
    if record is not None:
        # Only after the journal was read: if the answer is lost, the next run reads `rolled_back` there.
        forced = restore.end_action == ROLLBACK and restore.end == ROLLBACK
        # Not forced otherwise: the admin API compares the live config under its locks, and it may have changed since
        # our observation. It refuses only a restore whose state it does not know, and there the observation decides.
        unknown = record.state is RestoreState.prepared and _has_restored_config(observed)
        return CallRollback(restore.request_id, force=forced or unknown)
    if over:
        message = (
            observed.gateway.message
            if isinstance(observed.gateway, GatewayProblem)
            else "The gateway could not be called."
        )
        return _rollback_failed(restore, Failure(Reason.RollbackFailed, message, retryable=False), now)
    return wait_for_gateway(restore, observed.gateway, now)


def _has_restored_config(observed: RestoreObservation) -> bool:
    """Whether the live config is the restored one, perhaps in another format. A rollback then loses no change."""
    health = observed.health
    return isinstance(health, SystemHealthData) and digest_problem(observed.restore, health) is None


def _repeat(restore: Restore, failure: Failure, now: datetime) -> Wait:
    """Wait for the next call. The message says what stops the rollback: a person may have to free space."""
    cause = str(restore.failure.get("message", ""))
    message = f"{cause} The rollback failed and is repeated: {failure.sentence()}".lstrip()
    return wait(restore, failure, now, message)


def _rollback_failed(restore: Restore, failure: Failure, now: datetime) -> RestoreAction:
    cause = str(restore.failure.get("message", ""))
    errors = {"lastErrors": retry.with_error(restore, failure, now)}
    if failure.code == ErrorCode.ConfigChanged:
        message = (
            f"{cause} Something wrote the config after the restore did, so it was not rolled back. The previous config "
            f"is still kept. {ways_on(restore)}"
        )
        return finish(restore, "RollbackFailed", Reason.ConfigOverwritten, message, now, errors)
    kept = "" if failure.code == ErrorCode.RollbackImpossible else "The previous config is still kept. "
    message = f"{cause} The rollback failed: {failure.sentence()} {kept}{ways_on(restore)}"
    return finish(restore, "RollbackFailed", Reason.RollbackFailed, message.lstrip(), now, errors)


def _rolled_back(observed: RestoreObservation, over: bool, now: datetime) -> RestoreAction:
    restore = observed.restore
    # The terminal status keeps the cause of the rollback, not only its result.
    cause = str(restore.failure.get("reason") or Reason.HealthCheckFailed)
    message = f"{restore.failure.get('message', '')} The previous config is live again.".lstrip()
    if over or (observed.rollout is not None and observed.rollout.recorded):
        return finish(restore, "RolledBack", cause, message, now)
    if observed.rollout is not None and (observed.rollout.requested or isinstance(observed.answer, RestartRequested)):
        return record_restart(observed, observed.rollout)
    if isinstance(observed.answer, Failure):
        return wait(restore, observed.answer, now)
    must = restore.restart == "Always" or (restore.restart == "Auto" and bool(restore.status.get("restarted")))
    if not must and restore.restart == "Auto" and not observed.reloads_config and observed.rollout is not None:
        must = True
    if not must:
        return finish(restore, "RolledBack", cause, message, now)
    return (
        Restart(marker(restore)) if observed.rollout is not None else wait_for_gateway(restore, observed.gateway, now)
    )
