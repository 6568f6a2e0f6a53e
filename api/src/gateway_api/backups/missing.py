"""Moves the manifests of backups whose data is gone to `missing/`, and back when the data is there again.

A cron script that deletes old files by hand leaves their manifests. Each of them would be read at every start and
walked at every listing. A manifest whose data has been gone for a week moves out of the way. No listing looks into
`missing/`: the name of a manifest there holds a digest of its path, so one look-up answers whether a file that appears
has a manifest there.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ValidationError

from gateway_api.errors import ApiError
from gateway_api.operation_context import OperationContext
from gateway_api.repository.data_files import digest_data_file
from gateway_api.repository.gzipped import SUFFIX, manifest_for_gzipped
from gateway_api.repository.manifest import Manifest, manifest_name
from gateway_api.repository.manifest_files import read_manifest
from gateway_api.repository.verification_records import record_name
from gateway_api.storage.atomic_write import list_names, unlink_if_exists, write_file
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.layout import (
    MISSING_FOLDER,
    MISSING_NOTE_FILE,
    missing_manifest_name,
    parse_missing_manifest_name,
    path_digest,
)
from gateway_api.storage.paths import lstat_if_exists, open_parent
from gateway_api.storage.state_dir import StateDir, dump_record, read_record

ABSENT_FOR: Final = timedelta(days=7)
INTERVAL: Final = timedelta(days=1)
MOST_NOTED: Final = 10_000
"""Number of paths in the note. More than that are noted at the next check, after these have moved."""


class MissingNote(BaseModel):
    """The file `missing.json`: the time of the last check, and since when the data file at each path is gone."""

    checked: datetime | None = None
    since: dict[str, datetime] = {}


def read_note(volume: StateDir) -> MissingNote:
    """The note of the last check; an empty one if there is none or it is damaged. Raises ``OSError``."""
    try:
        return MissingNote.model_validate_json(volume.read(MISSING_NOTE_FILE) or b"{}")
    except ValidationError:
        # It can be rebuilt: the week begins again.
        return MissingNote()


def is_due(note: MissingNote, now: datetime) -> bool:
    """Whether a day has passed since the last check. Also after the clock was set back."""
    return note.checked is None or not timedelta(0) <= now - note.checked < INTERVAL


def plan(
    dead: list[tuple[tuple[str, ...], float]], note: MissingNote, now: datetime
) -> tuple[list[tuple[str, ...]], MissingNote]:
    """The paths whose manifests move now, and the next note. ``dead`` are paths with the mtime of their folder."""
    move: list[tuple[str, ...]] = []
    since: dict[str, datetime] = {}
    for parts, folder_mtime in sorted(dead):
        path = "/".join(parts)
        first = min(note.since.get(path, now), _time(folder_mtime, now))
        if now - first >= ABSENT_FOR:
            move.append(parts)
        elif len(since) < MOST_NOTED:
            since[path] = first
    return move, MissingNote(checked=now, since=since)


def _time(seconds: float, default: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return default


def move_to_missing(context: OperationContext, volume: StateDir, note: MissingNote) -> None:
    """Moves the manifests that are due, then writes the note. The caller holds the lock.

    Raises ``OSError`` or ``ApiError``; the next check repeats the rest.
    """
    now = context.clock()
    move, next_note = plan(context.index.dead_manifests(), note, now)
    by_folder: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for parts in move:
        by_folder[parts[:-1]].append(parts[-1])
    if by_folder:
        with volume.open_folder(MISSING_FOLDER) as missing:
            for folder, names in by_folder.items():
                with suppress(FileNotFoundError), open_parent(volume.base_fd, (*folder, "")) as parent:
                    _move_folder(parent, missing, folder, names)
        context.index.refresh(volume.base_fd)
    # After the moves: a crash before this repeats the check, and each move may be repeated.
    volume.write(MISSING_NOTE_FILE, dump_record(next_note.model_dump(mode="json")))


def _move_folder(parent: int, missing: int, folder: tuple[str, ...], names: list[str]) -> None:
    for name in names:
        manifest = read_manifest(parent, manifest_name(name))
        if manifest is None or any(lstat_if_exists(parent, data) is not None for data in (name, name + SUFFIX)):
            continue  # changed since the index was refreshed
        # Before the manifest, because nothing finds these files without it. They can be made again.
        for data_name in (name, name + SUFFIX):
            unlink_if_exists(parent, record_name(data_name))
        target = missing_manifest_name(manifest.id, "/".join((*folder, name)))
        _rename(manifest_name(name), target, parent, missing)
    # The new names are durable before the old ones are removed from the disk. In the other order a power failure could
    # lose both.
    sync_directory(missing)
    sync_directory(parent)


def _rename(source: str, target: str, source_fd: int, target_fd: int) -> None:
    try:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The folders are on different file systems. The copy is durable before the original is removed.
        data = read_record(source_fd, source)
        if data is not None:
            write_file(target_fd, target, data)
            os.unlink(source, dir_fd=source_fd)


def return_manifests(context: OperationContext, volume: StateDir) -> None:
    """Moves manifests back beside data that is there again, with the stored digest. The caller holds the lock.

    Raises ``OSError`` or ``ApiError``; the next operation tries again.
    """
    if lstat_if_exists(volume.fd, MISSING_FOLDER) is None:
        return
    orphans = context.index.new_files_without_manifest()
    if orphans:
        returned = False
        with volume.open_folder(MISSING_FOLDER) as missing:
            names = _names_by_path(missing)
            for parts in orphans if names else ():
                for owner in dict.fromkeys((parts[-1], parts[-1].removesuffix(SUFFIX))):
                    for name in names.get(path_digest("/".join((*parts[:-1], owner))), ()):
                        with suppress(FileNotFoundError, PermissionError):
                            returned |= _return_one(context, volume, missing, name, (*parts[:-1], owner))
        if returned:
            context.index.refresh(volume.base_fd)
    context.index.orphans_checked()


def _names_by_path(missing: int) -> dict[str, list[str]]:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name in list_names(missing):
        parsed = parse_missing_manifest_name(name)
        if parsed is not None:
            names[parsed[1]].append(name)
    return names


def _return_one(context: OperationContext, volume: StateDir, missing: int, name: str, owner: tuple[str, ...]) -> bool:
    manifest = read_manifest(missing, name)
    if manifest is None:
        return False
    beside = manifest_name(owner[-1])
    with open_parent(volume.base_fd, owner) as parent:
        if lstat_if_exists(parent, beside) is not None or not _has_data(context, parent, owner[-1], manifest):
            return False
        _rename(name, beside, missing, parent)
        # The new name is durable before the old one is removed from the disk.
        sync_directory(parent)
    sync_directory(missing)
    return True


def _has_data(context: OperationContext, parent: int, name: str, manifest: Manifest) -> bool:
    """Whether the data file of the manifest is at its path or gzipped beside it, with the digest of the manifest."""
    if digest_data_file(parent, name, manifest.stored_bytes) == manifest.stored_sha256:
        return True
    return manifest_for_gzipped(parent, manifest, name, context.index.digests) is not None


def find_missing(volume: StateDir, backup_id: str) -> Manifest | None:
    """The manifest in `missing/` of this backup, or None. Raises ``OSError``."""
    if lstat_if_exists(volume.fd, MISSING_FOLDER) is None:
        return None
    with volume.open_folder(MISSING_FOLDER) as missing:
        for name in list_names(missing):
            parsed = parse_missing_manifest_name(name)
            if parsed is not None and parsed[0] == backup_id:
                with suppress(ApiError):
                    return read_manifest(missing, name)
    return None
