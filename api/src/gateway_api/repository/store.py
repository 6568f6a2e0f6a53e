"""Writes backups to the backup volume: a new one, a replacement or an import; and recovers from an interrupted write.

The order of the durable steps:
1. The data goes to a temporary file, is fsynced and read back from the disk.
2. The manifest goes to `pending/`.
3. The data file gets its name.
4. The manifest moves from `pending/` to its place beside the data file. Only then the backup exists.
After a crash a manifest in `pending/` shows an unfinished write. If the data file matches it, recovery does step 4.
Otherwise step 3 did not happen, and recovery deletes the pending manifest.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway_api.codec import compression, encryption
from gateway_api.codec.encode import encode
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.gateway_config.live import ConfigRead
from gateway_api.repository import manifest as manifests
from gateway_api.repository.data_files import digest_data_file, refuse_managed, write_and_read_back
from gateway_api.repository.manifest import LocatedBackup, Manifest, Tombstone
from gateway_api.repository.manifest_files import read_manifest, read_manifest_with_json
from gateway_api.storage import atomic_write
from gateway_api.storage.atomic_write import close, link_exclusive, list_names, read_all, unlink_if_exists
from gateway_api.storage.content import Blob
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.free_space import require_space
from gateway_api.storage.layout import (
    PENDING_FOLDER,
    TOMBSTONES_FOLDER,
    pending_manifest_name,
    tombstone_name,
)
from gateway_api.storage.paths import (
    file_problem,
    lstat_if_exists,
    make_parents,
    open_file,
    open_parent,
)
from gateway_api.storage.state_dir import StateDir

TOMBSTONE_BYTES: Final = 4 * manifests.MAX_MANIFEST_BYTES
"""A tombstone is an indented manifest with two more fields."""


@dataclass(frozen=True, slots=True)
class NewBackup:
    """The request for a new backup: id, path and origin. The digests and counts come from the config itself.

    ``parts`` are the components of the data file's path. ``replace`` permits overwriting an existing file.
    ``keep_managed`` excludes from that the files that a request with an id made.
    ``audit_head`` is the hash of the audit log's last line, ``audit_lines`` the number of lines up to it.
    """

    backup_id: str
    parts: tuple[str, ...]
    replace: bool
    created: datetime
    gateway_id: str
    volume_id: str
    request_id: str | None = None
    request_sha256: str | None = None
    gateway_version: str | None = None
    requested_by: str | None = None
    audit_head: str | None = None
    audit_lines: int | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    record_name: str | None = None
    keep_managed: bool = False


def build_manifest(new: NewBackup, live: ConfigRead, stored: Blob, recipients: Sequence[str]) -> Manifest:
    """The unsigned manifest for a backup of ``live``. ``stored`` are the bytes of the data file.

    Raises the config's own error if it is not valid.
    """
    if live.summary is None:
        raise live.error()
    return Manifest(
        format_version=manifests.FORMAT_VERSION,
        id=new.backup_id,
        path="/".join(new.parts),
        request_id=new.request_id,
        request_sha256=new.request_sha256,
        gateway_id=new.gateway_id,
        volume_id=new.volume_id,
        gateway_version=new.gateway_version,
        created=new.created,
        content_sha256=live.summary.sha256,
        content_bytes=live.summary.size,
        stored_sha256=stored.sha256,
        stored_bytes=stored.size,
        compression=compression.format_for_name(new.parts[-1]).compression,
        recipients=[encryption.recipient_fingerprint(recipient) for recipient in recipients],
        counts=live.summary.counts,
        issues=list(live.summary.issues),
        requested_by=new.requested_by,
        audit_head=new.audit_head,
        audit_lines=new.audit_lines,
        proof="payload",
        metadata=dict(new.metadata),
        record_name=new.record_name,
    )


def create(
    state: StateDir,
    new: NewBackup,
    live: ConfigRead,
    *,
    recipients: Sequence[str],
    sign: Callable[[Manifest], Manifest],
) -> LocatedBackup:
    """Creates the backup durably, or changes nothing. ``recipients`` are empty for a backup that is not encrypted.

    Raises ``BackupExists``, ``BackupManaged``, ``PathNotAllowed``, ``VolumeFull``, ``VolumeUnavailable`` and the errors
    of ``sign``.
    Raises ``DurabilityUnknown`` when the files have their names but a directory fsync failed.
    """
    if live.content is None:
        raise live.error()
    try:
        stored = encode(live.content, compression.format_for_name(new.parts[-1]), recipients)
        manifest = sign(build_manifest(new, live, stored, recipients))
        require_space(state, stored.size)
        make_parents(state.base_fd, new.parts)
        with open_parent(state.base_fd, new.parts) as parent, state.open_folder(PENDING_FOLDER) as pending:
            _check_target(parent, new)
            return _publish(state, parent, pending, new, write_and_read_back(parent, stored), manifest)
    except OSError as error:
        raise backup_volume_error(error) from None


def import_backup(state: StateDir, manifest: Manifest, stored: Blob, raw: bytes) -> LocatedBackup:
    """Creates a backup from an uploaded data file and its manifest, or changes nothing.

    The caller has checked that the manifest describes ``stored``. ``raw`` are the manifest's bytes, which are written
    unchanged, because signatures cover them. Raises ``BackupExists``, ``PathNotAllowed``, ``OSError``,
    ``DurabilityUnknown``.
    """
    new = NewBackup(
        backup_id=manifest.id,
        parts=manifests.target_parts(manifest),
        replace=False,
        created=manifest.created,
        gateway_id=manifest.gateway_id,
        volume_id=manifest.volume_id,
    )
    make_parents(state.base_fd, new.parts)
    with open_parent(state.base_fd, new.parts) as parent, state.open_folder(PENDING_FOLDER) as pending:
        _check_target(parent, new)
        return _publish(state, parent, pending, new, write_and_read_back(parent, stored), manifest, raw)


def _check_target(parent: int, new: NewBackup) -> None:
    """Raises ``BackupExists`` if the name is in use, ``PathNotAllowed`` if it is a link, a folder or a special file.

    Raises ``BackupManaged`` for a file that must be kept.
    """
    info = lstat_if_exists(parent, new.parts[-1])
    if new.keep_managed:
        refuse_managed(parent, new.parts)
    if info is None:
        return
    # Also for a replacement: only a regular file may be replaced. One with a second hard link may: the rename below
    # takes this name only, and the bytes stay under the other one.
    if not stat.S_ISREG(info.st_mode):
        raise ApiError(ErrorCode.PathNotAllowed, f"the path is in use: {file_problem(info)}")
    if not new.replace:
        raise ApiError(ErrorCode.BackupExists)


def _publish(
    state: StateDir,
    parent: int,
    pending: int,
    new: NewBackup,
    temporary: str,
    manifest: Manifest,
    raw: bytes | None = None,
) -> LocatedBackup:
    """Steps 2 to 4 of the module's docstring. ``temporary`` is the data file, already fsynced and read back."""
    name = new.parts[-1]
    pending_name = pending_manifest_name(new.backup_id)
    try:
        # Pending first: after a crash between steps 3 and 4 recovery completes the backup with this manifest. Without
        # it the data file would be an unknown file.
        atomic_write.write_file(pending, pending_name, raw or manifests.dump(manifest))
        # Durable before the new data replaces the previous backup. Afterwards only the tombstone identifies the request
        # of the previous backup.
        _tombstone_replaced(state, parent, name, new)
        if new.replace:
            # One rename, so the name refers to the previous data or to the new data, never to a part.
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        else:
            # A link and not a rename: it fails if another process has created the name since _check_target().
            link_exclusive(parent, temporary, name)
    except FileExistsError:
        unlink_if_exists(parent, temporary)
        unlink_if_exists(pending, pending_name)
        raise ApiError(ErrorCode.BackupExists) from None
    except BaseException:
        unlink_if_exists(parent, temporary)
        unlink_if_exists(pending, pending_name)
        raise
    # Before the manifest leaves pending/: a power failure must not leave a manifest without its data file.
    sync_directory(parent)
    _finalize_manifest(pending, pending_name, parent, manifests.manifest_name(name))
    return LocatedBackup(manifest, new.parts)


