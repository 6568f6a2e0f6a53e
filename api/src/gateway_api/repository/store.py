"""The backup volume: making a backup that is proven before it counts, replacing one, and finishing what a dead
server began.

Order on disk: data to a temporary file, fsync, read back; the manifest waits in `pending/`; the data gets its name;
the manifest gets its own. Whoever finds a pending manifest knows from the data alone which way to finish.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway_api.codec import compression, encryption
from gateway_api.codec.encode import encode
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.gateway_config.live import ConfigRead
from gateway_api.repository import manifest as manifests
from gateway_api.repository.index import load_beside, read_manifest
from gateway_api.repository.manifest import LocatedBackup, Manifest
from gateway_api.storage import atomic_write
from gateway_api.storage.atomic_write import (
    close,
    link_exclusive,
    list_names,
    read_all,
    sync_directory,
    unlink_if_exists,
    write_temporary,
)
from gateway_api.storage.content import Blob, digest_of
from gateway_api.storage.free_space import require_space
from gateway_api.storage.layout import PENDING_FOLDER, TOMBSTONES_FOLDER, pending_manifest_name, tombstone_name
from gateway_api.storage.paths import existing_kind, make_parents, open_file, open_parent
from gateway_api.storage.state_dir import StateDir


@dataclass(frozen=True, slots=True)
class NewBackup:
    """All that names and describes a backup to be made, but for what the config itself says."""

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
    metadata: tuple[tuple[str, str], ...] = ()


def build_manifest(new: NewBackup, live: ConfigRead, stored: Blob, recipients: Sequence[str]) -> Manifest:
    """The manifest of a backup of ``live``, a valid config with its bytes."""
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
        recipients=[encryption.fingerprint(recipient) for recipient in recipients],
        counts=live.summary.counts,
        issues=list(live.summary.issues),
        requested_by=new.requested_by,
        audit_head=new.audit_head,
        proof="payload",
        metadata=dict(new.metadata),
    )


def create(
    state: StateDir,
    new: NewBackup,
    live: ConfigRead,
    *,
    recipients: Sequence[str],
    sign: Callable[[Manifest], Manifest],
) -> LocatedBackup:
    """Makes the backup durably, or changes nothing. ``recipients`` are those that its name calls for, maybe none.

    Raises ``BackupExists``, ``PathNotAllowed``, ``VolumeFull``, ``VolumeUnavailable`` and what ``sign`` raises;
    ``DurabilityUnknown`` when the last fsync failed after the names were given.
    """
    if live.content is None:
        raise live.error()
    try:
        stored = encode(live.content, compression.format_for_name(new.parts[-1]), recipients)
        manifest = sign(build_manifest(new, live, stored, recipients))
        require_space(state, stored.size)
        make_parents(state.base_fd, new.parts)
        with open_parent(state.base_fd, new.parts) as parent, state.folder(PENDING_FOLDER) as pending:
            _refuse_other_kinds(parent, new)
            return _publish(state, parent, pending, new, write_proven(parent, stored), manifest)
    except OSError as error:
        raise backup_volume_error(error) from None


def import_backup(state: StateDir, manifest: Manifest, stored: Blob, raw: bytes) -> LocatedBackup:
    """Makes a backup of a file from elsewhere that is what its manifest says, or changes nothing. ``raw`` are the
    manifest's own bytes. Raises ``BackupExists``, ``PathNotAllowed``, ``OSError``, ``DurabilityUnknown``."""
    new = NewBackup(
        backup_id=manifest.id,
        parts=manifests.target_parts(manifest),
        replace=False,
        created=manifest.created,
        gateway_id=manifest.gateway_id,
        volume_id=manifest.volume_id,
    )
    make_parents(state.base_fd, new.parts)
    with open_parent(state.base_fd, new.parts) as parent, state.folder(PENDING_FOLDER) as pending:
        _refuse_other_kinds(parent, new)
        return _publish(state, parent, pending, new, write_proven(parent, stored), manifest, raw)


def write_proven(parent: int, stored: Blob) -> str:
    """A new temporary file that holds ``stored``, read back from the disk; returns its name.

    Raises ``VolumeUnavailable`` if the disk gave back other bytes, ``OSError``.
    """
    temporary = write_temporary(parent, stored)
    try:
        if not _reads_back(parent, temporary, stored):
            raise ApiError(ErrorCode.VolumeUnavailable, "the backup volume gave back other bytes than were written")
    except BaseException:
        unlink_if_exists(parent, temporary)
        raise
    return temporary


def _reads_back(parent: int, temporary: str, stored: Blob) -> bool:
    fd = open_file(parent, temporary)
    try:
        # Without this the kernel would answer from its page cache, and nothing would be read from the disk.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return digest_of(fd, stored.size) == (stored.sha256, stored.size)
    finally:
        close(fd)


