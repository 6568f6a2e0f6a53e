"""Groups backups into backup sets and finds the policy of each set.

The origin that the operator has verified decides to which set a backup belongs, and only schedules carry a policy. So a
person who creates a GatewayBackup cannot make the policy of others delete more. A pass reads all GatewayBackups, so a
set holds a row of each and not the object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import BackupSetId, NamespacedGateway, SetKind
from gateway_operator.domain.model.levels import VERIFIED, reaches
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import needs_backups
from gateway_operator.domain.retention.plan import FAILED
from gateway_operator.domain.retention.policy import KEEP_ALL, SAFETY, RetentionPolicy, parse
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule


@dataclass(frozen=True, slots=True)
class BackupSet:
    """The backups that one policy governs."""

    id: BackupSetId
    schedule: GatewayBackupSchedule | None
    policy: RetentionPolicy | str
    """A sentence if the policy is invalid."""
    members: dict[str, BackupSummary]
    """The rows by the names of the backups."""
    unresolved_restore: str = ""
    """The name of a restore of this gateway that has not resolved its source and may use any of them; or empty."""
    error: Exception | None = None
    """An unexpected error about this set. Nothing of it is deleted."""

    @property
    def rows(self) -> list[BackupSummary]:
        return list(self.members.values())

    @property
    def newest(self) -> datetime | None:
        """The time of the newest backup. Adopted ones do not count: another clock may have set their times."""
        return max((one.time for one in self._good() if not one.adopted), default=None)

    @property
    def newest_verified(self) -> datetime | None:
        """The time of the newest Verified backup whose file is not known to be lost; None without one."""
        return max(
            (one.time for one in self._good() if reaches(one.level, VERIFIED) and not one.file.is_lost), default=None
        )

    @property
    def approvals(self) -> Sequence[Json]:
        """The holds that the schedule's status names, approved or not."""
        return self.schedule.retention_status.get("approvals") or () if self.schedule is not None else ()

    @property
    def present(self) -> int:
        """The number of Completed backups that are not being deleted and whose file is not known to be lost."""
        return sum(not one.file.is_lost for one in self._good())

    @property
    def needs_files(self) -> bool:
        """Whether a rule or a ``ttl`` can delete a file of the set, so that the volume has to be listed."""
        by_rule = isinstance(self.policy, RetentionPolicy) and self.policy.has_rules
        return any(by_rule or one.ttl is not None for one in self._good())

    def _good(self) -> list[BackupSummary]:
        return [one for one in self.members.values() if one.phase == "Completed" and not one.is_deleting]


def gather(
    backups: Iterable[BackupSummary], schedules: Iterable[GatewayBackupSchedule], restores: Iterable[Restore]
) -> list[BackupSet]:
    """All sets, including those of schedules without a backup."""
    owners = {schedule.set_id: schedule for schedule in schedules if schedule.meta.deleting_since is None}
    policies = {set_id: _schedule_policy(schedule) for set_id, schedule in owners.items()}
    by_id: dict[BackupSetId, list[BackupSummary]] = {set_id: [] for set_id in owners}
    for backup in backups:
        by_id.setdefault(_set_for_policy(backup, policies), []).append(backup)
    unfinished: dict[NamespacedGateway, list[Restore]] = defaultdict(list)
    for restore in restores:
        if needs_backups(restore):
            unfinished[restore.namespaced_gateway].append(restore)
    sets = []
    for set_id, rows in sorted(by_id.items(), key=lambda one: (str(one[0]), one[0].namespace)):
        fixed = SAFETY if set_id.kind is SetKind.Safety else KEEP_ALL
        plain = BackupSet(set_id, owners.get(set_id), policies.get(set_id, fixed), {one.name: one for one in rows})
        try:
            sets.append(_with_users(plain, unfinished[set_id.namespaced_gateway]))
        except Exception as error:  # an unexpected restore must only affect the sets of its gateway
            sets.append(replace(plain, error=error))
    return sets


def _with_users(backups: BackupSet, restores: Sequence[Restore]) -> BackupSet:
    """The set with the unfinished restores of its gateway."""
    members = {name: with_restores(one, restores) for name, one in backups.members.items()}
    choosing = next((one.meta.ref.name for one in restores if has_unresolved_source(one)), "")
    return replace(backups, members=members, unresolved_restore=choosing)


def _set_for_policy(backup: BackupSummary, policies: Mapping[BackupSetId, RetentionPolicy | str]) -> BackupSetId:
    """The set whose policy governs the backup: its own one, with two exceptions that need a schedule.

    A failed backup belongs to the schedule that its group names: only its record can be deleted. An adopted backup
    belongs to the schedule that its manifest names, if that schedule's policy includes adopted backups.
    """
    own = backup.set_id
    if own.kind is not SetKind.Group:
        return own
    if backup.phase == FAILED:
        governing = replace(own, kind=SetKind.Schedule)
    elif backup.adopted and backup.schedule:
        governing = replace(own, kind=SetKind.Schedule, name=backup.schedule)
    else:
        return own
    policy = policies.get(governing)
    included = backup.phase == FAILED or (isinstance(policy, RetentionPolicy) and policy.include_adopted)
    return governing if policy is not None and included else own


def with_restores(backup: BackupSummary, restores: Sequence[Restore]) -> BackupSummary:
    """The row with the unfinished restores that use the backup."""
    users = tuple(sorted(one.meta.ref.name for one in restores if needs_backups(one) and restore_uses(one, backup)))
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
    chooses = restore.names_backup and restore.backup_name is None
    return chooses and needs_backups(restore) and not restore.source


def in_use(backup: BackupSummary, restores: Sequence[Restore]) -> str | None:
    """The name of the unfinished restore that prevents the deletion of this backup; None if there is none."""
    for one in restores:
        same_gateway = one.namespaced_gateway == backup.set_id.namespaced_gateway
        if same_gateway and needs_backups(one) and (has_unresolved_source(one) or restore_uses(one, backup)):
            return one.meta.ref.name
    return None


def _schedule_policy(schedule: GatewayBackupSchedule) -> RetentionPolicy | str:
    try:
        return KEEP_ALL if schedule.retention is None else parse(schedule.retention)
    except Exception as error:  # an unexpected policy must only affect this schedule
        return str(error)


def kept_by_status(reasons: Sequence[str], expires_at: datetime | None) -> dict[str, object]:
    """The status fields of a kept backup. A field without a value is None, so that a merge patch removes it."""
    return {
        "keptBy": list(reasons) or None,
        "expiresAt": timestamps.text(expires_at) if expires_at is not None else None,
    }