def _finalize_manifest(pending: int, pending_name: str, parent: int, name: str) -> None:
    """Moves the pending manifest to its place beside the data file, which already has its name.

    This is the last step, because a manifest declares a complete backup. Raises ``DurabilityUnknown``.
    """
    try:
        try:
            os.rename(pending_name, name, src_dir_fd=pending, dst_dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The target folder is on another file system, so the manifest is copied.
            fd = open_file(pending, pending_name)
            try:
                data = read_all(fd, manifests.MAX_MANIFEST_BYTES)
            finally:
                close(fd)
            atomic_write.write_file(parent, name, data)
            # Only after the copy is durable: until then recovery needs the pending manifest.
            os.unlink(pending_name, dir_fd=pending)
    except OSError:
        raise ApiError(ErrorCode.DurabilityUnknown) from None
    # The new name is durable before the old one is removed from the disk. In the other order a power failure could
    # lose both.
    sync_directory(parent)
    sync_directory(pending)


def _tombstone_replaced(state: StateDir, parent: int, name: str, new: NewBackup) -> None:
    """Writes a tombstone for the backup that is about to be replaced, if a request with an id created it.

    A repeated request with that id finds the tombstone and does not create the backup a second time.
    """
    parsed = read_manifest_with_json(parent, manifests.manifest_name(name))
    if parsed is not None and parsed.manifest.request_id is not None and parsed.manifest.id != new.backup_id:
        content = manifests.dump_tombstone(parsed.received, new.created, replaced_by=new.backup_id)
        with state.open_folder(TOMBSTONES_FOLDER) as tombstones:
            # The audit log has no line of a deletion for this one. The field leads to the line of the new backup. A
            # crash right after this leaves a tombstone of a backup that is still there. While it is, a deletion
            # ignores a tombstone with `replaced_by`.
            atomic_write.write_file(tombstones, tombstone_name(parsed.manifest.id), content)


def finish_pending(state: StateDir) -> None:
    """Finishes or discards the writes that a previous server process left in `pending/`. The caller must hold the lock.

    If the data file matches the pending manifest, only the last step is missing. Otherwise the write is discarded.
    Raises ``OSError`` or ``ApiError``; the remaining files are handled by the next recovery.
    """
    with state.open_folder(PENDING_FOLDER) as pending:
        for pending_name in sorted(list_names(pending)):
            if not _finish_one(state, pending, pending_name):
                # The new data did not get the name. It is free, or it belongs to the previous backup, whose manifest is
                # still in place.
                unlink_if_exists(pending, pending_name)


def _finish_one(state: StateDir, pending: int, pending_name: str) -> bool:
    """Moves one pending manifest beside its data file. Returns False if the data file does not match it."""
    manifest = read_manifest(pending, pending_name)
    if manifest is None:
        # Not a manifest: the write of the pending manifest itself was interrupted.
        return False
    parts = manifests.target_parts(manifest)
    try:
        with open_parent(state.base_fd, parts) as parent:
            if digest_data_file(parent, parts[-1], manifest.stored_bytes) != manifest.stored_sha256:
                return False
            _finalize_manifest(pending, pending_name, parent, manifests.manifest_name(parts[-1]))
    except FileNotFoundError:
        # Without the folder there is no data file either.
        return False
    return True


def require_not_pending(state: StateDir, backup_id: str) -> None:
    """Raises ``VolumeUnavailable`` while a manifest of this id is in `pending/`, because recovery has failed.

    The data file may already have its name then. It is not yet a backup, but a new attempt must not treat it as a
    foreign file. Raises ``OSError`` when `pending/` cannot be read.
    """
    with state.open_folder(PENDING_FOLDER) as pending:
        if lstat_if_exists(pending, pending_manifest_name(backup_id)) is not None:
            raise ApiError(ErrorCode.VolumeUnavailable, "an earlier attempt to create this backup is not recovered yet")


def read_tombstone(state: StateDir, backup_id: str) -> Tombstone | None:
    """The tombstone of a deleted or replaced backup, or None if it has none. Raises ``OSError``."""
    with state.open_folder(TOMBSTONES_FOLDER) as tombstones:
        parsed = read_manifest_with_json(tombstones, tombstone_name(backup_id), TOMBSTONE_BYTES)
    return None if parsed is None else Tombstone.model_validate(parsed.received)
