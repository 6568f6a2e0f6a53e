"""How a GatewayBackup ends: the record of its file, what changed since the one before, and the terminal status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain import changes, conditions, durations, times
from gateway_operator.domain.actions import Finish, Note
from gateway_operator.domain.calls import StoredBackup
from gateway_operator.domain.known import KnownBackups
from gateway_operator.domain.objects import Backup
from gateway_operator.domain.reasons import Reason

SUSPICIOUS: Final = conditions.SUSPICIOUS


def record(made: StoredBackup, now: datetime) -> dict[str, Any]:
    """What the status says of a file."""
    verification = {"level": made.level, "time": times.text(now)}
    if made.proof:
        verification["proof"] = made.proof
    known = {
        "snapshotTime": times.precise(made.created),
        "backupID": made.backup_id or None,
        "volumeID": made.volume_id,
        "gatewayID": made.gateway_id or None,
        "gatewayVersion": made.gateway_version,
        "path": made.path,
        "sizeBytes": made.stored_bytes,
        "sha256": made.stored_sha256,
        "contentDigest": made.content_sha256 or None,
        "contentBytes": made.content_bytes,
        "counts": made.counts.status() if made.counts is not None else None,
        "verification": verification,
        **made.protection(),
    }
    return {name: value for name, value in known.items() if value is not None}


def failed(backup: Backup, reason: str, message: str, now: datetime, more: Mapping[str, Any] | None = None) -> Finish:
    """It ends without a backup."""
    return _finish(backup, False, str(reason), message, now, more or {})


def completed(
    backup: Backup,
    level: str,
    proof: str | None,
    known: KnownBackups,
    now: datetime,
    record: Mapping[str, Any] | None = None,
) -> Finish:
    """The terminal status of a backup that is proven to ``level``, in one write.

    ``record`` is what ``record()`` gave, where the status does not have it yet.
    """
    added = dict(record or {})
    backup = replace(backup, status={**backup.status, **added})
    status = backup.status
    snapshot = backup.time("snapshotTime") or now
    place, moment = (backup.meta.ref.namespace, backup.gateway), (snapshot, backup.meta.ref.uid)
    verification = {**(status.get("verification") or {}), "level": level, "time": times.text(now)}
    if proof is not None:
        verification["proof"] = proof
    more: dict[str, Any] = {**added, "verification": verification}
    digest, size = status.get("contentDigest"), status.get("contentBytes")
    before = known.before(place, backup.group, moment)
    lost = []
    if before is not None:
        more["changes"] = changes.against(before, backup.counts, size, digest)
        lost = list(changes.lost(before, backup.counts, size, backup.max_shrink))
    same = known.same(place, str(status.get("volumeID") or ""), str(digest), moment) if digest else None
    if same is not None:
        more["unchangedFrom"] = same.name
    age = durations.parse_or_none(backup.ttl)
    if age is not None:
        more["expiresAt"] = times.text(snapshot + age)
    done = Reason.BackedUp if backup.existing is None else Reason.Adopted
    message = f"{status.get('path')}, {status.get('sizeBytes')} bytes, {level}."
    if before is None or not lost:
        return _finish(backup, True, str(done), message, now, more)
    missing = f"Lost {', '.join(lost)} since {before.name}."
    return _finish(backup, True, str(done), message, now, more, suspicious=missing)


def _finish(
    backup: Backup,
    succeeded: bool,
    reason: str,
    message: str,
    now: datetime,
    more: Mapping[str, Any],
    *,
    suspicious: str = "",
) -> Finish:
    generation = backup.meta.generation
    ended = conditions.at_the_end(backup.conditions, succeeded, reason, message, generation, now)
    if suspicious:
        reason, message = str(Reason.Suspicious), f"{message} {suspicious}"
        ended = conditions.with_condition(ended, SUSPICIOUS, True, reason, suspicious, generation, now)
    status = {
        **more,
        "phase": "Completed" if succeeded else "Failed",
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "completionTime": times.text(now),
        "nextRetryTime": None,
        "failure": None if succeeded else {"reason": reason, "message": message},
        "conditions": ended,
    }
    return Finish(status, Note(reason, message, warning=not succeeded or bool(suspicious)))
