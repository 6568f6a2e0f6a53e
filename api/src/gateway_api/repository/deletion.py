"""Deletes one backup permanently: the data file that its manifest describes, the manifest and the verification record.

A tombstone is written first, with the content of the manifest. While its suffix is `.deleting`, recovery finishes the
deletion after a crash. Its final suffix is `.json`, and it stays permanently. A repeated request to create the same
backup gets its answer from it. Deletion also works on a full volume, because it may use the space of the reserve file.
"""

from __future__ import annotations

import os

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository import manifest as manifests
from gateway_api.repository.gzipped import SUFFIX
from gateway_api.repository.manifest import LocatedBackup
from gateway_api.repository.manifest_files import read_manifest
from gateway_api.repository.store import digest_data_file
from gateway_api.repository.verification_records import record_name
from gateway_api.storage import atomic_write
from gateway_api.storage.atomic_write import close, list_names, unlink_if_exists
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.free_space import ensure_reserve
from gateway_api.storage.layout import (
    DELETION_STARTED_SUFFIX,
    RESERVE_FILE,
    TOMBSTONES_FOLDER,
    deletion_started_name,
    tombstone_name,
)
from gateway_api.storage.paths import open_file, open_parent
from gateway_api.storage.state_dir import StateDir


def delete(state: StateDir, located: LocatedBackup) -> bool:
    """Deletes the backup and its manifest. Returns whether the data file existed.

    Raises ``BackupChanged``, with nothing deleted, when the data file is not the one that the manifest describes.
    Raises ``VolumeUnavailable``, ``VolumeFull`` or ``DurabilityUnknown`` when the volume fails.
    """
    try:
        # Checked before the tombstone: once that exists, recovery would delete without asking the caller.
        existed = _check_data_file(state, located)
        _start_deletion(state, located)
        _finish_deletion(state, located)
    except OSError as error:
        raise backup_volume_error(error) from None
    # Last: now the volume has free space again for a reserve file that the tombstone used up.
    ensure_reserve(state)
    return existed


def _check_data_file(state: StateDir, located: LocatedBackup) -> bool:
    """Whether the data file exists. Raises ``BackupChanged`` if the manifest describes other bytes."""
    name, manifest = located.parts[-1], located.manifest
    with open_parent(state.base_fd, located.parts) as parent:
        try:
            close(open_file(parent, name))
        except FileNotFoundError:
            return False
        except ApiError:
            raise ApiError(ErrorCode.BackupChanged) from None
        if digest_data_file(parent, name, manifest.stored_bytes) != manifest.stored_sha256:
            raise ApiError(ErrorCode.BackupChanged)
        return True


def _start_deletion(state: StateDir, located: LocatedBackup) -> None:
    # The current path, where recovery deletes the file. The path in the manifest is out of date if the file was moved.
    content = manifests.dump(located.manifest.model_copy(update={"path": located.path}))
    with state.open_folder(TOMBSTONES_FOLDER) as tombstones:
        # Tombstone first, and durable before any file is deleted: after a crash recovery can finish the deletion.
        # Without it a data file without a manifest would remain, and no answer for a repeated request.
        try:
            atomic_write.write_file(tombstones, deletion_started_name(located.manifest.id), content)
        except OSError as error:
            if not atomic_write.is_volume_full(error):
                raise
            # The reserve file exists for this case: without it nothing could be deleted from a full volume.
            unlink_if_exists(state.fd, RESERVE_FILE)
            atomic_write.write_file(tombstones, deletion_started_name(located.manifest.id), content)


def _finish_deletion(state: StateDir, located: LocatedBackup) -> None:
    name = located.parts[-1]
    try:
        with open_parent(state.base_fd, located.parts) as parent:
            # Checked again, because recovery also runs this: the name may belong to another file by now.
            if digest_data_file(parent, name, located.manifest.stored_bytes) == located.manifest.stored_sha256:
                os.unlink(name, dir_fd=parent)
                # Durable before the manifest is deleted. Otherwise a power failure could restore the data file without
                # its manifest.
                sync_directory(parent)
            # The manifest of a backup that was gzipped by hand still has the name without `.gz`.
            for owner in dict.fromkeys((name, name.removesuffix(SUFFIX))):
                beside = read_manifest(parent, manifests.manifest_name(owner))
                if beside is not None and beside.id == located.manifest.id:
                    # Before the manifest: after a crash recovery finds the verification records through it.
                    for data_name in dict.fromkeys((name, owner)):
                        unlink_if_exists(parent, record_name(data_name))
                    os.unlink(manifests.manifest_name(owner), dir_fd=parent)
                    # Durable before the tombstone says that the deletion is finished.
                    sync_directory(parent)
    except FileNotFoundError:
        # The folder or a file in it no longer exists, so only the tombstone is left to finish.
        pass
    with state.open_folder(TOMBSTONES_FOLDER) as tombstones:
        backup_id = located.manifest.id
        # Last: until this rename recovery repeats all steps above, and each of them may be repeated.
        os.rename(
            deletion_started_name(backup_id),
            tombstone_name(backup_id),
            src_dir_fd=tombstones,
            dst_dir_fd=tombstones,
        )
        # Before the caller gets its answer: a deletion that was reported must not be repeated after a power failure.
        sync_directory(tombstones)


def finish_deletions(state: StateDir) -> None:
    """Finishes deletions that a previous server process started. The caller must hold the lock. Raises ``OSError``."""
    with state.open_folder(TOMBSTONES_FOLDER) as tombstones:
        started = sorted(name for name in list_names(tombstones) if name.endswith(DELETION_STARTED_SUFFIX))
        for name in started:
            manifest = read_manifest(tombstones, name)
            if manifest is None:
                # It does not say which file to delete.
                unlink_if_exists(tombstones, name)
                continue
            _finish_deletion(state, LocatedBackup(manifest, manifests.target_parts(manifest)))
