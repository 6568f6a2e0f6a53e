"""What to do next about a GatewayBackup: a pure function of what was seen and what time it is.

The order of the questions is the design: a finished one is never touched; one that is being deleted belongs to the
delete handler; what the volume already holds beats every deadline; only then is anything asked of a gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import BackupRecord, SystemHealthData, VerificationResult
from gateway_operator.domain import adoption, attempts, backup_end, times
from gateway_operator.domain.actions import (
    BackupAction,
    CallBackup,
    CheckFile,
    FindFile,
    Finish,
    PutLabel,
    ReadBack,
    Stop,
    Wait,
    Write,
)
from gateway_operator.domain.backup_index import TERMINAL, BackupIndex
from gateway_operator.domain.calls import BackupFile, Failure, FileCheck, NotFound
from gateway_operator.domain.gateway import Endpoint, Problem
from gateway_operator.domain.names import ADOPTED_LABEL, backup_path
from gateway_operator.domain.objects import Backup
from gateway_operator.domain.reasons import Reason

_SHORTEST_CALL: Final = 5.0
_UNDECIDED: Final = 2.0
_LEVELS: Final = ("", "Stored", "Verified")


@dataclass(frozen=True)
class Observed:
    """What one look gave. ``answer`` is what the last call of this run brought, ``stored`` what was read back, and
    ``checked`` what looking at the file again found; ``index`` holds the other backups."""

    backup: Backup
    gateway: Endpoint | Problem | None = None
    health: SystemHealthData | Failure | None = None
    backup_id: str | None = None
    answer: BackupFile | NotFound | Failure | None = None
    stored: BackupRecord | NotFound | Failure | None = None
    checked: FileCheck | NotFound | Failure | None = None
    index: BackupIndex = field(default_factory=BackupIndex)


def needs_gateway(backup: Backup, now: datetime) -> bool:
    """Whether looking at the gateway could change the decision: spares the API server reads of finished objects."""
    retry = backup.time("nextRetryTime")
    return not (is_terminal(backup) or backup.meta.deleting_since or (retry and retry > now))


def is_terminal(backup: Backup) -> bool:
    """A record that never changes again."""
    return backup.phase in TERMINAL


def decide(seen: Observed, now: datetime) -> BackupAction:
    """The next step."""
    backup = seen.backup
    if is_terminal(backup) or backup.meta.deleting_since:
        return Stop()
    if isinstance(seen.answer, BackupFile) and backup.phase != "Verifying":
        if backup.existing is not None:
            return _found(seen, seen.answer, now)
        return _made(backup, seen.answer, seen.answer.volume_id, now)
    if isinstance(seen.answer, NotFound):
        message = f"There is no file {backup.existing} in the backup directory of {backup.gateway}."
        return backup_end.failed(backup, Reason.FileNotFound, message, now)
    if backup.phase == "Verifying":
        return _verify(seen, now)
    if isinstance(seen.answer, Failure):
        return _failed(seen, seen.answer, now)
    retry = backup.time("nextRetryTime")
    if retry is not None and retry > now:
        return Wait(times.seconds_until(retry, now))
    return _start(seen, now)


def _start(seen: Observed, now: datetime) -> BackupAction:
    backup = seen.backup
    deadline = _deadline(backup)
    if now >= deadline:
        return _out_of_time(seen, now)
    if not isinstance(seen.gateway, Endpoint):
        return attempts.wait_for_gateway(backup, seen.gateway, deadline, now)
    if isinstance(seen.health, Failure):
        return _failed(seen, seen.health, now)
    if seen.health is None or seen.health.volume_id is None or seen.backup_id is None:
        message = f"The admin API in pod {seen.gateway.pod} does not say which volume it has."
        return _failed(seen, Failure(Reason.VolumeUnknown, message, retryable=True), now)
    if backup.existing is not None:
        return _find(backup, backup.existing, seen.gateway, seen.health, now)
    return _call(backup, seen.gateway, seen.health, seen.backup_id, deadline, now)


def _deadline(backup: Backup) -> datetime:
    started = backup.time("startTime")
    if started is None:
        return times.later(backup.meta.created, backup.starting_deadline)
    return times.later(started, backup.timeout)


def _call(
    backup: Backup, pod: Endpoint, health: SystemHealthData, backup_id: str, deadline: datetime, now: datetime
) -> CallBackup:
    meta = backup.meta
    started = backup.time("startTime") or now
    path = str(
        backup.status.get("path")
        or backup_path(
            backup.group, meta.created, meta.ref.name, meta.ref.uid, encrypted=health.encryption == "require"
        )
    )
    status = _running(backup, pod, health, path, now)
    status.update(message=f"Pod {pod.pod} has been asked for the backup.", backupID=backup_id)
    left = times.seconds_until(max(deadline, times.later(started, backup.timeout)), now)
    metadata = {
        "namespace": meta.ref.namespace,
        "name": meta.ref.name,
        "uid": meta.ref.uid,
        "group": backup.group,
        "gateway": str(backup.gateway),
    }
    if backup.description:
        metadata["description"] = backup.description
    return CallBackup(path, meta.ref.uid, metadata, max(left, _SHORTEST_CALL), status)


def _running(backup: Backup, pod: Endpoint, health: SystemHealthData, path: str, now: datetime) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": "Running",
        "reason": str(Reason.InProgressNow),
        "observedGeneration": backup.meta.generation,
        "startTime": times.text(backup.time("startTime") or now),
        "attempt": attempts.current(backup),
        "nextRetryTime": None,
        "pod": pod.pod,
        "path": path,
        "volumeID": health.volume_id,
        "gatewayID": health.gateway_id,
    }
    authorized = attempts.authorized(backup, None, now)
    if authorized is not None:
        status["conditions"] = authorized
    return status


def _find(backup: Backup, path: str, pod: Endpoint, health: SystemHealthData, now: datetime) -> FindFile:
    status = _running(backup, pod, health, path, now)
    status.update(message=f"Pod {pod.pod} has been asked about {path}.", adopted=True)
    return FindFile(path, status)


def _found(seen: Observed, found: BackupFile, now: datetime) -> BackupAction:
    """The path was claimed before the file was looked at; now it is seen who else wants it."""
    backup = seen.backup
    volume_id = str(backup.status.get("volumeID") or "")
    backup_id = found.backup_id if isinstance(found, BackupRecord) else ""
    others = seen.index.find_by_path_or_id(backup.meta.ref.namespace, found.path, backup_id)
    owned = adoption.owner(backup, others, volume_id)
    if owned is None:
        return _made(backup, found, volume_id, now)
    if owned.undecided and now < _deadline(backup):
        return Wait(_UNDECIDED)
    message = f"{found.path} belongs to GatewayBackup {owned.by}: one file, one resource."
    return backup_end.failed(backup, Reason.AlreadyOwned, message, now)


def _made(backup: Backup, file: BackupFile, volume_id: str | None, now: datetime) -> Write:
    done = "made" if backup.existing is None else "found"
    what = "its record is being read back" if backup.existing is None else "it is being read again"
    return Write(
        {
            "phase": "Verifying",
            "reason": str(Reason.Verifying),
            "message": f"The backup is {done}; {what}.",
            "observedGeneration": backup.meta.generation,
            "nextRetryTime": None,
            **backup_end.file_status(file, volume_id, now),
        }
    )


def _verify(seen: Observed, now: datetime) -> BackupAction:
    backup, stored, checked = seen.backup, seen.stored, seen.checked
    path = backup.status.get("path")
    if isinstance(stored, BackupRecord) and not _is_recorded(backup, stored):
        message = f"The record of {path} changed between two reads: another file is there now."
        return backup_end.failed(backup, Reason.RecordMismatch, message, now)
    if isinstance(stored, NotFound) or isinstance(checked, NotFound):
        message = f"{path} was there and is not on the volume any more: somebody removed it."
        return backup_end.failed(backup, Reason.RecordMismatch, message, now)
    level = _level(backup, stored, checked)
    if level is not None:
        if backup.existing is not None and ADOPTED_LABEL not in backup.meta.labels:
            return PutLabel(ADOPTED_LABEL, "true")
        proof = checked.proof if isinstance(checked, VerificationResult) else None
        return backup_end.completed(backup, level, proof, seen.index, now)
    if isinstance(checked, FileCheck):
        return _not_proven(backup, checked, now)
    if now >= _deadline(backup):
        return _out_of_time(seen, now)
    failure = checked if isinstance(checked, Failure) else stored if isinstance(stored, Failure) else None
    if failure is not None:
        return _failed(seen, failure, now)
    retry = backup.time("nextRetryTime")
    if retry is not None and retry > now:
        return Wait(times.seconds_until(retry, now))
    if not isinstance(seen.gateway, Endpoint):
        return attempts.wait_for_gateway(backup, seen.gateway, _deadline(backup), now)
    backup_id = str(backup.status.get("backupID") or "")
    if stored is None and backup.existing is None:
        return ReadBack(backup_id)
    return CheckFile(backup_id, str(path))


def _is_recorded(backup: Backup, stored: BackupRecord) -> bool:
    wanted = (backup.status.get("sha256"), backup.status.get("contentDigest"), backup.status.get("volumeID"))
    return wanted == (stored.stored_sha256, stored.content_sha256, stored.volume_id)


def _level(backup: Backup, stored: BackupRecord | NotFound | Failure | None, checked: object) -> str | None:
    """How far the file is proven, once that is as far as it must be.

    What was made a moment ago was proven when it was made, and its record says so. A file that lay there is proven now.
    """
    if isinstance(checked, FileCheck):
        whole = not checked.problems and checked.stored_sha256 == backup.status.get("sha256")
        level = str(checked.level or "")
        return level if whole and _suffices(level, backup) else None
    if isinstance(stored, BackupRecord) and backup.existing is None:
        level = str(stored.level or "")
        return level if _suffices(level, backup) else None
    return None


def _suffices(level: str, backup: Backup) -> bool:
    return _LEVELS.index(level) >= _LEVELS.index(backup.wanted_level)


def _not_proven(backup: Backup, checked: FileCheck, now: datetime) -> Finish:
    path = backup.status.get("path")
    for problem in checked.problems:
        return backup_end.failed(backup, problem.code, f"{path}: {problem.message}.", now)
    if checked.stored_sha256 != backup.status.get("sha256"):
        return backup_end.failed(backup, Reason.RecordMismatch, f"{path} changed between two reads.", now)
    message = (
        f"{path} is proven only as {checked.level or 'nothing'}, and {backup.wanted_level} is wanted: an encrypted "
        "file cannot be opened without its identity. `verification.level: Stored` accepts it."
    )
    return backup_end.failed(backup, Reason.NotVerified, message, now)


def _failed(seen: Observed, failure: Failure, now: datetime) -> BackupAction:
    backup = seen.backup
    attempt = attempts.current(backup)
    permanent = not attempts.may_pass(failure)
    exhausted = not failure.exempt_from_retry_limit and attempt > backup.retry_limit
    if permanent or exhausted:
        if failure.outcome_unknown and seen.stored is None and _can_look(seen):
            return ReadBack(str(backup.status.get("backupID")))
        if isinstance(seen.stored, BackupRecord) and backup.phase != "Verifying":
            return _made(backup, seen.stored, seen.stored.volume_id, now)
        said = failure.sentence() if permanent else f"{failure.sentence()} Given up after {attempt} attempts."
        errors = attempts.with_error(backup, failure, now)
        return backup_end.failed(backup, failure.code, said, now, {"lastErrors": errors, "attempt": attempt})
    return attempts.again(backup, failure, now)


def _can_look(seen: Observed) -> bool:
    backup = seen.backup
    return backup.existing is None and bool(backup.status.get("backupID")) and isinstance(seen.gateway, Endpoint)


def _out_of_time(seen: Observed, now: datetime) -> BackupAction:
    """What the volume holds beats the clock: an answer may have been lost, and the file be there."""
    backup = seen.backup
    started = backup.time("startTime") is not None
    if started and seen.stored is None and _can_look(seen):
        return ReadBack(str(backup.status.get("backupID")))
    if isinstance(seen.stored, BackupRecord) and backup.phase != "Verifying":
        return _made(backup, seen.stored, seen.stored.volume_id, now)
    seconds = backup.timeout if started else backup.starting_deadline
    field = "timeoutSeconds" if started else "startingDeadlineSeconds"
    fallback = Reason.TimedOut if started else Reason.StartingDeadlineExceeded
    cause: str = str(fallback)
    what = "It was not finished" if started else "It could not be started"
    if isinstance(seen.gateway, Problem):
        cause, detail = str(seen.gateway.reason), f" {seen.gateway.message}"
    elif backup.reason and backup.reason not in attempts.NO_CAUSE:
        cause, detail = backup.reason, f" {backup.status.get('message', '')}"
    else:
        detail = ""
    return backup_end.failed(backup, cause, f"{what} within {seconds} s ({field}).{detail}", now)
