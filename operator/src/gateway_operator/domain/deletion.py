"""What becomes of the file when a GatewayBackup with ``deletionPolicy: Delete`` goes. It always ends.

In doubt the file stays: a file too many can be deleted, a file too few cannot be made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway_operator.domain import attempts, times
from gateway_operator.domain.actions import DeleteFile, DeletionAction, Note, Release, Wait
from gateway_operator.domain.calls import Failure, Health
from gateway_operator.domain.gateway import Endpoint, Problem
from gateway_operator.domain.objects import Backup
from gateway_operator.domain.reasons import Reason

PATIENCE: Final = 24 * 3600.0
"""Seconds from the deletion for which an unreachable gateway is asked again."""
_SLOWEST: Final = 600.0


@dataclass(frozen=True)
class Observed:
    """What one look gave. ``swept``: why the object goes with something larger, if it does."""

    backup: Backup
    swept: str | None = None
    gateway: Endpoint | Problem | None = None
    health: Health | Failure | None = None
    backup_id: str | None = None
    answer: bool | Failure | None = None


def decide(seen: Observed, now: datetime) -> DeletionAction:
    """Delete the file, wait, or let go."""
    backup = seen.backup
    path = str(backup.status.get("path") or "its file")
    if backup.deletion_policy != "Delete":
        return Release()
    if not backup.status.get("startTime"):
        return Release()  # nothing was ever asked of a gateway
    if seen.swept is not None:
        return _kept(path, seen.swept)
    if seen.answer is True or seen.answer is False:
        return Release(Note(Reason.FileDeleted, f"{path} was deleted with its GatewayBackup."))
    failure = _failure(seen)
    if failure is None and isinstance(seen.health, Health):
        return _ask(seen, path, seen.health)
    if isinstance(seen.gateway, Problem) and seen.gateway.reason == Reason.GatewayNotFound:
        return _kept(path, f"{backup.gateway} is gone")
    problem = failure or Failure(Reason.Unreachable, "The gateway was not looked at.", retryable=True)
    if not attempts.may_pass(problem):
        return _kept(path, problem.sentence())
    since = backup.meta.deleting_since or now
    if (now - since).total_seconds() >= PATIENCE:
        return _kept(path, f"its gateway could not be asked for 24 hours. {problem.sentence()}")
    return _wait(backup, problem, since, now)


def _failure(seen: Observed) -> Failure | None:
    if isinstance(seen.answer, Failure):
        return seen.answer
    if isinstance(seen.gateway, Problem):
        return Failure(str(seen.gateway.reason), seen.gateway.message, retryable=True)
    known = seen.backup.status.get("backupID") or seen.backup_id
    if isinstance(seen.health, Health) and (seen.health.volume_id is None or not known):
        return Failure(Reason.VolumeUnknown, "The admin API does not say which volume it has.", retryable=True)
    return seen.health if isinstance(seen.health, Failure) else None


def _ask(seen: Observed, path: str, health: Health) -> DeletionAction:
    backup = seen.backup
    recorded = backup.status.get("volumeID")
    if recorded and recorded != health.volume_id:
        return _kept(path, f"its gateway now has another volume ({health.volume_id}, not {recorded})")
    backup_id = str(backup.status.get("backupID") or seen.backup_id or "")
    message = f"{path} is being deleted with its GatewayBackup."
    return DeleteFile(backup_id, {"phase": "Deleting", "reason": str(Reason.Deleting), "message": message})


def _kept(path: str, why: str) -> Release:
    return Release(Note(Reason.FileKept, f"{path} stays on the volume: {why}", warning=True))


def _wait(backup: Backup, problem: Failure, since: datetime, now: datetime) -> Wait:
    waited = max(0.0, (now - since).total_seconds())
    delay = min(_SLOWEST, max(2.0, waited / 4))
    until = times.later(since, PATIENCE)
    message = f"{problem.sentence()} Its file is to be deleted; tried again until {times.text(until)}."
    status = {"phase": "Deleting", "reason": problem.code, "message": message}
    note = Note(problem.code, message, warning=True) if backup.reason != problem.code else None
    return Wait(delay, status, note)