def _refuse_other_kinds(parent: int, new: NewBackup) -> None:
    if existing_kind(parent, new.parts[-1]) is None:
        return
    close(open_file(parent, new.parts[-1]))
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
    name = new.parts[-1]
    waiting = pending_manifest_name(new.backup_id)
    try:
        atomic_write.write_file(pending, waiting, raw or manifests.dump(manifest))
        _tombstone_replaced(state, parent, name)
        if new.replace:
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        else:
            link_exclusive(parent, temporary, name)
    except FileExistsError:
        unlink_if_exists(parent, temporary)
        unlink_if_exists(pending, waiting)
        raise ApiError(ErrorCode.BackupExists) from None
    except BaseException:
        unlink_if_exists(parent, temporary)
        unlink_if_exists(pending, waiting)
        raise
    sync_directory(parent)
    _finalize_manifest(pending, waiting, parent, manifests.manifest_name(name))
    return LocatedBackup(manifest, new.parts)


def _finalize_manifest(pending: int, waiting: str, parent: int, name: str) -> None:
    """Gives the waiting manifest its name beside the data, which has its own already."""
    try:
        try:
            os.rename(waiting, name, src_dir_fd=pending, dst_dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            fd = open_file(pending, waiting)
            try:
                data = read_all(fd, manifests.MAX_MANIFEST_BYTES)
            finally:
                close(fd)
            atomic_write.write_file(parent, name, data)
            os.unlink(waiting, dir_fd=pending)
    except OSError:
        raise ApiError(ErrorCode.DurabilityUnknown) from None
    sync_directory(parent)
    sync_directory(pending)


def _tombstone_replaced(state: StateDir, parent: int, name: str) -> None:
    """Once means once, also for the request whose backup is about to be replaced."""
    old = read_manifest(parent, manifests.manifest_name(name))
    if old is not None and old.request_id is not None:
        with state.folder(TOMBSTONES_FOLDER) as tombstones:
            atomic_write.write_file(tombstones, tombstone_name(old.id), manifests.dump(old))


def finish_pending(state: StateDir) -> None:
    """Finishes or drops what a dead server left in `pending/`. For the holder of the lock alone.

    The data say which: they match the waiting manifest, so only its rename was missing, or they do not.
    Raises ``OSError`` or ``ApiError``; what is left is found again.
    """
    with state.folder(PENDING_FOLDER) as pending:
        for waiting in sorted(list_names(pending)):
            manifest = read_manifest(pending, waiting)
            if manifest is None:
                unlink_if_exists(pending, waiting)
                continue
            try:
                parts = manifests.target_parts(manifest)
                with open_parent(state.base_fd, parts) as parent:
                    if data_digest(parent, parts[-1], manifest.stored_bytes) == manifest.stored_sha256:
                        _finalize_manifest(pending, waiting, parent, manifests.manifest_name(parts[-1]))
                    else:
                        unlink_if_exists(pending, waiting)
            except FileNotFoundError:
                unlink_if_exists(pending, waiting)


def data_digest(parent: int, name: str, expected: int) -> str | None:
    """Digest of a data file of ``expected`` size; None when it is absent, of another kind or of another size."""
    try:
        fd = open_file(parent, name)
    except (FileNotFoundError, ApiError):
        return None
    try:
        if os.fstat(fd).st_size != expected:
            return None
        return digest_of(fd, expected)[0]
    finally:
        close(fd)


def has_data(state: StateDir, located: LocatedBackup) -> bool:
    """Whether the data file that the manifest stands beside is there."""
    try:
        with open_parent(state.base_fd, located.parts) as parent:
            close(open_file(parent, located.parts[-1]))
    except (FileNotFoundError, ApiError):
        return False
    return True


def refuse_unfinished(state: StateDir, backup_id: str) -> None:
    """Raises ``VolumeUnavailable`` when an earlier try has given the data their name, and recovery could not yet give
    the manifest its own: what is there then is neither a stranger's nor a backup. Raises ``OSError``."""
    with state.folder(PENDING_FOLDER) as pending:
        if existing_kind(pending, pending_manifest_name(backup_id)) is not None:
            raise ApiError(ErrorCode.VolumeUnavailable, "what an earlier try began cannot be finished yet")


def tombstone_of(state: StateDir, backup_id: str) -> Manifest | None:
    """The manifest of a backup that was deleted or replaced, or None."""
    with state.folder(TOMBSTONES_FOLDER) as tombstones:
        return read_manifest(tombstones, tombstone_name(backup_id))


def read_manifest_beside(state: StateDir, parts: tuple[str, ...]) -> Manifest | None:
    """The manifest beside the data file at ``parts``, or None. Raises ``OSError`` when it cannot be read."""
    return load_beside(state.base_fd, parts)
