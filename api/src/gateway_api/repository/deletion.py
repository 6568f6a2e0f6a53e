"""Deleting one backup for good: exactly the file its manifest describes, also when the disk is full or the server dies.

A tombstone comes first and stays for ever: it is what finishes a delete that was cut short, and what answers a
repeated request for a backup that is gone.
"""

from __future__ import annotations

import os

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository import manifest as manifests
from gateway_api.repository.gzipped import SUFFIX
from gateway_api.repository.index import read_manifest
from gateway_api.repository.manifest import LocatedBackup
from gateway_api.repository.store import data_digest
from gateway_api.repository.verification_records import record_name
from gateway_api.storage import atomic_write
from gateway_api.storage.atomic_write import close, list_names, sync_directory, unlink_if_exists
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
    """Deletes the backup and its manifest; returns whether the data file was still there.

    Raises ``BackupChanged``, with nothing deleted, when the file is not the one the manifest describes;
    ``VolumeUnavailable``, ``VolumeFull`` or ``DurabilityUnknown`` when the volume fails.
    """
    try:
        existed = _is_exact(state, located)
        _start_deletion(state, located)
        _finish_deletion(state, located)
    except OSError as error:
        raise backup_volume_error(error) from None
    ensure_reserve(state)
    return existed


def _is_exact(state: StateDir, located: LocatedBackup) -> bool:
    name, manifest = located.parts[-1], located.manifest
    with open_parent(state.base_fd, located.parts) as parent:
        try:
            close(open_file(parent, name))
        except FileNotFoundError:
            return False
        except ApiError:
            raise ApiError(ErrorCode.BackupChanged) from None
        if data_digest(parent, name, manifest.stored_bytes) != manifest.stored_sha256:
            raise ApiError(ErrorCode.BackupChanged)
        return True


def _start_deletion(state: StateDir, located: LocatedBackup) -> None:
    content = manifests.dump(located.manifest.model_copy(update={"path": located.path}))
    with state.folder(TOMBSTONES_FOLDER) as tombstones:
        try:
            atomic_write.write_file(tombstones, deletion_started_name(located.manifest.id), content)
        except OSError as error:
            if not atomic_write.is_full(error):
                raise
            unlink_if_exists(state.fd, RESERVE_FILE)
            atomic_write.write_file(tombstones, deletion_started_name(located.manifest.id), content)


def _finish_deletion(state: StateDir, located: LocatedBackup) -> None:
    name = located.parts[-1]
    try:
        with open_parent(state.base_fd, located.parts) as parent:
            if data_digest(parent, name, located.manifest.stored_bytes) == located.manifest.stored_sha256:
                os.unlink(name, dir_fd=parent)
                sync_directory(parent)
            # A backup that was gzipped by hand has left its manifest beside its old name.
            for owner in dict.fromkeys((name, name.removesuffix(SUFFIX))):
                beside = read_manifest(parent, manifests.manifest_name(owner))
                if beside is not None and beside.id == located.manifest.id:
                    for noted in dict.fromkeys((name, owner)):
                        unlink_if_exists(parent, record_name(noted))
                    os.unlink(manifests.manifest_name(owner), dir_fd=parent)
                    sync_directory(parent)
    except FileNotFoundError:
        pass
    with state.folder(TOMBSTONES_FOLDER) as tombstones:
        identity = located.manifest.id
        os.rename(
            deletion_started_name(identity),
            tombstone_name(identity),
            src_dir_fd=tombstones,
            dst_dir_fd=tombstones,
        )
        sync_directory(tombstones)


def finish_deletions(state: StateDir) -> None:
    """Finishes what a dead server began to delete. For the holder of the lock alone; raises ``OSError``."""
    with state.folder(TOMBSTONES_FOLDER) as tombstones:
        begun = sorted(name for name in list_names(tombstones) if name.endswith(DELETION_STARTED_SUFFIX))
        for name in begun:
            manifest = read_manifest(tombstones, name)
            if manifest is None:
                unlink_if_exists(tombstones, name)
                continue
            _finish_deletion(state, LocatedBackup(manifest, manifests.target_parts(manifest)))
