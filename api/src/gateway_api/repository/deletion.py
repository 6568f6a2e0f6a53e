"""Deletes one backup permanently: the data file that its manifest describes, the manifest and the verification record.

A tombstone is written first, with the content of the manifest. While its suffix is `.deleting`, recovery finishes the
deletion after a crash. Its final suffix is `.json`, and it stays permanently. A repeated request to create the same
backup gets its answer from it. Deletion also works on a full volume, because it may use the space of the reserve file.
"""

from __future__ import annotations

import os
from datetime import datetime

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository import manifest as manifests
from gateway_api.repository.data_files import check_data_file, digest_data_file
from gateway_api.repository.gzipped import DigestCache, manifest_for_gzipped
from gateway_api.repository.manifest import LocatedBackup, Manifest
from gateway_api.repository.manifest_files import read_manifest, read_manifest_with_json
from gateway_api.repository.store import TOMBSTONE_BYTES
from gateway_api.repository.verification_records import verification_record_name
from gateway_api.storage.atomic_write import list_names, unlink_if_exists, write_file
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.free_space import ensure_reserve, write_using_reserve
from gateway_api.storage.layout import (
    DELETION_STARTED_SUFFIX,
    GZIP_SUFFIX,
    TOMBSTONES_FOLDER,
    deletion_started_name,
    tombstone_name,
)
from gateway_api.storage.paths import open_parent
from gateway_api.storage.state_dir import StateDir


def delete(state: StateDir, located: LocatedBackup, now: datetime) -> bool:
    """Deletes the backup at the path of its manifest. Returns whether the data file existed.

    ``located.is_at_own_path`` must be true. ``now`` is stored in the tombstone.
    Raises ``BackupChanged``, with nothing deleted, when the data file is not the one that the manifest describes, and
    ``BackupUnusable`` when it cannot be read.
    Raises ``VolumeUnavailable``, ``VolumeFull`` or ``DurabilityUnknown`` when the volume fails.
    """
    own_parts = manifests.target_parts(located.manifest)
    try:
        # Checked before the tombstone: once that exists, recovery would delete without asking the caller.
        existed = check_data_file(state.base_fd, located)
        _start_deletion(state, own_parts, located.manifest.id, now)
        _finish_deletion(state, own_parts, located.manifest.id)
    except OSError as error:
        raise backup_volume_error(error) from None
    # Last: now the volume has free space again for a reserve file that the tombstone used up.
    ensure_reserve(state)
    return existed


def _start_deletion(state: StateDir, own_parts: tuple[str, ...], backup_id: str, now: datetime) -> None:
    with open_parent(state.base_fd, own_parts) as parent:
        parsed = read_manifest_with_json(parent, manifests.manifest_name(own_parts[-1]))
    if parsed is None or parsed.manifest.id != backup_id:
        # Changed since it was located.
        raise ApiError(ErrorCode.BackupChanged)
    content = manifests.dump_tombstone(parsed.received, now)
    with state.open_folder(TOMBSTONES_FOLDER) as tombstones:
        # Tombstone first, and durable before any file is deleted: after a crash recovery can finish the deletion.
        # Without it a data file without a manifest would remain, and no answer for a repeated request.
        # The reserve exists for this case: without it nothing could be deleted from a full volume.
        write_using_reserve(state, lambda: write_file(tombstones, deletion_started_name(backup_id), content))


def _finish_deletion(state: StateDir, own_parts: tuple[str, ...], backup_id: str) -> None:
    name = own_parts[-1]
    try:
        with open_parent(state.base_fd, own_parts) as parent:
            manifest = read_manifest(parent, manifests.manifest_name(name))
            # Without its manifest the data file was deleted before, or another backup has the path by now.
            if manifest is not None and manifest.id == backup_id:
                _unlink_data_file(parent, name, manifest)
                # Before the manifest: after a crash recovery finds the verification records through it.
                for data_name in (name, name + GZIP_SUFFIX):
                    unlink_if_exists(parent, verification_record_name(data_name))
                os.unlink(manifests.manifest_name(name), dir_fd=parent)
                # Durable before the tombstone says that the deletion is finished.
                sync_directory(parent)
    except FileNotFoundError:
        # The folder or a file in it no longer exists, so only the tombstone is left to finish.
        pass
    with state.open_folder(TOMBSTONES_FOLDER) as tombstones:
        # Last: until this rename recovery repeats all steps above, and each of them may be repeated.
        os.rename(
            deletion_started_name(backup_id),
            tombstone_name(backup_id),
            src_dir_fd=tombstones,
            dst_dir_fd=tombstones,
        )
        # Before the caller gets its answer: a deletion that was reported must not be repeated after a power failure.
        sync_directory(tombstones)


def _unlink_data_file(parent: int, name: str, manifest: Manifest) -> None:
    """Removes the data file of the manifest, which may have been gzipped. Leaves other files at these names."""
    # Checked again, because recovery also runs this: the name may belong to another file by now.
    if digest_data_file(parent, name, manifest.stored_bytes) == manifest.stored_sha256:
        os.unlink(name, dir_fd=parent)
    elif manifest_for_gzipped(parent, manifest, name, DigestCache()) is not None:
        os.unlink(name + GZIP_SUFFIX, dir_fd=parent)
    else:
        return
    # Durable before the manifest is deleted. Otherwise a power failure could restore the data file without its
    # manifest.
    sync_directory(parent)


def finish_deletions(state: StateDir) -> None:
    """Finishes deletions that a previous server process started. The caller must hold the lock. Raises ``OSError``."""
    with state.open_folder(TOMBSTONES_FOLDER) as tombstones:
        started = sorted(name for name in list_names(tombstones) if name.endswith(DELETION_STARTED_SUFFIX))
        for name in started:
            manifest = read_manifest(tombstones, name, TOMBSTONE_BYTES)
            if manifest is None:
                # It does not say which file to delete.
                unlink_if_exists(tombstones, name)
                continue
            _finish_deletion(state, manifests.target_parts(manifest), manifest.id)
