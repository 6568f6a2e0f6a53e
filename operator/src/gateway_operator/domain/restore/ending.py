"""Decides how a restore ends when a person asks for it: by ``spec.end``, or by the deletion of the object.

A deleted restore never leaves an unfinished one at its gateway, because that would stop the next restore:
- before the config may have been replaced, it ends at once;
- a running one is rolled back. No change that someone made after the restore is discarded;
- one that has ended but is still open (``onFailure: Leave``, or a rollback that failed) is rolled back or committed.
A commit changes no file. The finalizer is removed when the gateway no longer exists, or when it has not answered for
``timeoutSeconds``; an event then reports the restore that may still be open.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gateway_api.contract import ErrorCode, RestoreResult, RestoreState
from gateway_operator.domain.model import retry, timestamps
from gateway_operator.domain.model.actions import (
    AddFinalizer,
    CallCommit,
    Done,
    KubernetesEvent,
    RecheckSoon,
    RemoveFinalizer,
    RestoreAction,
    Write,
)
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.names import RESTORE_FINALIZER
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.after_apply import start_commit, wait
from gateway_operator.domain.restore.commands import COMMIT, ROLLBACK
from gateway_operator.domain.restore.prepare import ABANDONED_CALL_SECONDS, applied
from gateway_operator.domain.restore.status import (
    CHANGING_PHASES,
    RestoreObservation,
    applied_status,
    finish,
    is_open,
    is_terminal,
    reopened_status,
    roll_back,
)

_POLL_SECONDS: Final = 1.0
_ENDED: Final = (RestoreState.committed, RestoreState.rolled_back)


def hold(restore: Restore) -> RestoreAction | None:
    """Add the finalizer before the gateway may hold the restore open; None if it is there or cannot be added."""
    needed = restore.mode == "Apply" and restore.phase in CHANGING_PHASES
    if not needed or RESTORE_FINALIZER in restore.meta.finalizers or restore.meta.deleting_since is not None:
        return None
    return AddFinalizer()


def after_end(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """The action for a restore in a terminal phase."""
    restore = observed.restore
    if not is_terminal(restore):
        return _begin_requested_end(restore, now)
    if RESTORE_FINALIZER in restore.meta.finalizers:
        if not is_open(restore):
            return RemoveFinalizer()
        if restore.meta.deleting_since is not None:
            return _release(observed, restore.meta.deleting_since, now)
    if restore.status.get("observedGeneration") not in (None, restore.meta.generation):
        # An end that was requested too late changes the generation. Without this write kstatus waits for it forever.
        return Write({"observedGeneration": restore.meta.generation})
    return Done()


def _begin_requested_end(restore: Restore, now: datetime) -> RestoreAction:
    # Durable before the call: after a crash the same end continues, and it is begun only once.
    if restore.end == COMMIT:
        return start_commit(restore, now)
    return _start_rollback(restore, Reason.RollbackRequested, "A rollback was requested (spec.end).", now)


def _start_rollback(restore: Restore, reason: Reason, cause: str, now: datetime) -> Write:
    return roll_back(restore, reason, cause, now, reopened_status(restore, ROLLBACK, now))


def interrupt(observed: RestoreObservation, now: datetime) -> RestoreAction | None:
    """The action if a person ends a restore that has not ended; None to continue with its phase."""
    restore = observed.restore
    if restore.mode != "Apply":
        return None
    deleted = restore.meta.deleting_since is not None
    if not (deleted or restore.end == ROLLBACK):
        return None
    # A commit that a person requested is carried out, also if the object is deleted meanwhile. Before the config is
    # replaced there is nothing to commit, so the deletion counts.
    if restore.end == COMMIT and restore.phase in ("Restarting", "HealthCheck"):
        return None
    reason = Reason.RollbackRequested if restore.end == ROLLBACK else Reason.RestoreDeleted
    cause = "A rollback was requested (spec.end)." if restore.end == ROLLBACK else "The GatewayRestore was deleted."
    if restore.phase in ("Restarting", "HealthCheck"):
        record = observed.journal
        # The journal first: a commit whose answer was lost has happened.
        ended = isinstance(record, RestoreResult) and record.state in _ENDED
        return None if ended else _start_rollback(restore, reason, cause, now)
    if restore.phase == "Restoring":
        return _stop_restoring(observed, now) if deleted else None
    if restore.phase == "RollingBack":
        return None
    return finish(restore, "Failed", reason, f"{cause} The config was not changed.", now)


def _stop_restoring(observed: RestoreObservation, now: datetime) -> RestoreAction | None:
    """End a deleted restore whose call may have been sent. No other call is sent."""
    restore, record = observed.restore, observed.journal
    cause = "The GatewayRestore was deleted."
    if isinstance(observed.answer, RestoreResult) and not isinstance(record, RestoreResult):
        record = observed.answer
    if isinstance(record, RestoreResult):
        if record.state in _ENDED:
            return None
        if restore.end == COMMIT and record.state is RestoreState.applied:
            return applied(restore, record, now)
        status = {**applied_status(record, restore), **reopened_status(restore, ROLLBACK, now)}
        return roll_back(restore, Reason.RestoreDeleted, cause, now, status)
    since = restore.meta.deleting_since or now
    waited = (now - since).total_seconds()
    if isinstance(record, NotFound):
        # The operator may have crashed after it sent the call, and the call may still run.
        if waited < ABANDONED_CALL_SECONDS:
            return RecheckSoon(_POLL_SECONDS)
        return finish(restore, "Failed", Reason.RestoreDeleted, f"{cause} The config was not changed.", now)
    if _is_missing(observed) or waited >= restore.timeout:
        message = f"{cause} It is not known whether the config was replaced: the gateway did not answer."
        return finish(restore, "Failed", ErrorCode.RestoreStateUnknown, message, now)
    return wait(restore, _failure(observed), now)


def _release(observed: RestoreObservation, since: datetime, now: datetime) -> RestoreAction:
    """End a deleted restore that is still open at the gateway, or remove the finalizer."""
    restore = observed.restore
    answer = observed.answer
    record = answer if isinstance(answer, RestoreResult) else observed.journal
    if isinstance(record, NotFound) or (isinstance(record, RestoreResult) and record.state in _ENDED):
        committed = isinstance(answer, RestoreResult) and answer.state is RestoreState.committed
        return RemoveFinalizer(_committed_event(restore) if committed else None)
    if _is_missing(observed):
        return RemoveFinalizer(_released_event(f"{restore.gateway} no longer exists."))
    failure = _failure(observed)
    if isinstance(answer, RestoreResult | Failure) or not isinstance(record, RestoreResult):
        over = now >= timestamps.later(since, restore.timeout)
        if over or not retry.is_retryable(failure):
            return RemoveFinalizer(_released_event(failure.sentence()))
        return wait(restore, failure, now)
    if restore.phase == "RollbackFailed" and not restore.end_action:
        # Once more: the gateway may answer now.
        return _start_rollback(restore, Reason.RestoreDeleted, "The GatewayRestore was deleted.", now)
    return CallCommit(restore.request_id)


def _is_missing(observed: RestoreObservation) -> bool:
    return isinstance(observed.gateway, GatewayProblem) and observed.gateway.reason == Reason.GatewayNotFound


def _failure(observed: RestoreObservation) -> Failure:
    """Why the gateway did not answer."""
    for one in (observed.answer, observed.journal, observed.health):
        if isinstance(one, Failure):
            return one
    if isinstance(observed.gateway, GatewayProblem):
        return Failure(observed.gateway.reason, observed.gateway.message, retryable=True)
    return Failure(Reason.Unreachable, "The gateway was not observed.", retryable=True)


def _committed_event(restore: Restore) -> KubernetesEvent:
    message = f"The live config of {restore.gateway} stays: the restore was committed, because its object was deleted."
    return KubernetesEvent(Reason.Restored, message)


def _released_event(cause: str) -> KubernetesEvent:
    message = (
        f"The GatewayRestore was deleted, but its restore may be neither committed nor rolled back: {cause} If so, the "
        "next restore of the gateway reports RestorePending; `spec.supersede: true` continues."
    )
    return KubernetesEvent(Reason.RestoreReleased, message, warning=True)
