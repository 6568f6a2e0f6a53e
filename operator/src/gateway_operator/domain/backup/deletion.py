"""Decides whether the file of a GatewayBackup that is being deleted is deleted as well.

By default the file stays. It is deleted if retention or ttl decided so (`status.deletion`, which the operator writes),
or if a person set `spec.deleteFile` before the deletion. In doubt the file stays. A deletion ends after 24 hours at the
latest: the finalizer is removed and an event reports where the file is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import retry, timestamps
from gateway_operator.domain.model.actions import DeleteFile, DeletionAction, KubernetesEvent, RemoveFinalizer, Wait
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup

UNREACHABLE_LIMIT: Final = 24 * 3600.0
"""Seconds from the beginning of a deletion for which an unreachable gateway is retried."""
BY_RETENTION: Final = "Retention"
BY_TTL: Final = "TTL"
_MAX_RETRY_SECONDS: Final = 600.0


@dataclass(frozen=True)
class DeletionObservation:
    """The inputs of one decision. ``answer``: the result of the call that deletes the file, once it was made."""

    backup: Backup
    gateway: Endpoint | GatewayProblem | None = None
    health: SystemHealthData | Failure | None = None
    backup_id: str | None = None
    answer: bool | Failure | None = None


def deletion_status(reason: str, message: str, now: datetime) -> dict[str, Any]:
    """The status that commits a deletion by retention or ttl. After this write the deletion is always completed."""
    deletion = {"reason": reason, "time": timestamps.text(now)}
    return {"phase": "Deleting", "reason": str(Reason.Deleting), "message": message, "deletion": deletion}


def deletion_started(backup: Backup) -> datetime | None:
    """When the deletion of the file started; None if the file must stay."""
    if backup.deletion_committed:
        return timestamps.parse(backup.status["deletion"].get("time")) or backup.meta.created
    return backup.meta.deleting_since if backup.delete_file else None


def decide(observed: DeletionObservation, now: datetime) -> DeletionAction:
    """Delete the file, wait, or remove the finalizer."""
    backup, since = observed.backup, deletion_started(observed.backup)
    path = str(backup.status.get("path") or "its file")
    if since is None or not backup.has_file:
        return RemoveFinalizer()
    # True: deleted now. False: it was deleted before, by a call whose answer was lost.
    if observed.answer is True or observed.answer is False:
        return RemoveFinalizer(
            KubernetesEvent(Reason.FileDeleted, f"{path} was deleted with its GatewayBackup ({_cause(backup)}).")
        )
    failure = _failure(observed)
    if failure is None and isinstance(observed.health, SystemHealthData):
        return _delete(observed, path, observed.health)
    if isinstance(observed.gateway, GatewayProblem) and observed.gateway.reason == Reason.GatewayNotFound:
        return _kept(path, f"{backup.gateway} no longer exists.")
    problem = failure or Failure(Reason.Unreachable, "The gateway was not observed.", retryable=True)
    if not retry.is_retryable(problem):
        return _kept(path, problem.sentence())
    if (now - since).total_seconds() >= UNREACHABLE_LIMIT:
        return _kept(path, f"its gateway could not be reached for 24 hours. {problem.sentence()}")
    return _wait(backup, problem, since, now)


def _cause(backup: Backup) -> str:
    return str(backup.status["deletion"].get("reason")) if backup.deletion_committed else "spec.deleteFile"


def _failure(observed: DeletionObservation) -> Failure | None:
    if isinstance(observed.answer, Failure):
        return observed.answer
    if isinstance(observed.gateway, GatewayProblem):
        return Failure(str(observed.gateway.reason), observed.gateway.message, retryable=True)
    if isinstance(observed.health, SystemHealthData) and observed.health.volume_id is None:
        return Failure(Reason.VolumeUnknown, "The admin API does not say which volume it has.", retryable=True)
    return observed.health if isinstance(observed.health, Failure) else None


def _delete(observed: DeletionObservation, path: str, health: SystemHealthData) -> DeletionAction:
    backup = observed.backup
    recorded = backup.status.get("volumeID")
    if recorded and recorded != health.volume_id:
        return _kept(path, f"its gateway now has another volume ({health.volume_id}, not {recorded}).")
    backup_id = str(backup.status.get("backupID") or ("" if backup.existing else observed.backup_id) or "")
    if not backup_id:
        return _kept(path, "it has no manifest, and the admin API deletes only files with one.")
    if backup.deletion_committed:  # the status has the message since the commit
        return DeleteFile(backup_id, {})
    # Durable before the call: a person sees that the deletion has started even if the operator crashes.
    message = f"{path} is being deleted with its GatewayBackup ({_cause(backup)})."
    return DeleteFile(backup_id, {"phase": "Deleting", "reason": str(Reason.Deleting), "message": message})


def _kept(path: str, cause: str) -> RemoveFinalizer:
    return RemoveFinalizer(KubernetesEvent(Reason.FileKept, f"{path} stays on the volume: {cause}", warning=True))


def _wait(backup: Backup, problem: Failure, since: datetime, now: datetime) -> Wait:
    waited = max(0.0, (now - since).total_seconds())
    delay = min(_MAX_RETRY_SECONDS, max(2.0, waited / 4))
    until = timestamps.later(since, UNREACHABLE_LIMIT)
    message = f"{problem.sentence()} The deletion of the file is retried until {timestamps.text(until)}."
    failure = {"reason": problem.code, "message": problem.sentence()}
    status = {"phase": "Deleting", "reason": problem.code, "message": message, "failure": failure}
    event = KubernetesEvent(problem.code, message, warning=True) if backup.reason != problem.code else None
    # Requeue: no watch event announces that the gateway can be called again.
    return Wait(delay, status, event)


def remaining_file_event(backup: Backup) -> KubernetesEvent | None:
    """The event for a deleted object whose file stays. None if there was no file or its deletion had started."""
    path = backup.status.get("path")
    if not path or backup.phase != "Completed":
        return None
    return KubernetesEvent(
        Reason.FileKept, f"{path} stays on the volume: a GatewayBackup with `existing: {{path: {path}}}` adopts it."
    )
