"""Compares the GatewayBackups with a listing of the gateway's volume, in both directions.

An object whose file is missing must not count where a file is promised. A file without an object may be a backup that
retention does not know. Both are found here; nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from gateway_api.contract import BackupEntry
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.model.identifiers import BackupSetId, Origin, SetKind
from gateway_operator.domain.retention.plan import COMPLETED

_GZIP: Final = ".gz"
_WITH_CONTENT: Final = frozenset({"backup", "compressed"})
"""The kinds of files that the admin API has compared with their manifest."""
_YOUNG: Final = timedelta(minutes=1)
"""A file that is younger than this, before the objects were listed, may have an object that the list lacks."""


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A file on a volume. ``backup_id``, the digests and ``created`` are empty if no manifest describes it."""

    path: str
    kind: str
    size_bytes: int
    backup_id: str = ""
    stored_sha256: str = ""
    content_sha256: str = ""
    created: datetime | None = None
    namespace: str = ""
    schedule: str = ""
    """The schedule that made it, by its manifest; empty for other files."""

    @classmethod
    def from_entry(cls, entry: BackupEntry) -> VolumeFile:
        """From an entry of the admin API's list."""
        record = entry.record
        if record is None:
            return cls(entry.path, entry.kind, entry.size_bytes, entry.backup_id or "")
        metadata = record.metadata
        return cls(
            path=entry.path,
            kind=entry.kind,
            size_bytes=entry.size_bytes,
            backup_id=record.backup_id,
            stored_sha256=record.stored_sha256,
            content_sha256=record.content_sha256,
            created=record.created,
            namespace=metadata.get("namespace", ""),
            schedule=metadata.get("schedule", "") if metadata.get("origin") == Origin.Schedule else "",
        )


@dataclass(frozen=True)
class VolumeListing:
    """All files of one volume at one time. ``listed_at`` is a time of the gateway's clock."""

    volume_id: str
    listed_at: datetime
    files: Mapping[str, VolumeFile] = field(default_factory=dict)
    """By path."""

    @cached_property
    def ids(self) -> frozenset[str]:
        """The backup ids that a file has."""
        return frozenset(one.backup_id for one in self.files.values() if one.backup_id)


def file_state(row: BackupSummary, listing: VolumeListing | None) -> FileState:
    """The state of a backup's file. Without a listing, an earlier confirmation in the object's condition stays."""
    before = FileState.absent if row.file_absent_since is not None else FileState.unknown
    if row.phase != COMPLETED or listing is None or not row.volume_id:
        return before
    if row.volume_id != listing.volume_id:
        return FileState.other_volume
    if row.completion_time is None or row.completion_time >= listing.listed_at:
        return before
    for path in (row.path, row.path + _GZIP):
        file = listing.files.get(path)
        if file is not None and _is_content_of(file, row):
            return FileState.present
    own = listing.files.get(row.path)
    if own is None and row.path + _GZIP not in listing.files and row.backup_id not in listing.ids:
        return FileState.missing if before is FileState.unknown else before
    if own is not None and not row.backup_id and own.kind == "foreign" and own.size_bytes == row.size_bytes:
        return FileState.unproven
    return FileState.changed


def assume_present(rows: Iterable[BackupSummary]) -> list[BackupSummary]:
    """The rows for a reader that cannot list the volume: each file is there unless a condition says otherwise."""
    return [
        replace(one, file=FileState.absent if one.file_absent_since is not None else FileState.present) for one in rows
    ]


def _is_content_of(file: VolumeFile, row: BackupSummary) -> bool:
    if file.kind not in _WITH_CONTENT or not row.backup_id or file.backup_id != row.backup_id:
        return False
    # A file that a person has gzipped has another stored digest. The admin API has compared its content.
    if file.kind == "compressed":
        return file.content_sha256 == row.content_digest
    return file.stored_sha256 == row.sha256


@dataclass(frozen=True, slots=True)
class SetInventory:
    """The members of a schedule's set: its objects, and the files whose manifest names the set."""

    members: int = 0
    without_file: tuple[str, ...] = ()
    """The uids of the objects without their file, sorted."""
    without_object: tuple[str, ...] = ()
    """The backup ids of the files without an object, sorted."""

    @property
    def halves(self) -> int:
        """The number of members that lack their other half."""
        return len(self.without_file) + len(self.without_object)

    @property
    def shrank(self) -> bool:
        """Whether at least half of the members lack their other half."""
        return self.halves > 0 and self.halves * 2 >= self.members


EMPTY: Final = SetInventory()
"""The inventory of a set that has no members, or that is not a schedule's."""
_LACKING: Final = frozenset({FileState.missing, FileState.absent, FileState.changed})
_COMPARED: Final = _LACKING | {FileState.present, FileState.unproven}


def set_inventory(set_id: BackupSetId, rows: Iterable[BackupSummary], unowned: Sequence[VolumeFile]) -> SetInventory:
    """The inventory of a schedule's set. ``unowned`` are the files of the volume that no object names.

    Objects on another volume and objects that are newer than the listing are no members: they prove nothing.
    """
    if set_id.kind is not SetKind.Schedule:
        return EMPTY
    compared = [one for one in rows if one.phase == COMPLETED and not one.is_deleting and one.file in _COMPARED]
    without_file = sorted(one.uid for one in compared if one.file in _LACKING)
    without_object = sorted(
        one.backup_id for one in unowned if (one.namespace, one.schedule) == (set_id.namespace, set_id.name)
    )
    return SetInventory(len(compared) + len(without_object), tuple(without_file), tuple(without_object))


def unowned_files(
    listing: VolumeListing, backups: Iterable[BackupSummary], objects_listed: datetime
) -> list[VolumeFile]:
    """The files that no GatewayBackup of this gateway names, by backup id or, without a manifest, by path.

    A file that was gzipped or moved by hand has a new path and still the id of its manifest. Files that are younger
    than the list of objects are left out, because their objects may be missing in that list.
    """
    paths, ids = set(), set()
    for one in backups:
        if one.volume_id in ("", listing.volume_id):
            paths.add(one.path)
            ids.add(one.backup_id)
    return [
        one
        for one in listing.files.values()
        if (one.backup_id not in ids if one.backup_id else one.path not in paths)
        and (one.created is None or one.created < objects_listed - _YOUNG)
    ]
