"""Writes the status of an object whose reconcile ended with an exception.

The work queue calls this. The object then continues as after a failed call: its status and an event name the error, it
is retried, and it still reaches its deadline. Only an API server that refuses the write prevents that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.backup import deletion
from gateway_operator.domain.backup import unexpected as backup_decisions
from gateway_operator.domain.drill import decide as drill_decisions
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.actions import Finish, KubernetesEvent, RemoveFinalizer, Wait, Write
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import (
    BACKUP_KIND,
    FINALIZER,
    FINALIZERS,
    IMPORT_KIND,
    RESTORE_KIND,
    SCHEDULE_KIND,
)
from gateway_operator.domain.model.problem import unexpected_failure
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json, Meta
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore import unexpected as restore_decisions
from gateway_operator.domain.schedule import decide as schedule_decisions
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ClusterError, Ports
from gateway_operator.reconcile.backup_import import after_import_error
from gateway_operator.reconcile.status_writer import Log, update_status

UNREADABLE_SECONDS: Final = 600
"""Seconds after its creation until an object that cannot be parsed has failed. Its own deadlines are unknown."""


async def record_error(ports: Ports, ref: Ref, error: Exception, log: Log) -> float | None:
    """Write what an exception means for an object. Returns the seconds until the next run; None: the caller's backoff.

    ClusterError if the status cannot be written either.
    """
    body = await ports.cluster.read(ref)
    if body is None:
        return None
    failure = _as_failure(error)
    try:
        seconds = await _record(ports, ref, body, failure, log)
    except ClusterError:
        raise
    except Exception:
        # The object itself cannot be parsed, or its decision has the defect.
        log.exception("The object cannot be judged.")
        seconds = await _record_unreadable(ports, Meta.parse(body, ref.kind), body, failure)
    return seconds


def _as_failure(error: Exception) -> Failure:
    if isinstance(error, ClusterError):
        return Failure(Reason.KubernetesError, str(error), retryable=True)
    return unexpected_failure(error)


async def _record(ports: Ports, ref: Ref, body: Json, failure: Failure, log: Log) -> float | None:
    now = ports.clock.now()
    if ref.kind == BACKUP_KIND:
        backup = Backup.parse(body)
        if backup.meta.deleting_since is not None:
            return await _record_deletion(ports, backup, failure, log)
        action = backup_decisions.after_error(backup, failure, now)
        return await _write(ports, Backup.parse, backup, action, failure, log)
    if ref.kind == RESTORE_KIND:
        restore = Restore.parse(body)
        if restore.mode == "Drill":
            return await _write(
                ports, Restore.parse, restore, drill_decisions.after_error(restore, failure, now), failure, log
            )
        next_action = restore_decisions.after_error(restore, failure, now)
        if isinstance(next_action, RemoveFinalizer):
            await _release(ports, restore.meta, next_action.event, now)
            return None
        return await _write(ports, Restore.parse, restore, next_action, failure, log)
    if ref.kind == IMPORT_KIND:
        return await after_import_error(ports, Import.parse(body), failure, log)
    schedule = GatewayBackupSchedule.parse(body)
    update = schedule_decisions.after_error(schedule, failure, now)
    return await _write(ports, GatewayBackupSchedule.parse, schedule, update, failure, log)


async def _write(ports: Ports, parse: Any, resource: Any, action: Any, failure: Failure, log: Log) -> float | None:
    """Write the status of an action. An action without one changes nothing."""
    if not isinstance(action, Write | Wait | Finish | schedule_decisions.ScheduleStatusUpdate):
        return None
    event = action.event or _event(failure)
    await update_status(ports, parse, resource, action.status, event, log)
    return action.seconds if isinstance(action, Wait) else None


async def _release(ports: Ports, meta: Meta, event: KubernetesEvent | None, now: datetime) -> None:
    """Remove the finalizer. The event comes first: afterwards the object may no longer exist."""
    if event is not None:
        await ports.cluster.event(meta.ref, event, now)
    await ports.cluster.set_finalizer(meta, False)


def _event(failure: Failure) -> KubernetesEvent:
    """The event of the error. The adapter posts an equal event once."""
    return KubernetesEvent(str(failure.code), failure.message, warning=True)


async def _record_deletion(ports: Ports, backup: Backup, failure: Failure, log: Log) -> float | None:
    """Wait, or release the object: a deletion must not stick on its finalizer."""
    if FINALIZER not in backup.meta.finalizers:
        return None
    now = ports.clock.now()
    action = deletion.decide(deletion.DeletionObservation(backup, answer=failure), now)
    if isinstance(action, RemoveFinalizer):
        await _release(ports, backup.meta, action.event, now)
        return None
    return await _write(ports, Backup.parse, backup, action, failure, log)


async def _record_unreadable(ports: Ports, meta: Meta, body: Json, failure: Failure) -> float | None:
    """The status of an object that cannot be parsed, from its metadata alone."""
    now, status = ports.clock.now(), body.get("status") or {}
    await ports.cluster.event(meta.ref, _event(failure), now)
    if meta.deleting_since is not None:
        await _release_unreadable(ports, meta, now)
        return None
    if status.get("completionTime"):
        return None
    await ports.cluster.write_status(meta, _unreadable_status(meta, body, failure, now))
    return None


async def _release_unreadable(ports: Ports, meta: Meta, now: datetime) -> None:
    since = meta.deleting_since or now
    if FINALIZERS.get(meta.ref.kind) in meta.finalizers and (now - since).total_seconds() >= deletion.UNREACHABLE_LIMIT:
        message, reason = "The object cannot be read, so its file stays on the volume.", Reason.FileKept
        if meta.ref.kind == RESTORE_KIND:
            message, reason = "The object cannot be read. Its restore may still be open.", Reason.RestoreReleased
        await _release(ports, meta, KubernetesEvent(reason, message, warning=True), now)


def _unreadable_status(meta: Meta, body: Json, failure: Failure, now: datetime) -> dict[str, Any]:
    present = (body.get("status") or {}).get("conditions") or ()
    reason, message, generation = str(failure.code), failure.sentence(), meta.generation
    if meta.ref.kind == SCHEDULE_KIND:
        changed = conditions.readiness_conditions(
            present, False, conditions.RECONCILING, reason, message, generation, now
        )
        return {"observedGeneration": generation, "conditions": changed}
    over = now >= timestamps.later(meta.created, UNREADABLE_SECONDS)
    phase = "Failed" if over else "Pending"
    status: dict[str, Any] = {"phase": phase, "reason": reason, "message": message, "observedGeneration": generation}
    changed = conditions.progress_conditions(present, phase, reason, message, generation, now)
    if over:
        changed = conditions.terminal_conditions(changed, False, reason, message, generation, now)
        status["completionTime"] = timestamps.text(now)
    return {**status, "conditions": changed}
