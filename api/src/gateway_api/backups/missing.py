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
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ValidationError

from gateway_api.clock import from_timestamp
from gateway_api.errors import ApiError
from gateway_api.operation_context import OperationContext
from gateway_api.repository.data_files import digest_data_file
from gateway_api.repository.gzipped import manifest_for_gzipped
from gateway_api.repository.manifest import Manifest, manifest_name
from gateway_api.repository.manifest_files import read_manifest
from gateway_api.repository.verification_records import verification_record_name
from gateway_api.storage.atomic_write import list_names, unlink_if_exists, write_file
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.layout import (
    GZIP_SUFFIX,
    MISSING_FOLDER,
    MISSING_RECORD_FILE,
    missing_manifest_name,
    parse_missing_manifest_name,
    path_digest,
)
from gateway_api.storage.paths import lstat_if_exists, open_parent
from gateway_api.storage.state_dir import StateDir, dump_record, read_record

ABSENT_FOR: Final = timedelta(days=7)
INTERVAL: Final = timedelta(days=1)
MAX_RECORDED: Final = 10_000
"""Number of paths in the record. Further ones are recorded at a later check, after these have moved."""


class MissingRecord(BaseModel):
    """The file `missing.json`: the time of the last check, and since when the data file at each path is gone."""

    checked: datetime | None = None
    since: dict[str, datetime] = {}


def read_missing_record(volume: StateDir) -> MissingRecord:
    """The record of the last check; an empty one if there is none or it is damaged. Raises ``OSError``."""
    try:
        return MissingRecord.model_validate_json(volume.read(MISSING_RECORD_FILE) or b"{}")
    except ValidationError:
        # It can be rebuilt: the week begins again.
        return MissingRecord()


def is_due(record: MissingRecord, now: datetime) -> bool:
    """Whether a day has passed since the last check. Also after the clock was set back."""
    return record.checked is None or not timedelta(0) <= now - record.checked < INTERVAL


def plan(
    without_data: list[tuple[tuple[str, ...], float]], record: MissingRecord, now: datetime
) -> tuple[list[tuple[str, ...]], MissingRecord]:
    """The paths whose manifests move now, and the next record. ``without_data`` has the mtime of each path's folder."""
    move: list[tuple[str, ...]] = []
    since: dict[str, datetime] = {}
    for parts, folder_mtime in sorted(without_data):
        path = "/".join(parts)
        first = min(record.since.get(path, now), from_timestamp(folder_mtime, now))
        if now - first >= ABSENT_FOR:
            move.append(parts)
        elif len(since) < MAX_RECORDED:
            since[path] = first
    return move, MissingRecord(checked=now, since=since)


def move_to_missing(context: OperationContext, volume: StateDir, record: MissingRecord) -> None:
    """Moves the manifests that are due, then writes the next record. The caller holds the lock.

    Raises ``OSError`` or ``ApiError``; the next check repeats the rest.
    """
    now = context.clock()
    move, next_record = plan(context.index.manifests_without_data(), record, now)
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
    volume.write(MISSING_RECORD_FILE, dump_record(next_record.model_dump(mode="json")))


def _move_folder(parent: int, missing: int, folder: tuple[str, ...], names: list[str]) -> None:
    for name in names:
        manifest = read_manifest(parent, manifest_name(name))
        if manifest is None or any(lstat_if_exists(parent, data) is not None for data in (name, name + GZIP_SUFFIX)):
            continue  # changed since the index was refreshed
        # Before the manifest, because nothing finds these files without it. They can be made again.
        for data_name in (name, name + GZIP_SUFFIX):
            unlink_if_exists(parent, verification_record_name(data_name))
        # It expires 400 days after this time. Before the move: a crash in between must not leave the old time there.
        with suppress(OSError):  # for example a file of another user
            os.utime(manifest_name(name), dir_fd=parent, follow_symlinks=False)
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
    new_files = context.index.new_files_without_manifest()
    if new_files:
        with volume.open_folder(MISSING_FOLDER) as missing:
            returned = [
                _return_one(context, volume, missing, name, owner) for owner, name in _candidates(missing, new_files)
            ]
        if any(returned):
            context.index.refresh(volume.base_fd)
    context.index.mark_new_files_checked()


def _candidates(missing: int, new_files: list[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The manifests in `missing/` that may describe one of the files: the path of the data file, and the name there.

    A file that was gzipped by hand may belong to the manifest of the path without `.gz`.
    """
    names = _names_by_path(missing)
    for *folder, file in new_files if names else ():
        for owner in dict.fromkeys((file, file.removesuffix(GZIP_SUFFIX))):
            for name in names.get(path_digest("/".join((*folder, owner))), ()):
                yield (*folder, owner), name


def _names_by_path(missing: int) -> dict[str, list[str]]:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name in list_names(missing):
        parsed = parse_missing_manifest_name(name)
        if parsed is not None:
            names[parsed[1]].append(name)
    return names


def _return_one(context: OperationContext, volume: StateDir, missing: int, name: str, owner: tuple[str, ...]) -> bool:
    """Moves one manifest beside its data. Returns False if the data is another one or cannot be read."""
    try:
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
    except (FileNotFoundError, PermissionError):
        return False
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
