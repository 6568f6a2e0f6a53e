"""Deleting one backup for good: exactly the file its manifest describes, also when the disk is full or the server dies.

A tombstone comes first and stays for ever: it is what finishes a delete that was cut short, and what answers a
repeated request for a backup that is gone.
"""

from __future__ import annotations

import os
from typing import Final

from . import durable
from . import manifest as manifests
from .compressed import SUFFIX
from .contract import ErrorCode
from .durable import close, list_names, sync_directory, unlink_quietly
from .errors import ApiError, backup_volume_error
from .inventory import read_manifest
from .manifest import Located
from .notes import note_name
from .room import RESERVE, RESERVE_BYTES, free_bytes
from .safe_path import existing_kind, open_file, open_parent
from .state_folder import StateFolder
from .store import TOMBSTONES, data_digest

BEGUN: Final = ".deleting"
DONE: Final = ".json"


def keep_reserve(state: StateFolder) -> None:
    """Sets aside the megabyte that a delete gives up on a full disk. That there is no room for it is no error."""
    try:
        info = existing_kind(state.fd, RESERVE)
        if info is not None and info.st_size == RESERVE_BYTES:
            return
        if free_bytes(state.base_fd)[0] > 2 * RESERVE_BYTES:
            durable.write_file(state.fd, RESERVE, os.urandom(RESERVE_BYTES))
    except (OSError, ApiError):
        return


def delete(state: StateFolder, located: Located) -> bool:
    """Deletes the backup and its manifest; returns whether the data file was still there.

    Raises ``BackupChanged``, with nothing deleted, when the file is not the one the manifest describes;
    ``VolumeUnavailable``, ``VolumeFull`` or ``DurabilityUnknown`` when the volume fails.
    """
    try:
        existed = _is_exact(state, located)
        _bury(state, located)
        _finish(state, located)
    except OSError as error:
        raise backup_volume_error(error) from None
    keep_reserve(state)
    return existed


def _is_exact(state: StateFolder, located: Located) -> bool:
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


def _bury(state: StateFolder, located: Located) -> None:
    content = manifests.dump(located.manifest.model_copy(update={"path": located.path}))
    with state.folder(TOMBSTONES) as tombstones:
        try:
            durable.write_file(tombstones, located.manifest.id + BEGUN, content)
        except OSError as error:
            if not durable.is_full(error):
                raise
            unlink_quietly(state.fd, RESERVE)
            durable.write_file(tombstones, located.manifest.id + BEGUN, content)


def _finish(state: StateFolder, located: Located) -> None:
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
                        unlink_quietly(parent, note_name(noted))
                    os.unlink(manifests.manifest_name(owner), dir_fd=parent)
                    sync_directory(parent)
    except FileNotFoundError:
        pass
    with state.folder(TOMBSTONES) as tombstones:
        identity = located.manifest.id
        os.rename(identity + BEGUN, identity + DONE, src_dir_fd=tombstones, dst_dir_fd=tombstones)
        sync_directory(tombstones)


def finish_deletes(state: StateFolder) -> None:
    """Finishes what a dead server began to delete. For the holder of the lock alone; raises ``OSError``."""
    with state.folder(TOMBSTONES) as tombstones:
        begun = sorted(name for name in list_names(tombstones) if name.endswith(BEGUN))
        for name in begun:
            manifest = read_manifest(tombstones, name)
            if manifest is None:
                unlink_quietly(tombstones, name)
                continue
            _finish(state, Located(manifest, manifests.written_to(manifest)))
