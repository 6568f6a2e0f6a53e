"""What to do next about a GatewayBackup: a pure function of what was seen and what time it is.

The order of the questions is the design: a finished one is never touched; one that is being deleted belongs to the
delete handler; what the volume already holds beats every deadline; only then is anything asked of a gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain import attempts, conditions, times
from gateway_operator.domain.actions import BackupAction, CallBackup, Finish, Note, ReadBack, Stop, Wait, Write
from gateway_operator.domain.calls import Failure, Gone, Health, StoredBackup
from gateway_operator.domain.gateway import Endpoint, Problem
from gateway_operator.domain.names import backup_path
from gateway_operator.domain.objects import Backup
from gateway_operator.domain.reasons import Reason

TERMINAL: Final = frozenset({"Completed", "Failed", "Deleting"})
_SHORTEST_CALL: Final = 5.0


@dataclass(frozen=True)
class Observed:
    """What one look gave. ``answer`` is what the last call of this run brought, ``stored`` what was read back."""

    backup: Backup
    gateway: Endpoint | Problem | None = None
    health: Health | Failure | None = None
    backup_id: str | None = None
    answer: StoredBackup | Failure | None = None
    stored: StoredBackup | Gone | Failure | None = None


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
    if isinstance(seen.answer, StoredBackup) and backup.phase != "Verifying":
        return _made(backup, seen.answer, now)
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
    return _call(backup, seen.gateway, seen.health, seen.backup_id, deadline, now)


def _deadline(backup: Backup) -> datetime:
    started = backup.time("startTime")
    if started is None:
        return times.later(backup.meta.created, backup.starting_deadline)
    return times.later(started, backup.timeout)


def _call(
    backup: Backup, pod: Endpoint, health: Health, backup_id: str, deadline: datetime, now: datetime
) -> CallBackup:
    meta = backup.meta
    started = backup.time("startTime") or now
    path = str(
        backup.status.get("path")
        or backup_path(backup.group, meta.created, meta.ref.name, meta.ref.uid, encrypted=health.encrypted)
    )
    status: dict[str, Any] = {
        "phase": "Running",
        "reason": str(Reason.InProgressNow),
        "message": f"Pod {pod.pod} has been asked for the backup.",
        "observedGeneration": meta.generation,
        "startTime": times.text(started),
        "attempt": attempts.current(backup),
        "nextRetryTime": None,
        "pod": pod.pod,
        "path": path,
        "backupID": backup_id,
        "volumeID": health.volume_id,
        "gatewayID": health.gateway_id,
    }
    authorized = attempts.authorized(backup, None, now)
    if authorized is not None:
        status["conditions"] = authorized
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


def _made(backup: Backup, made: StoredBackup, now: datetime) -> Write:
    return Write(
        {
            "phase": "Verifying",
            "reason": str(Reason.Verifying),
            "message": "The backup is made; its record is being read back.",
            "observedGeneration": backup.meta.generation,
            "nextRetryTime": None,
            **_record(made, now),
        }
    )


def _record(made: StoredBackup, now: datetime) -> dict[str, Any]:
    return {
        "snapshotTime": times.precise(made.created),
        "backupID": made.backup_id,
        "volumeID": made.volume_id,
        "gatewayID": made.gateway_id,
        "gatewayVersion": made.gateway_version,
        "path": made.path,
        "sizeBytes": made.stored_bytes,
        "sha256": made.stored_sha256,
        "contentDigest": made.content_sha256,
        "counts": made.counts.status(),
        "verification": {"level": made.level, "time": times.text(now)},
        **made.protection(),
    }


def _verify(seen: Observed, now: datetime) -> BackupAction:
    backup, stored = seen.backup, seen.stored
    if isinstance(stored, StoredBackup):
        wanted = (backup.status.get("sha256"), backup.status.get("contentDigest"), backup.status.get("volumeID"))
        found = (stored.stored_sha256, stored.content_sha256, stored.volume_id)
        if wanted != found:
            message = f"The record of {backup.status.get('path')} changed between two reads: another file is there now."
            return _finish(backup, False, Reason.RecordMismatch, message, now)
        message = f"{stored.path}, {stored.stored_bytes} bytes, {stored.level}."
        verification = {"verification": {"level": stored.level, "time": times.text(now)}}
        return _finish(backup, True, Reason.BackedUp, message, now, verification)
    if isinstance(stored, Gone):
        message = f"{backup.status.get('path')} was made and is not on the volume any more: somebody removed it."
        return _finish(backup, False, Reason.RecordMismatch, message, now)
    if now >= _deadline(backup):
        return _out_of_time(seen, now)
    if isinstance(stored, Failure):
        return _failed(seen, stored, now)
    retry = backup.time("nextRetryTime")
    if retry is not None and retry > now:
        return Wait(times.seconds_until(retry, now))
    if isinstance(seen.gateway, Endpoint):
        return ReadBack(str(backup.status.get("backupID", "")))
    return attempts.wait_for_gateway(backup, seen.gateway, _deadline(backup), now)


def _failed(seen: Observed, failure: Failure, now: datetime) -> BackupAction:
    backup = seen.backup
    attempt = attempts.current(backup)
    permanent = not attempts.may_pass(failure)
    exhausted = not failure.free and attempt > backup.retry_limit
    if permanent or exhausted:
        if failure.unsure and seen.stored is None and _can_look(seen):
            return ReadBack(str(backup.status.get("backupID")))
        if isinstance(seen.stored, StoredBackup) and backup.phase != "Verifying":
            return _made(backup, seen.stored, now)
        said = failure.sentence() if permanent else f"{failure.sentence()} Given up after {attempt} attempts."
        errors = attempts.with_error(backup, failure, now)
        return _finish(backup, False, failure.code, said, now, {"lastErrors": errors, "attempt": attempt})
    return attempts.again(backup, failure, now)


def _can_look(seen: Observed) -> bool:
    return bool(seen.backup.status.get("backupID")) and isinstance(seen.gateway, Endpoint)


def _out_of_time(seen: Observed, now: datetime) -> BackupAction:
    """What the volume holds beats the clock: an answer may have been lost, and the file be there."""
    backup = seen.backup
    started = backup.time("startTime") is not None
    if started and seen.stored is None and _can_look(seen):
        return ReadBack(str(backup.status.get("backupID")))
    if isinstance(seen.stored, StoredBackup) and backup.phase != "Verifying":
        return _made(backup, seen.stored, now)
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
    return _finish(backup, False, cause, f"{what} within {seconds} s ({field}).{detail}", now)


def _finish(
    backup: Backup,
    succeeded: bool,
    reason: str,
    message: str,
    now: datetime,
    more: Mapping[str, Any] | None = None,
) -> Finish:
    generation = backup.meta.generation
    status = {
        **(more or {}),
        "phase": "Completed" if succeeded else "Failed",
        "reason": str(reason),
        "message": message,
        "observedGeneration": generation,
        "completionTime": times.text(now),
        "nextRetryTime": None,
        "conditions": conditions.at_the_end(backup.conditions, succeeded, str(reason), message, generation, now),
    }
    return Finish(status, Note(str(reason), message, warning=not succeeded))
