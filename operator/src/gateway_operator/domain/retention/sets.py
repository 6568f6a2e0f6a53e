"""Groups backups into backup sets and finds the policy of each set.

A set holds the backups of one gateway and one ``spec.group``. A pass reads all GatewayBackups, so a set holds a row of
each and not the object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import BackupSetId, NamespacedGateway
from gateway_operator.domain.model.names import MANUAL_GROUP, SAFETY_GROUP
from gateway_operator.domain.model.resources import Restore
from gateway_operator.domain.restore.status import is_terminal
from gateway_operator.domain.retention.plan import VERIFIED
from gateway_operator.domain.retention.policy import KEEP_ALL, SAFETY, RetentionPolicy, parse
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule


@dataclass(frozen=True, slots=True)
class BackupSet:
    """The backups of one gateway and one ``spec.group``."""

    id: BackupSetId
    schedule: GatewayBackupSchedule | None
    policy: RetentionPolicy | str
    """A sentence if the policy is invalid."""
    members: dict[str, BackupSummary]
    """The rows by the names of the backups."""
    unresolved_restore: str = ""
    """The name of a restore of this gateway that has not resolved its source and may use any of them; or empty."""

    @property
    def rows(self) -> list[BackupSummary]:
        return list(self.members.values())

    @property
    def newest(self) -> datetime | None:
        """The time of the newest backup. Adopted ones do not count: another clock may have set their times."""
        return max((one.time for one in self._good() if not one.adopted), default=None)

    @property
    def newest_verified(self) -> datetime | None:
        """The time of the newest Verified backup; None without one."""
        return max((one.time for one in self._good() if one.level == VERIFIED), default=None)

    @property
    def inventory(self) -> int:
        """The number of Completed backups that are not being deleted."""
        return len(self._good())

    def _good(self) -> list[BackupSummary]:
        return [one for one in self.members.values() if one.phase == "Completed" and not one.is_deleting]


def gather(
    backups: Iterable[BackupSummary], schedules: Iterable[GatewayBackupSchedule], restores: Iterable[Restore]
) -> list[BackupSet]:
    """All sets, including those of schedules without a backup."""
    by_id: dict[BackupSetId, list[BackupSummary]] = defaultdict(list)
    for backup in backups:
        by_id[backup.set_id].append(backup)
    owners = {schedule.set_id: schedule for schedule in schedules if schedule.meta.deleting_since is None}
    for set_id in owners:
        by_id.setdefault(set_id, [])
    unfinished: dict[NamespacedGateway, list[Restore]] = defaultdict(list)
    for restore in restores:
        if not is_terminal(restore):
            unfinished[restore.namespaced_gateway].append(restore)
    sets = []
    for set_id, rows in sorted(by_id.items(), key=lambda one: (one[0].namespace, str(one[0].gateway), one[0].group)):
        owner, users = owners.get(set_id), unfinished[set_id.namespaced_gateway]
        members = {one.name: with_restores(one, users) for one in rows}
        choosing = next((one.meta.ref.name for one in users if has_unresolved_source(one)), "")
        sets.append(BackupSet(set_id, owner, _policy(set_id, owner, rows), members, choosing))
    return sets


def with_restores(backup: BackupSummary, restores: Sequence[Restore]) -> BackupSummary:
    """The row with the unfinished restores that use the backup."""
    users = tuple(sorted(one.meta.ref.name for one in restores if not is_terminal(one) and restore_uses(one, backup)))
    return replace(backup, restores=users) if users else backup


def restore_uses(restore: Restore, backup: BackupSummary) -> bool:
    """Whether a restore uses this backup as its source or created it as its safety backup."""
    if restore.namespaced_gateway != backup.set_id.namespaced_gateway:
        return False
    if backup.restore_uid and backup.restore_uid == restore.uid:
        return True
    source = restore.source
    if source:
        named = (source.get("backupName"), source.get("backupID"), source.get("path"))
        mine = (backup.name, backup.backup_id, backup.path)
        return any(one and one == other for one, other in zip(named, mine, strict=True))
    if restore.backup_name is not None:
        return restore.backup_name == backup.name
    return restore.path is not None and restore.path == backup.path


def has_unresolved_source(restore: Restore) -> bool:
    """Whether the restore has `latest` or `before` and has not resolved it yet."""
    return not (is_terminal(restore) or restore.source or restore.backup_name is not None or restore.path is not None)


def in_use(backup: BackupSummary, restores: Sequence[Restore]) -> str | None:
    """The name of the unfinished restore that prevents the deletion of this backup; None if there is none."""
    for one in restores:
        same_gateway = one.namespaced_gateway == backup.set_id.namespaced_gateway
        if same_gateway and not is_terminal(one) and (has_unresolved_source(one) or restore_uses(one, backup)):
            return one.meta.ref.name
    return None


def _policy(
    set_id: BackupSetId, schedule: GatewayBackupSchedule | None, members: Sequence[BackupSummary]
) -> RetentionPolicy | str:
    try:
        if schedule is not None and schedule.retention is not None:
            return parse(schedule.retention)
        if set_id.group == SAFETY_GROUP:
            return replace(SAFETY, own_only=True)
        if set_id.group == MANUAL_GROUP:
            return KEEP_ALL
        # The policy of a backup that is not Completed does not apply to the others.
        good = (one for one in members if one.phase == "Completed" and not one.is_deleting)
        carrying = [one for one in good if one.policy is not None]
        newest = max(carrying, key=lambda one: (one.time, one.name), default=None)
        return KEEP_ALL if newest is None or newest.policy is None else parse(newest.policy, own_only=True)
    except ValueError as error:
        return str(error)


def kept_by_status(reasons: Sequence[str], expires_at: datetime | None) -> dict[str, object]:
    """The status fields of a kept backup. A field without a value is None, so that a merge patch removes it."""
    return {
        "keptBy": list(reasons) or None,
        "expiresAt": timestamps.text(expires_at) if expires_at is not None else None,
    }
