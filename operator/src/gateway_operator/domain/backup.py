"""Decides the next step of a GatewayBackup: a pure function of an observation and the time.

The order of the checks matters. A finished object is never touched, and the delete handler owns one that is being
deleted. A backup that is already on the volume beats every deadline. Only then is a gateway called.

A new backup goes Running -> Completed if the admin API's answer proves the wanted level. Verifying is for adopted
files and for levels that the answer does not prove.
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
    """The inputs of one decision.

    ``answer`` is the result of this run's last call, ``stored`` the record that was read by id because an answer was
    lost, ``checked`` the result of a verification of the file. ``index`` holds the other backups.
    """

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
    if backup.existing is None and isinstance(seen.answer, BackupRecord) and backup.phase != "Verifying":
        return _complete_or_verify(seen, seen.answer, now)
    if backup.existing is not None and isinstance(seen.answer, BackupFile) and backup.phase != "Verifying":
        return _claim_adopted(seen, seen.answer, now)
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
        return _deadline_exceeded(seen, now)
    if not isinstance(seen.gateway, Endpoint):
        return attempts.wait_for_gateway(backup, seen.gateway, deadline, now)
    if isinstance(seen.health, Failure):
        return _failed(seen, seen.health, now)
    if seen.health is None or seen.health.volume_id is None or seen.backup_id is None:
        message = f"The admin API in pod {seen.gateway.pod} does not say which volume it has."
        return _failed(seen, Failure(Reason.VolumeUnknown, message, retryable=True), now)
    if backup.existing is not None:
        return _request_adoption(backup, backup.existing, seen.gateway, seen.health, now)
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
        "failure": None,
        "pod": pod.pod,
        "path": path,
        "volumeID": health.volume_id,
        "gatewayID": health.gateway_id,
    }
    authorized = attempts.authorized(backup, None, now)
    if authorized is not None:
        status["conditions"] = authorized
    return status


def _request_adoption(backup: Backup, path: str, pod: Endpoint, health: SystemHealthData, now: datetime) -> FindFile:
    status = _running(backup, pod, health, path, now)
    status.update(message=f"Pod {pod.pod} has been asked about {path}.", adopted=True)
    return FindFile(path, status)


def _claim_adopted(seen: Observed, found: BackupFile, now: datetime) -> BackupAction:
    """Check who else wants the file. The path was claimed in the status before the file was read."""
    backup = seen.backup
    volume_id = str(backup.status.get("volumeID") or "")
    backup_id = found.backup_id if isinstance(found, BackupRecord) else ""
    others = seen.index.find_by_path_or_id(backup.meta.ref.namespace, found.path, backup_id)
    owned = adoption.owner(backup, others, volume_id)
    if owned is None:
        return _start_verifying(backup, found, volume_id, now)
    if owned.undecided and now < _deadline(backup):
        return Wait(_UNDECIDED)
    message = f"{found.path} belongs to GatewayBackup {owned.by}: one file, one resource."
    return backup_end.failed(backup, Reason.AlreadyOwned, message, now)


def _complete_or_verify(seen: Observed, record: BackupRecord, now: datetime) -> BackupAction:
    """End a new backup whose record proves the wanted level: the admin API has proven it and made it durable."""
    backup, level = seen.backup, str(record.level or "")
    if _suffices(level, backup):
        status = backup_end.file_status(record, record.volume_id, now)
        return backup_end.completed(backup, level, record.proof, seen.index, now, status)
    return _start_verifying(backup, record, record.volume_id, now)


def _start_verifying(backup: Backup, file: BackupFile, volume_id: str | None, now: datetime) -> Write:
    return Write(
        {
            "phase": "Verifying",
            "reason": str(Reason.Verifying),
            "message": f"The backup is {'made' if backup.existing is None else 'found'}; its file is being verified.",
            "observedGeneration": backup.meta.generation,
            "nextRetryTime": None,
            "failure": None,
            **backup_end.file_status(file, volume_id, now),
        }
    )


def _verify(seen: Observed, now: datetime) -> BackupAction:
    backup, checked = seen.backup, seen.checked
    path = backup.status.get("path")
    if isinstance(checked, NotFound):
        message = f"{path} was there and is not on the volume any more: somebody removed it."
        return backup_end.failed(backup, Reason.RecordMismatch, message, now)
    if isinstance(checked, FileCheck):
        level = str(checked.level or "")
        unchanged = checked.stored_sha256 == backup.status.get("sha256")
        if checked.problems or not unchanged or not _suffices(level, backup):
            return _not_proven(backup, checked, now)
        if backup.existing is not None and ADOPTED_LABEL not in backup.meta.labels:
            return PutLabel(ADOPTED_LABEL, "true")
        proof = checked.proof if isinstance(checked, VerificationResult) else None
        return backup_end.completed(backup, level, proof, seen.index, now)
    if now >= _deadline(backup):
        return _deadline_exceeded(seen, now)
    if isinstance(checked, Failure):
        return _failed(seen, checked, now)
    retry = backup.time("nextRetryTime")
    if retry is not None and retry > now:
        return Wait(times.seconds_until(retry, now))
    if not isinstance(seen.gateway, Endpoint):
        return attempts.wait_for_gateway(backup, seen.gateway, _deadline(backup), now)
    return CheckFile(str(backup.status.get("backupID") or ""), str(path))


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
        if failure.outcome_unknown and seen.stored is None and _can_read_record(seen):
            return ReadBack(str(backup.status.get("backupID")))
        if isinstance(seen.stored, BackupRecord) and backup.phase != "Verifying":
            return _complete_or_verify(seen, seen.stored, now)
        said = failure.sentence() if permanent else f"{failure.sentence()} Given up after {attempt} attempts."
        errors = attempts.with_error(backup, failure, now)
        return backup_end.failed(backup, failure.code, said, now, {"lastErrors": errors, "attempt": attempt})
    return attempts.again(backup, failure, now)


def _can_read_record(seen: Observed) -> bool:
    """Whether a lost answer can be resolved by reading the record by its id."""
    backup = seen.backup
    claimed = backup.existing is None and backup.phase != "Verifying" and bool(backup.status.get("backupID"))
    return claimed and isinstance(seen.gateway, Endpoint)


def _deadline_exceeded(seen: Observed, now: datetime) -> BackupAction:
    """A backup on the volume beats the deadline: the answer may have been lost although the file was written."""
    backup = seen.backup
    started = backup.time("startTime") is not None
    if started and seen.stored is None and _can_read_record(seen):
        return ReadBack(str(backup.status.get("backupID")))
    if isinstance(seen.stored, BackupRecord) and backup.phase != "Verifying":
        return _complete_or_verify(seen, seen.stored, now)
    seconds = backup.timeout if started else backup.starting_deadline
    field = "timeoutSeconds" if started else "startingDeadlineSeconds"
    fallback = Reason.TimedOut if started else Reason.StartingDeadlineExceeded
    cause: str = str(fallback)
    what = "It was not finished" if started else "It could not be started"
    if isinstance(seen.gateway, Problem):
        cause, detail = str(seen.gateway.reason), f" {seen.gateway.message}"
    elif backup.failure:
        cause, detail = str(backup.failure.get("reason") or fallback), f" {backup.failure.get('message', '')}"
    else:
        detail = ""
    return backup_end.failed(backup, cause, f"{what} within {seconds} s ({field}).{detail}", now)
