"""Decides what becomes of the file of a GatewayBackup that is being deleted.

Deleting an object never deletes its file. A file is deleted where retention or ttl decided so (`status.deletion`, which
the operator writes) or a person did (`spec.deleteFile`, then DELETE). In doubt the file stays. A deletion always ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import SystemHealthData
from gateway_operator.domain import attempts, times
from gateway_operator.domain.actions import DeleteFile, DeletionAction, Note, Release, Wait
from gateway_operator.domain.calls import Failure
from gateway_operator.domain.gateway import Endpoint, Problem
from gateway_operator.domain.objects import Backup
from gateway_operator.domain.reasons import Reason

PATIENCE: Final = 24 * 3600.0
"""Seconds from the beginning of a deletion for which an unreachable gateway is retried."""
BY_RETENTION: Final = "Retention"
BY_TTL: Final = "TTL"
_SLOWEST: Final = 600.0


@dataclass(frozen=True)
class Observed:
    """The inputs of one decision. ``answer``: the result of the call that deletes the file, once it was made."""

    backup: Backup
    gateway: Endpoint | Problem | None = None
    health: SystemHealthData | Failure | None = None
    backup_id: str | None = None
    answer: bool | Failure | None = None


def commit(reason: str, message: str, now: datetime) -> dict[str, Any]:
    """The status that commits a deletion by retention or ttl: from then on it is finished whatever happens."""
    deletion = {"reason": reason, "time": times.text(now)}
    return {"phase": "Deleting", "reason": str(Reason.Deleting), "message": message, "deletion": deletion}


def began(backup: Backup) -> datetime | None:
    """When the deletion of its file began; None if the file must stay."""
    if backup.deletion_committed:
        return times.parse(backup.status["deletion"].get("time")) or backup.meta.created
    return backup.meta.deleting_since if backup.delete_file else None


def decide(seen: Observed, now: datetime) -> DeletionAction:
    """Delete the file, wait, or let the object go."""
    backup, since = seen.backup, began(seen.backup)
    path = str(backup.status.get("path") or "its file")
    if since is None or not backup.has_file:
        return Release()
    if seen.answer is True or seen.answer is False:
        return Release(Note(Reason.FileDeleted, f"{path} was deleted with its GatewayBackup ({_cause(backup)})."))
    failure = _failure(seen)
    if failure is None and isinstance(seen.health, SystemHealthData):
        return _delete(seen, path, seen.health)
    if isinstance(seen.gateway, Problem) and seen.gateway.reason == Reason.GatewayNotFound:
        return _kept(path, f"{backup.gateway} is gone")
    problem = failure or Failure(Reason.Unreachable, "The gateway was not observed.", retryable=True)
    if not attempts.may_pass(problem):
        return _kept(path, problem.sentence())
    if (now - since).total_seconds() >= PATIENCE:
        return _kept(path, f"its gateway could not be reached for 24 hours. {problem.sentence()}")
    return _wait(backup, problem, since, now)


def _cause(backup: Backup) -> str:
    return str(backup.status["deletion"].get("reason")) if backup.deletion_committed else "spec.deleteFile"


def _failure(seen: Observed) -> Failure | None:
    if isinstance(seen.answer, Failure):
        return seen.answer
    if isinstance(seen.gateway, Problem):
        return Failure(str(seen.gateway.reason), seen.gateway.message, retryable=True)
    if isinstance(seen.health, SystemHealthData) and seen.health.volume_id is None:
        return Failure(Reason.VolumeUnknown, "The admin API does not say which volume it has.", retryable=True)
    return seen.health if isinstance(seen.health, Failure) else None


def _delete(seen: Observed, path: str, health: SystemHealthData) -> DeletionAction:
    backup = seen.backup
    recorded = backup.status.get("volumeID")
    if recorded and recorded != health.volume_id:
        return _kept(path, f"its gateway now has another volume ({health.volume_id}, not {recorded})")
    backup_id = str(backup.status.get("backupID") or ("" if backup.existing else seen.backup_id) or "")
    if not backup_id:
        return _kept(path, "it has no manifest, and the admin API deletes only what it knows")
    if backup.deletion_committed:  # the commit has said it already
        return DeleteFile(backup_id, {})
    message = f"{path} is being deleted with its GatewayBackup ({_cause(backup)})."
    return DeleteFile(backup_id, {"phase": "Deleting", "reason": str(Reason.Deleting), "message": message})


def _kept(path: str, why: str) -> Release:
    return Release(Note(Reason.FileKept, f"{path} stays on the volume: {why}", warning=True))


def _wait(backup: Backup, problem: Failure, since: datetime, now: datetime) -> Wait:
    waited = max(0.0, (now - since).total_seconds())
    delay = min(_SLOWEST, max(2.0, waited / 4))
    until = times.later(since, PATIENCE)
    message = f"{problem.sentence()} Its file is to be deleted; retried until {times.text(until)}."
    failure = {"reason": problem.code, "message": problem.sentence()}
    status = {"phase": "Deleting", "reason": problem.code, "message": message, "failure": failure}
    note = Note(problem.code, message, warning=True) if backup.reason != problem.code else None
    return Wait(delay, status, note)


def left_behind(backup: Backup) -> Note | None:
    """The event for an object that is gone and whose file stays. None where no file was, or its deletion had begun."""
    path = backup.status.get("path")
    if not path or backup.phase != "Completed":
        return None
    return Note(
        Reason.FileKept, f"{path} stays on the volume: a GatewayBackup with `existing: {{path: {path}}}` adopts it."
    )
