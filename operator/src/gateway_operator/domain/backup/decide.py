"""Decides the next step of a GatewayBackup: a pure function of an observation and the time.

The phases of a new backup, and of one that adopts a file (``spec.existing``):

    Pending    wait for a gateway that answers                                       -> Running
    Running    new: call the backup until it is answered                             -> Completed | Verifying
    Running    adopted: claim the path in the status, read the file, find its owner  -> Verifying
    Verifying  the admin API reads the file and proves a level                       -> Completed

Completed needs a proof of ``verification.level``. A new backup is Completed at once if the answer of the call has it.
Every phase may end in Failed, by a deadline or by an error that no retry fixes. The first status of an object has its
origin, so the origin is recorded before the gateway is called.

The order of the checks matters. A terminal object never changes, and the delete handler owns an object that is being
deleted. A backup that is on the volume is more important than a deadline. The gateway is called last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import BackupRecord, ErrorCode, SystemHealthData, VerificationResult
from gateway_operator.domain.backup import claim, file_ownership
from gateway_operator.domain.backup import status as backup_status
from gateway_operator.domain.backup.origin import OriginDecision, OriginUnknown
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.index.backup_index import TERMINAL_BACKUP_PHASES, BackupIndex
from gateway_operator.domain.model import retry as retry_policy
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import (
    BackupAction,
    CallBackup,
    CheckFile,
    Done,
    FindFile,
    Finish,
    ReadRecord,
    Wait,
    Write,
)
from gateway_operator.domain.model.admin_api import BackupFile, Failure, FileCheck, NotFound
from gateway_operator.domain.model.identifiers import Origin
from gateway_operator.domain.model.levels import reaches
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup

_UNDECIDED_OWNER_SECONDS: Final = 2.0
_ORIGIN_RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True)
class BackupObservation:
    """The inputs of one decision.

    ``answer`` is the result of this run's last call. ``stored`` is the record that was read by id because an answer was
    lost. ``checked`` is the result of a verification of the file. ``index`` holds the other backups. ``origin`` is
    None if the status has the origin or the run has not read it.
    """

    backup: Backup
    gateway: Endpoint | GatewayProblem | None = None
    health: SystemHealthData | Failure | None = None
    backup_id: str | None = None
    answer: BackupFile | NotFound | Failure | None = None
    stored: BackupRecord | NotFound | Failure | None = None
    checked: FileCheck | NotFound | Failure | None = None
    index: BackupIndex = field(default_factory=BackupIndex)
    origin: OriginDecision | OriginUnknown | None = None
    running_restore: str | None = None
    """The name of the GatewayRestore whose restored config is live and not committed."""


def needs_gateway(backup: Backup, now: datetime) -> bool:
    """Whether an observation of the gateway could change the decision. It saves reads for terminal objects."""
    return not (is_terminal(backup) or backup.meta.deleting_since or retry_policy.pending_retry(backup, now))


def is_terminal(backup: Backup) -> bool:
    """Whether the object has ended and never changes any more."""
    return backup.phase in TERMINAL_BACKUP_PHASES


def decide(observed: BackupObservation, now: datetime) -> BackupAction:
    """The next action for this observation. The first status that is written includes the origin."""
    backup, origin = observed.backup, observed.origin
    if backup.has_origin or not isinstance(origin, OriginDecision):
        return _next_action(observed, now)
    # The decision already uses the origin, which the same status write makes durable.
    decided = replace(backup, status={**backup.status, **origin.status()})
    return _with_status(_next_action(replace(observed, backup=decided), now), origin.status())


def _with_status(action: BackupAction, added: Mapping[str, Any]) -> BackupAction:
    match action:
        case Wait(status=status) if not status:
            return action
        case Write() | Finish() | Wait() | CallBackup() | FindFile():
            return replace(action, status={**added, **action.status})
    return action


def _next_action(observed: BackupObservation, now: datetime) -> BackupAction:
    backup = observed.backup
    if is_terminal(backup) or backup.meta.deleting_since:
        return Done()
    # The answer of this run's call comes first: the file exists, so no deadline may fail the backup.
    if backup.existing is None and isinstance(observed.answer, BackupRecord) and backup.phase != "Verifying":
        return _complete_or_verify(observed, observed.answer, now)
    if backup.existing is not None and isinstance(observed.answer, BackupFile) and backup.phase != "Verifying":
        return _claim_adopted(observed, observed.answer, now)
    if isinstance(observed.answer, NotFound):
        message = f"There is no file {backup.existing} in the backup directory of {backup.gateway}."
        return backup_status.failed(backup, Reason.FileNotFound, message, now)
    if backup.phase == "Verifying":
        return _verify(observed, now)
    if isinstance(observed.answer, Failure):
        return after_failure(observed, observed.answer, now)
    retry = retry_policy.pending_retry(backup, now)
    if retry is not None:
        # Requeue for the recorded time, which is the same after a restart of the operator.
        return Wait(timestamps.seconds_until(retry, now))
    return _start(observed, now)


def _start(observed: BackupObservation, now: datetime) -> BackupAction:
    backup = observed.backup
    latest = deadline(backup)
    if now >= latest:
        return deadline_exceeded(observed, now)
    if not isinstance(observed.gateway, Endpoint):
        return retry_policy.wait_for_gateway(backup, observed.gateway, latest, now)
    if isinstance(observed.health, Failure):
        return after_failure(observed, observed.health, now)
    if observed.health is None or observed.health.volume_id is None or observed.backup_id is None:
        message = f"The admin API in pod {observed.gateway.pod} does not say which volume it has."
        return after_failure(observed, Failure(Reason.VolumeUnknown, message, retryable=True), now)
    if not backup.has_origin:
        return _wait_for_origin(observed, latest, now)
    if observed.running_restore is not None and backup.existing is None and backup.origin is not Origin.Restore:
        message = (
            f"GatewayRestore {observed.running_restore} of this gateway is running: its config may be rolled back."
        )
        problem = GatewayProblem(Reason.RestoreInProgress, message)
        return retry_policy.wait_for_gateway(backup, problem, latest, now)
    if backup.existing is not None:
        return claim.claim_existing(backup, backup.existing, observed.gateway, observed.health, now)
    return claim.claim_new(backup, observed.gateway, observed.health, observed.backup_id, latest, now)


def _wait_for_origin(observed: BackupObservation, latest: datetime, now: datetime) -> Wait:
    """Requeue until the origin is verified. The gateway is not called before, because the call contains the origin."""
    problem = observed.origin.problem if isinstance(observed.origin, OriginUnknown) else None
    if problem is None:
        # The restore that created the object records its uid within milliseconds.
        return Wait(_ORIGIN_RETRY_SECONDS)
    return retry_policy.wait_for_gateway(observed.backup, problem, latest, now)


def deadline(backup: Backup) -> datetime:
    """The deadline for the start; once started, the deadline for the end."""
    return timestamps.deadline(backup.meta.created, backup.starting_deadline, backup.time("startTime"), backup.timeout)


def _claim_adopted(observed: BackupObservation, file: BackupFile, now: datetime) -> BackupAction:
    """Verify the file unless another GatewayBackup owns it. The status claimed the path before the file was read."""
    backup = observed.backup
    volume_id = str(backup.status.get("volumeID") or "")
    backup_id = file.backup_id if isinstance(file, BackupRecord) else ""
    others = observed.index.find_by_path_or_id(backup.meta.ref.namespace, file.path, backup_id)
    owned = file_ownership.find_owner(backup, others, volume_id)
    if owned is None:
        return _start_verifying(backup, file, volume_id, now)
    if owned.undecided and now < deadline(backup):
        # A younger object may not have read our claim yet: wait until it has failed or completed.
        return Wait(_UNDECIDED_OWNER_SECONDS)
    message = f"{file.path} belongs to GatewayBackup {owned.name}: a file has one GatewayBackup."
    return backup_status.failed(backup, Reason.AlreadyOwned, message, now)


def _complete_or_verify(observed: BackupObservation, record: BackupRecord, now: datetime) -> BackupAction:
    """Complete a new backup whose record proves the required level; verify the file of any other.

    The admin API has written the file durably and read it back before it answers with that level.
    """
    backup, level = observed.backup, str(record.level or "")
    if _proves_level(level, backup):
        status = backup_status.file_status(record, record.volume_id, now)
        return backup_status.completed(backup, level, record.proof, observed.index, now, status)
    return _start_verifying(backup, record, record.volume_id, now)


def _start_verifying(backup: Backup, file: BackupFile, volume_id: str | None, now: datetime) -> Write:
    # Durable before the verification: it must confirm the digest that the status has from here on.
    return Write(
        {
            "phase": "Verifying",
            "reason": str(Reason.Verifying),
            "message": f"The file was {'written' if backup.existing is None else 'found'} and is being verified.",
            "observedGeneration": backup.meta.generation,
            "nextRetryTime": None,
            "failure": None,
            **backup_status.file_status(file, volume_id, now),
            **_manifest_schedule(backup, file),
        }
    )


def _manifest_schedule(backup: Backup, file: BackupFile) -> dict[str, str]:
    """``status.schedule`` of an adopted file: the schedule whose backup it was, if its manifest names one."""
    metadata = file.metadata if isinstance(file, BackupRecord) else {}
    if backup.existing is None or metadata.get("origin") != Origin.Schedule or not metadata.get(claim.SCHEDULE_KEY):
        return {}
    return {"schedule": metadata[claim.SCHEDULE_KEY]}


def _verify(observed: BackupObservation, now: datetime) -> BackupAction:
    backup, checked = observed.backup, observed.checked
    path = backup.status.get("path")
    if isinstance(checked, NotFound):
        message = f"{path} was on the volume and no longer is: someone removed it."
        return backup_status.failed(backup, Reason.RecordMismatch, message, now)
    if isinstance(checked, FileCheck):
        level = str(checked.level or "")
        unchanged = checked.stored_sha256 == backup.status.get("sha256")
        if checked.problems or not unchanged or not _proves_level(level, backup):
            return _not_proven(backup, checked, now)
        proof = checked.proof if isinstance(checked, VerificationResult) else None
        return backup_status.completed(backup, level, proof, observed.index, now)
    if now >= deadline(backup):
        return deadline_exceeded(observed, now)
    if isinstance(checked, Failure):
        return after_failure(observed, checked, now)
    retry = retry_policy.pending_retry(backup, now)
    if retry is not None:
        # Requeue for the recorded time, which is the same after a restart of the operator.
        return Wait(timestamps.seconds_until(retry, now))
    if not isinstance(observed.gateway, Endpoint):
        return retry_policy.wait_for_gateway(backup, observed.gateway, deadline(backup), now)
    # A repeated verification only reads the file, so a crash after this call is harmless.
    return CheckFile(str(backup.status.get("backupID") or ""), str(path))


def _proves_level(level: str, backup: Backup) -> bool:
    return reaches(level, backup.required_level)


def _not_proven(backup: Backup, checked: FileCheck, now: datetime) -> Finish:
    path = backup.status.get("path")
    for problem in checked.problems:
        return backup_status.failed(backup, problem.code, f"{path}: {problem.message}.", now)
    if checked.stored_sha256 != backup.status.get("sha256"):
        return backup_status.failed(backup, Reason.RecordMismatch, f"{path} changed between two reads.", now)
    message = (
        f"{path} has the level {checked.level or 'none'}, but {backup.required_level} is required. An encrypted file "
        "cannot be decrypted without its identity; `verification.level: Stored` accepts it."
    )
    return backup_status.failed(backup, Reason.NotVerified, message, now)


def after_failure(observed: BackupObservation, failure: Failure, now: datetime) -> BackupAction:
    """Retry after a failed call, or end: a lost answer is resolved first."""
    backup = observed.backup
    attempt = retry_policy.attempt_number(backup)
    permanent = not retry_policy.is_retryable(failure)
    exhausted = not failure.exempt_from_retry_limit and attempt > backup.retry_limit
    if permanent or exhausted:
        # The file may have been written although the answer was lost: read the record before the backup is Failed. Our
        # id was also used if the description was edited since.
        may_exist = failure.outcome_unknown or failure.code == ErrorCode.RequestIdReused
        if may_exist and observed.stored is None and _can_read_record(observed):
            return ReadRecord(str(backup.status.get("backupID")))
        if isinstance(observed.stored, BackupRecord) and backup.phase != "Verifying":
            return _complete_or_verify(observed, observed.stored, now)
        if failure.code == ErrorCode.NameUsed:
            return backup_status.failed(backup, failure.code, backup_status.name_used_message(backup, failure), now)
        message = failure.sentence() if permanent else f"{failure.sentence()} Given up after {attempt} attempts."
        errors = retry_policy.with_error(backup, failure, now)
        return backup_status.failed(backup, failure.code, message, now, {"lastErrors": errors, "attempt": attempt})
    return retry_policy.retry(backup, failure, now)


def _can_read_record(observed: BackupObservation) -> bool:
    """Whether a lost answer can be resolved by reading the record by its id."""
    backup = observed.backup
    claimed = backup.existing is None and backup.phase != "Verifying" and bool(backup.status.get("backupID"))
    return claimed and isinstance(observed.gateway, Endpoint)


def deadline_exceeded(observed: BackupObservation, now: datetime) -> BackupAction:
    """End at the deadline, unless the file is on the volume and only the answer was lost."""
    backup = observed.backup
    started = backup.time("startTime") is not None
    if started and observed.stored is None and _can_read_record(observed):
        return ReadRecord(str(backup.status.get("backupID")))
    if isinstance(observed.stored, BackupRecord) and backup.phase != "Verifying":
        return _complete_or_verify(observed, observed.stored, now)
    seconds = backup.timeout if started else backup.starting_deadline
    field = "timeoutSeconds" if started else "startingDeadlineSeconds"
    fallback = Reason.TimedOut if started else Reason.StartingDeadlineExceeded
    cause: str = str(fallback)
    outcome = "It was not finished" if started else "It could not be started"
    if isinstance(observed.gateway, GatewayProblem):
        cause, detail = str(observed.gateway.reason), f" {observed.gateway.message}"
    elif backup.failure:
        cause, detail = str(backup.failure.get("reason") or fallback), f" {backup.failure.get('message', '')}"
    else:
        detail = ""
    return backup_status.failed(backup, cause, f"{outcome} within {seconds} s ({field}).{detail}", now)
