"""The GatewayBackups as one row each, and an in-memory index of the rows.

The watch and the operator's own writes feed the index. It serves comparisons with earlier backups and the status of
schedules, where a stale answer deletes nothing. Retention never reads it: it builds its rows from fresh complete lists.
A row holds a few fields and not the object, so that ten thousand rows take some megabytes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.model import conditions, durations, timestamps
from gateway_operator.domain.model.identifiers import BackupSetId, NamespacedGateway, Origin
from gateway_operator.domain.model.levels import VERIFIED, reaches
from gateway_operator.domain.model.names import ENCRYPTED
from gateway_operator.domain.model.resources import Backup

TERMINAL_BACKUP_PHASES: Final = frozenset({"Completed", "Failed", "Deleting"})

K = TypeVar("K")
Moment = tuple[datetime, str]
"""The snapshot time, then the uid, so that two backups of one instant have a fixed order."""


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """A GatewayBackup as one row. Text fields are empty where the object says nothing."""

    name: str
    uid: str
    set_id: BackupSetId
    created: datetime
    resource_version: str = ""
    deleting_since: datetime | None = None
    phase: str = ""
    reason: str = ""
    snapshot_time: datetime | None = None
    """When the config was read."""
    completion_time: datetime | None = None
    start_time: datetime | None = None
    """When the gateway was first asked for it."""
    level: str = ""
    """``Stored``, ``Verified`` or ``Drilled``."""
    verified_time: datetime | None = None
    """When this level was reached."""
    suspicious: bool = False
    """It lost much against the previous backup."""
    accepted: bool = False
    """A person has acknowledged that it is Suspicious."""
    pinned: bool = False
    ttl: timedelta | None = None
    adopted: bool = False
    """Its file existed before the object."""
    schedule: str = ""
    """``status.schedule``: the schedule that made it or, for an adopted file, that its manifest names."""
    group: str = ""
    """``spec.group``. Only failed backups and open groups are selected by it."""
    adopts: bool = False
    """Its spec names an existing file."""
    restore_uid: str = ""
    """For a safety backup: the uid of the GatewayRestore that created it."""
    file: FileState = FileState.unknown
    """Whether its file is on the volume. Only retention fills it in."""
    file_absent_since: datetime | None = None
    """Since when the object has the condition FilePresent=False; None without it."""
    volume_id: str = ""
    path: str = ""
    backup_id: str = ""
    sha256: str = ""
    """Digest of the stored file."""
    size_bytes: int | None = None
    content_digest: str = ""
    content_bytes: int | None = None
    counts: Mapping[str, int] | None = None
    """``status.counts``."""
    has_file: bool = True
    """It may have a file of its own."""
    deletion_committed: bool = False
    """Retention or ttl has committed its deletion, and no person has deleted the object since."""
    kept_by: tuple[str, ...] = ()
    expires_at: str = ""
    restores: tuple[str, ...] = ()
    """The unfinished GatewayRestores that use it. Only retention fills it in."""

    @classmethod
    def from_backup(cls, backup: Backup) -> BackupSummary:
        """The row of a GatewayBackup object."""
        meta, status = backup.meta, backup.status
        content_bytes, size_bytes = status.get("contentBytes"), status.get("sizeBytes")
        return cls(
            name=meta.ref.name,
            uid=meta.ref.uid,
            set_id=backup.set_id,
            created=meta.created,
            resource_version=meta.resource_version,
            deleting_since=meta.deleting_since,
            phase=backup.phase,
            reason=backup.reason,
            snapshot_time=backup.time("snapshotTime"),
            completion_time=backup.time("completionTime"),
            start_time=backup.time("startTime"),
            level=backup.level,
            verified_time=timestamps.parse((status.get("verification") or {}).get("time")),
            suspicious=conditions.condition_status(backup.conditions, conditions.SUSPICIOUS) is True,
            accepted=backup.accepted,
            pinned=backup.pinned,
            ttl=durations.parse_or_none(backup.ttl),
            adopted=backup.origin is Origin.Adopted,
            schedule=backup.schedule,
            group=backup.group,
            adopts=backup.existing is not None,
            restore_uid=backup.restore_uid,
            file_absent_since=_absent_since(backup),
            volume_id=str(status.get("volumeID") or ""),
            path=str(status.get("path") or backup.existing or ""),
            backup_id=str(status.get("backupID") or ""),
            sha256=str(status.get("sha256") or ""),
            size_bytes=size_bytes if isinstance(size_bytes, int) else None,
            content_digest=str(status.get("contentDigest") or ""),
            content_bytes=content_bytes if isinstance(content_bytes, int) else None,
            counts=backup.counts,
            has_file=backup.has_file,
            # Once a person has deleted the object as well, their deletion decides what becomes of the file.
            deletion_committed=backup.deletion_committed and meta.deleting_since is None,
            kept_by=tuple(str(reason) for reason in status.get("keptBy") or ()),
            expires_at=str(status.get("expiresAt") or ""),
        )

    @property
    def time(self) -> datetime:
        """When the config was read; without a config, when the backup ended or was created."""
        return self.snapshot_time or self.completion_time or self.created

    @property
    def encrypted(self) -> bool:
        """Whether its file is encrypted. The admin API names only encrypted files so."""
        return self.path.lower().endswith(ENCRYPTED)

    @property
    def is_deleting(self) -> bool:
        """Whether its deletion has begun."""
        return self.deleting_since is not None or self.phase == "Deleting"

    @property
    def is_restorable(self) -> bool:
        """Whether a restore can use it, as far as the object says: Completed, and its file is not known to be lost."""
        return self.phase == "Completed" and not self.is_deleting and self.file_absent_since is None

    @property
    def needs_review(self) -> bool:
        """Whether it is Suspicious and no person has accepted that."""
        return self.suspicious and not self.accepted

    @property
    def moment(self) -> Moment | None:
        """Its place in the history of its set; None unless it is Completed."""
        if self.phase != "Completed" or self.snapshot_time is None:
            return None
        return self.snapshot_time, self.uid


def newest_restorable(rows: Iterable[BackupSummary]) -> BackupSummary | None:
    """The newest backup that a restore can use; None without one. The uid decides between two of one instant."""
    return max((one for one in rows if one.is_restorable), key=lambda one: (one.time, one.uid), default=None)


class BackupIndex:
    """The rows of all GatewayBackups that the watch has shown."""

    def __init__(self, backups: Iterable[Backup] = ()) -> None:
        self._rows: dict[str, BackupSummary] = {}
        self._sets: dict[BackupSetId, dict[str, BackupSummary]] = {}
        self._history: dict[BackupSetId, list[Moment]] = {}
        self._contents: dict[tuple[NamespacedGateway, str, str], list[Moment]] = {}
        self._files: dict[tuple[str, str], dict[str, BackupSummary]] = {}
        for backup in backups:
            self.upsert(backup)

    def upsert(self, backup: Backup) -> None:
        """Add or replace a row. An event that is older than the row changes nothing."""
        row = BackupSummary.from_backup(backup)
        previous = self._rows.get(row.uid)
        if previous is not None:
            # A watch may deliver an old version after our own write. A finished backup never becomes unfinished.
            if (
                previous.phase in TERMINAL_BACKUP_PHASES
                and row.phase not in TERMINAL_BACKUP_PHASES
                and row.deleting_since is None
            ):
                return
            self._unlink(previous)
        self._rows[row.uid] = row
        self._sets.setdefault(row.set_id, {})[row.uid] = row
        for file in _files(row):
            self._files.setdefault(file, {})[row.uid] = row
        if row.moment is not None:
            insort(self._history.setdefault(row.set_id, []), row.moment)
            insort(self._contents.setdefault(_content(row), []), row.moment)

    def drop(self, uid: str) -> None:
        """Drop the row of an object that no longer exists, if there is one."""
        row = self._rows.pop(uid, None)
        if row is not None:
            self._unlink(row)

    def uids(self, namespace: str) -> set[str]:
        """The uids of the rows in a namespace; of all rows if it is empty."""
        return {uid for uid, row in self._rows.items() if namespace in ("", row.set_id.namespace)}

    def rows(self) -> list[BackupSummary]:
        """All rows, in no order."""
        return list(self._rows.values())

    def in_set(self, set_id: BackupSetId) -> list[BackupSummary]:
        """The rows of a set, in no order."""
        return list(self._sets.get(set_id, {}).values())

    def previous(self, set_id: BackupSetId, moment: Moment) -> BackupSummary | None:
        """The newest reference of a set from before that moment: Verified, and not Suspicious unless accepted."""
        history = self._history.get(set_id, [])
        for position in range(bisect_left(history, moment) - 1, -1, -1):
            row = self._rows[history[position][1]]
            if reaches(row.level, VERIFIED) and not row.needs_review and not row.is_deleting:
                return row
        return None

    def first_with_same_content(
        self, gateway: NamespacedGateway, volume_id: str, digest: str, moment: Moment
    ) -> BackupSummary | None:
        """The oldest Completed backup of a gateway with this content on this volume, from before that moment."""
        for other in self._contents.get((gateway, volume_id, digest), []):
            if other >= moment:
                return None
            row = self._rows[other[1]]
            if not row.is_deleting:
                return row
        return None

    def find_by_path_or_id(self, namespace: str, path: str, backup_id: str = "") -> list[BackupSummary]:
        """The rows of a namespace that name this path or this backup id, of any gateway."""
        rows = {**self._files.get((namespace, path), {}), **self._files.get((namespace, backup_id), {})}
        return list(rows.values())

    def _unlink(self, row: BackupSummary) -> None:
        """Remove a row from everything but ``_rows``. No empty collection stays."""
        _discard(self._sets, row.set_id, row.uid)
        for file in _files(row):
            _discard(self._files, file, row.uid)
        if row.moment is not None:
            _discard_sorted(self._history, row.set_id, row.moment)
            _discard_sorted(self._contents, _content(row), row.moment)


def _absent_since(backup: Backup) -> datetime | None:
    condition = conditions.find_condition(backup.conditions, conditions.FILE_PRESENT)
    if condition.get("status") != "False":
        return None
    return timestamps.parse(condition.get("lastTransitionTime")) or backup.meta.created


def _files(row: BackupSummary) -> list[tuple[str, str]]:
    return [(row.set_id.namespace, name) for name in (row.path, row.backup_id) if name]


def _content(row: BackupSummary) -> tuple[NamespacedGateway, str, str]:
    return row.set_id.namespaced_gateway, row.volume_id, row.content_digest


def _discard(rows: dict[K, dict[str, BackupSummary]], key: K, uid: str) -> None:
    rows[key].pop(uid, None)
    if not rows[key]:
        del rows[key]


def _discard_sorted(moments: dict[K, list[Moment]], key: K, moment: Moment) -> None:
    ordered = moments[key]
    del ordered[bisect_left(ordered, moment)]
    if not ordered:
        del moments[key]
