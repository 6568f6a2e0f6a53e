"""Resolves the source of a GatewayRestore: `backupName`, `latest`, `before` or `path` becomes a file and a digest.

The result is recorded in the status once. From then on `latest` means the same backup, even if a newer one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway_api.contract import ErrorCode
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.identifiers import SetKind
from gateway_operator.domain.model.levels import VERIFIED, reaches
from gateway_operator.domain.model.names import ENCRYPTED, SAFETY_GROUP
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class RestoreSource:
    """The file to restore, and the digest that is sent with the call."""

    backup_name: str | None
    backup_id: str | None
    path: str | None
    sha256: str | None
    factory_reset: bool = False

    def status(self) -> dict[str, Any]:
        """``status.source``, without the fields that have no value."""
        fields = {
            "backupName": self.backup_name,
            "backupID": self.backup_id,
            "path": self.path,
            "sha256": self.sha256,
        }
        given = {key: value for key, value in fields.items() if value is not None}
        return {**given, "factoryReset": True} if self.factory_reset else given


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the source cannot be restored."""

    reason: str
    message: str


def resolve(restore: Restore, backups: Sequence[Backup], volume_id: str) -> RestoreSource | Refusal:
    """The file to restore from this volume, or the reason why there is none.

    A path and a factory reset need no volume: for them ``volume_id`` may be empty.
    """
    source = _resolve(restore, backups, volume_id)
    if isinstance(source, RestoreSource) and restore.identity is None and (source.path or "").endswith(ENCRYPTED):
        message = f"{source.path} is encrypted: name the Secret with the age identity in spec.identitySecretRef."
        return Refusal(ErrorCode.IdentityRequired, message)
    return source


def _resolve(restore: Restore, backups: Sequence[Backup], volume_id: str) -> RestoreSource | Refusal:
    if restore.factory_reset is not None:
        return RestoreSource(None, None, None, None, factory_reset=True)
    if restore.path is not None:
        return RestoreSource(None, None, restore.path, restore.expected_sha256)
    backup = _named(restore, backups) if restore.backup_name is not None else _newest(restore, backups, volume_id)
    if isinstance(backup, Refusal):
        return backup
    return _usable(restore, backup, volume_id)


def _named(restore: Restore, backups: Sequence[Backup]) -> Backup | Refusal:
    for backup in backups:
        if backup.meta.ref.name == restore.backup_name:
            return backup
    message = f"There is no GatewayBackup {restore.backup_name} in namespace {restore.meta.ref.namespace}."
    return Refusal(Reason.NoSuchBackup, message)


def snapshot_time(backup: Backup) -> datetime:
    """When the config of a backup was read; 1970 without a snapshot time."""
    return backup.time("snapshotTime") or _EPOCH


def _newest(restore: Restore, backups: Sequence[Backup], volume_id: str) -> Backup | Refusal:
    fitting = [backup for backup in backups if _fits(restore, backup, volume_id)]
    if fitting:
        # The name decides between two backups of one instant, so that the result is always the same.
        return max(fitting, key=lambda backup: (snapshot_time(backup), backup.meta.ref.name))
    which = f"before {timestamps.text(restore.before)}" if restore.before else "at all"
    group = f" in group {restore.latest_group}" if restore.latest_group else ""
    message = f"{restore.gateway} has no Verified backup{group} {which} on its current volume ({volume_id})."
    return Refusal(Reason.NoSuchBackup, message)


def _fits(restore: Restore, backup: Backup, volume_id: str) -> bool:
    if backup.phase != "Completed" or not reaches(backup.level, VERIFIED) or backup.meta.deleting_since:
        return False
    if backup.gateway != restore.gateway or backup.status.get("volumeID") != volume_id:
        return False
    group = restore.latest_group
    if group is not None and backup.group != group:
        return False
    # Neither the safety backups of restores, nor what people have put into their group.
    if group is None and (backup.set_id.kind is SetKind.Safety or backup.group == SAFETY_GROUP):
        return False
    if conditions.condition_status(backup.conditions, conditions.FILE_PRESENT) is False:
        return False
    return restore.before is None or snapshot_time(backup) < restore.before


def _usable(restore: Restore, backup: Backup, volume_id: str) -> RestoreSource | Refusal:
    name, status = backup.meta.ref.name, backup.status
    if backup.gateway != restore.gateway:
        return Refusal(
            Reason.WrongGateway, f"GatewayBackup {name} belongs to {backup.gateway}, not to {restore.gateway}."
        )
    if backup.phase != "Completed":
        phase = backup.phase or "Pending"
        cause = f" {backup.message}" if backup.reason == ErrorCode.NameUsed else ""
        message = f"GatewayBackup {name} is {phase}: it has no file to restore.{cause}"
        return Refusal(Reason.BackupNotCompleted, message)
    if status.get("volumeID") != volume_id:
        message = f"GatewayBackup {name} is on volume {status.get('volumeID')}; the gateway has volume {volume_id}."
        return Refusal(Reason.WrongVolume, message)
    digests = (status.get("sha256"), status.get("contentDigest"))
    if restore.expected_sha256 is not None and restore.expected_sha256 not in digests:
        message = f"GatewayBackup {name} has the digests {digests[0]} (file) and {digests[1]} (config)."
        return Refusal(ErrorCode.DigestMismatch, f"{message} expectedSha256 is neither.")
    sha256 = restore.expected_sha256 or status.get("sha256")
    return RestoreSource(name, status.get("backupID"), status.get("path"), sha256)
