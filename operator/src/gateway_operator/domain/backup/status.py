"""The status of a GatewayBackup's file, the comparison with the previous backup, and the terminal status.

Also whether a reconcile has anything to do for an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from gateway_api.contract import BackupRecord
from gateway_operator.domain.backup import changes
from gateway_operator.domain.index.backup_index import TERMINAL_BACKUP_PHASES, BackupIndex
from gateway_operator.domain.model import conditions, durations, timestamps
from gateway_operator.domain.model.actions import Finish, KubernetesEvent
from gateway_operator.domain.model.admin_api import BackupFile, Failure, counts_status
from gateway_operator.domain.model.names import FINALIZER
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup


def has_work(backup: Backup) -> bool:
    """Whether a reconcile would change the object or its file."""
    if backup.meta.deleting_since is not None:
        return FINALIZER in backup.meta.finalizers
    return (
        backup.phase not in TERMINAL_BACKUP_PHASES
        or backup.delete_file != (FINALIZER in backup.meta.finalizers)
        or backup.status.get("observedGeneration") != backup.meta.generation
    )


def name_used_message(backup: Backup, failure: Failure) -> str:
    """Why no backup was made, and the ways to continue. An object of this name was lost, and its file was not."""
    name, existing = backup.meta.ref.name, failure.existing
    if existing is None:
        return failure.sentence()
    return (
        f"The volume has a backup of the name {name}, made for an earlier object: {existing.path} of "
        f"{timestamps.text(existing.created)}. A name is used once, so no new backup was made. For a new backup, use "
        f"another name. To get the earlier one back, create a GatewayBackupImport, which replaces this object, or "
        f"create a GatewayBackup with `existing: {{path: {existing.path}}}`."
    )


def file_status(file: BackupFile, volume_id: str | None, now: datetime) -> dict[str, Any]:
    """The part of the status that describes the file. Unknown fields of a file without a manifest are left out."""
    record = file if isinstance(file, BackupRecord) else None
    verification = {"level": str(file.level or ""), "time": timestamps.text(now)}
    if record is not None and record.proof:
        verification["proof"] = record.proof
    fields = {
        "snapshotTime": timestamps.precise(file.created if isinstance(file, BackupRecord) else file.modified),
        "backupID": record.backup_id if record is not None else None,
        "volumeID": volume_id,
        "gatewayID": file.gateway_id or None,
        "gatewayVersion": record.gateway_version if record is not None else None,
        "path": file.path,
        "sizeBytes": file.stored_bytes,
        "sha256": file.stored_sha256,
        "contentDigest": file.content_sha256 or None,
        "contentBytes": file.content_bytes,
        "counts": counts_status(file.counts) if file.counts is not None else None,
        "verification": verification,
        "encryption": {"recipients": record.recipients[:64]} if record is not None and record.recipients else None,
        "signature": {"keyIDs": record.signed_by[:16]} if record is not None and record.signed_by else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def failed(
    backup: Backup, reason: str, message: str, now: datetime, extra_status: Mapping[str, Any] | None = None
) -> Finish:
    """The terminal status of a backup that failed, in one write."""
    return _finish(backup, False, str(reason), message, now, extra_status or {})


def completed(
    backup: Backup,
    level: str,
    proof: str | None,
    index: BackupIndex,
    now: datetime,
    file: Mapping[str, Any] | None = None,
) -> Finish:
    """The terminal status of a backup that is proven to ``level``, in one write.

    ``file`` is the result of ``file_status()``, if the status does not have it yet.
    """
    added = dict(file or {})
    backup = replace(backup, status={**backup.status, **added})
    status = backup.status
    snapshot = backup.time("snapshotTime") or now
    moment = (snapshot, backup.meta.ref.uid)
    verification = {**(status.get("verification") or {}), "level": level, "time": timestamps.text(now)}
    if proof is not None:
        verification["proof"] = proof
    extra_status: dict[str, Any] = {**added, "verification": verification}
    digest, size = status.get("contentDigest"), status.get("contentBytes")
    previous = index.previous(backup.set_id, moment)
    lost = []
    if previous is not None:
        extra_status["changes"] = changes.changes_since(previous, backup.counts, size, digest)
        lost = list(changes.losses_since(previous, backup.counts, size, backup.max_shrink))
    if digest:
        gateway, volume_id = backup.set_id.namespaced_gateway, str(status.get("volumeID") or "")
        first = index.first_with_same_content(gateway, volume_id, str(digest), moment)
        if first is not None:
            extra_status["unchangedFrom"] = first.name
    age = durations.parse_or_none(backup.ttl)
    if age is not None:
        extra_status["expiresAt"] = timestamps.text(snapshot + age)
    done = Reason.BackedUp if backup.existing is None else Reason.Adopted
    message = f"{status.get('path')}, {status.get('sizeBytes')} bytes, {level}."
    if previous is None or not lost:
        return _finish(backup, True, str(done), message, now, extra_status)
    missing = f"Lost {', '.join(lost)} since {previous.name}."
    return _finish(backup, True, str(done), message, now, extra_status, suspicious=missing)


def _finish(
    backup: Backup,
    succeeded: bool,
    reason: str,
    message: str,
    now: datetime,
    extra_status: Mapping[str, Any],
    *,
    suspicious: str = "",
) -> Finish:
    generation = backup.meta.generation
    ended = conditions.terminal_conditions(backup.conditions, succeeded, reason, message, generation, now)
    if suspicious:
        reason, message = str(Reason.Suspicious), f"{message} {suspicious}"
        ended = conditions.with_condition(ended, conditions.SUSPICIOUS, True, reason, suspicious, generation, now)
    status = {
        **extra_status,
        "phase": "Completed" if succeeded else "Failed",
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "completionTime": timestamps.text(now),
        "nextRetryTime": None,
        "failure": None if succeeded else {"reason": reason, "message": message},
        "conditions": ended,
    }
    return Finish(status, KubernetesEvent(reason, message, warning=not succeeded or bool(suspicious)))
