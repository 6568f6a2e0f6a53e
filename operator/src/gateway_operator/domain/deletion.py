"""What becomes of the file when a GatewayBackup goes. It always ends.

The file goes with ``deletionPolicy: Delete``, or where retention, ttl or a person said so (the annotation
``names.DELETE_FILE``). In doubt it stays: a file too many can be deleted, a file too few cannot be made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway_api.contract import SystemHealthData
from gateway_operator.domain import attempts, conditions, times, traces
from gateway_operator.domain.actions import CountFile, DeleteFile, DeletionAction, Note, Release, Wait
from gateway_operator.domain.calls import Failure
from gateway_operator.domain.gateway import Endpoint, Problem
from gateway_operator.domain.known import Burst
from gateway_operator.domain.names import REQUESTED
from gateway_operator.domain.objects import Backup
from gateway_operator.domain.reasons import Reason

PATIENCE: Final = 24 * 3600.0
"""Seconds from the deletion for which an unreachable gateway is asked again."""
SETTLE: Final = 10.0
"""Seconds in which others may follow, and make a sweep of it: before them no file goes that nobody asked for."""
HOLD: Final = 5.0
"""Seconds for which one that was found to be part of a sweep stays, so that those beside it see the verdict."""
_SLOWEST: Final = 600.0


@dataclass(frozen=True)
class Observed:
    """What one look gave. ``swept``: why the object goes with something larger, if it does. ``spent``: what the
    workload says of the files that went today; ``barred``: why that cannot be written."""

    backup: Backup
    swept: str | None = None
    burst: Burst | None = None
    gateway: Endpoint | Problem | None = None
    health: SystemHealthData | Failure | None = None
    backup_id: str | None = None
    answer: bool | Failure | None = None
    spent: object = None
    barred: str | None = None


def file_goes(backup: Backup) -> bool:
    """Whether its file is to go with it, as far as the object itself says."""
    return backup.marked is not None or backup.deletion_policy == "Delete"


def has_file(backup: Backup) -> bool:
    """Whether there may be a file of its own. One that failed to adopt a file has none: it may be another's."""
    if backup.existing is not None:
        return conditions.holds(backup.conditions, conditions.COMPLETED) is True
    return bool(backup.status.get("startTime"))


def asked_for(backup: Backup) -> bool:
    """Whether somebody decided about this very file, and not only about the object."""
    return backup.marked is not None


def decide(seen: Observed, now: datetime) -> DeletionAction:
    """Delete the file, wait, or let go."""
    backup = seen.backup
    path = str(backup.status.get("path") or "its file")
    if not file_goes(backup) or not has_file(backup):
        return Release()
    if seen.answer is True or seen.answer is False:
        return Release(Note(Reason.FileDeleted, f"{path} was deleted with its GatewayBackup ({_why(backup)})."))
    if seen.swept is not None:
        return _kept(path, seen.swept)
    if backup.pinned and backup.marked not in (None, REQUESTED):
        return _kept(path, "it is pinned")
    held = None if asked_for(backup) else _held_back(seen, path, now)
    return held or _go_on(seen, path, now)


def _why(backup: Backup) -> str:
    return backup.marked or "deletionPolicy: Delete"


def _held_back(seen: Observed, path: str, now: datetime) -> DeletionAction | None:
    """Nobody asked for this file: is it swept away with most of the others?"""
    backup, burst = seen.backup, seen.burst
    since = backup.meta.deleting_since or now
    if burst is None or backup.reason == Reason.MassDeletion:
        return _mass(path) if backup.reason == Reason.MassDeletion else None
    if burst.sweep:
        message = f"{burst.going} of {burst.all} backups of {backup.gateway} are being deleted at once: {path} is kept."
        return Wait(HOLD, {"phase": "Deleting", "reason": str(Reason.MassDeletion), "message": message})
    left = times.seconds_until(times.later(since, SETTLE), now)
    return Wait(min(left, SETTLE)) if burst.possible and left > 0 else None


def _mass(path: str) -> Release:
    message = (
        f"{path} stays on the volume: most backups of its gateway were deleted at once, and nobody asked for their "
        "files. A GatewayBackupImport brings the objects back."
    )
    return Release(Note(Reason.MassDeletion, message, warning=True))


def _go_on(seen: Observed, path: str, now: datetime) -> DeletionAction:
    backup = seen.backup
    failure = _failure(seen)
    if failure is None and isinstance(seen.health, SystemHealthData):
        return _ask(seen, path, seen.health, now)
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
    if isinstance(seen.health, SystemHealthData) and (seen.health.volume_id is None or not known):
        return Failure(Reason.VolumeUnknown, "The admin API does not say which volume it has.", retryable=True)
    return seen.health if isinstance(seen.health, Failure) else None


def _ask(seen: Observed, path: str, health: SystemHealthData, now: datetime) -> DeletionAction:
    backup = seen.backup
    recorded = backup.status.get("volumeID")
    if recorded and recorded != health.volume_id:
        return _kept(path, f"its gateway now has another volume ({health.volume_id}, not {recorded})")
    backup_id = str(backup.status.get("backupID") or ("" if backup.existing else seen.backup_id) or "")
    if not backup_id:
        return _kept(path, "it has no manifest, and the admin API deletes only what it knows")
    counted = None if asked_for(backup) else _counted(seen, path, now)
    if counted is not None:
        return counted
    message = f"{path} is being deleted with its GatewayBackup ({_why(backup)})."
    return DeleteFile(backup_id, {"phase": "Deleting", "reason": str(Reason.Deleting), "message": message})


def _counted(seen: Observed, path: str, now: datetime) -> DeletionAction | None:
    """A sweep may be slow: of what nobody asked for, a part goes in a day and no more. None: it is counted and goes."""
    backup, uid = seen.backup, seen.backup.meta.ref.uid
    day = traces.spent(seen.spent, seen.burst.with_files if seen.burst is not None else 1, now)
    if day.counts(uid):
        return None
    if day.exhausted:
        message = (
            f"{path} stays on the volume: since {times.text(day.began)} {len(day.uids)} of {day.of} files of "
            f"{backup.gateway} went with their GatewayBackups, and more in a day is taken for a mistake. "
            "`kubectl gateway backup delete` deletes files on purpose; a GatewayBackupImport brings objects back."
        )
        return Release(Note(Reason.MassDeletion, message, warning=True))
    if seen.barred is not None:
        return _kept(path, f"that it goes could not be noted on {backup.gateway}. {seen.barred}")
    return CountFile(traces.files_note(backup.gateway), day.plus(uid).text())


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


def left_behind(backup: Backup) -> Note | None:
    """What to tell about one that vanished without asking anybody: its file stays. None where it has none."""
    path = backup.status.get("path")
    if file_goes(backup) or not path or backup.phase != "Completed":
        return None
    return Note(
        Reason.FileKept, f"{path} stays on the volume: a GatewayBackup with `existing: {{path: {path}}}` adopts it."
    )
