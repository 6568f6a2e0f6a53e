"""An index in memory of the files and manifests on the backup volume.

:meth:`RepositoryIndex.refresh` walks the backup directory. It lists only the directories and reads only the manifests
that changed since the last walk. The index only locates a backup: every operation reads the manifest from the volume
before it uses the backup.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository import manifest as manifests
from gateway_api.repository.gzipped import SUFFIX, DigestCache, manifest_for_gzipped
from gateway_api.repository.manifest import LocatedBackup
from gateway_api.repository.manifest_files import load_beside, read_manifest
from gateway_api.repository.verification_records import VerificationRecords
from gateway_api.storage.atomic_write import close, unlink_if_exists
from gateway_api.storage.layout import MANIFEST_SUFFIX, TEMPORARY_NAME
from gateway_api.storage.paths import (
    DIRECTORY_FLAGS,
    MAX_DEPTH,
    FileStamp,
    file_stamp,
    is_valid_component,
    lstat_below,
    lstat_if_exists,
    open_parent,
)

YOUNG_SECONDS: Final = 2.0
"""A directory that changed within this time before it was listed is listed again: its mtime may be too coarse."""
SMALL_BYTES: Final = 4096
"""A larger manifest is not kept in memory, only its id."""
_IGNORED_ERRNOS: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR})
"""Errors of files and folders that do not belong to this server, like `lost+found`. Any other error may hide a backup
of this server."""
_Locations = dict[str, list[tuple[str, ...]]]


class CachedManifest(NamedTuple):
    """A manifest in the index: the stat data of its file, its id and record name, and the JSON unless it is large."""

    stamp: FileStamp
    id: str
    record_name: str | None
    content: bytes | None


class DataFile(NamedTuple):
    """A data file with its path and manifests, both None if they do not exist.

    ``own`` is the manifest of the file's name, ``beside`` that of the name without `.gz`.
    """

    parts: tuple[str, ...]
    own: CachedManifest | None
    beside: CachedManifest | None


@dataclass(slots=True)
class _Directory:
    stamp: FileStamp | None = None
    listed_at: float = 0.0
    manifests: dict[str, CachedManifest] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    below: dict[str, _Directory] = field(default_factory=dict)


class RepositoryIndex:
    """The index of one backup directory. Safe to use from several threads."""

    def __init__(self) -> None:
        self._root = _Directory()
        self._by_id: _Locations = {}
        self._by_record_name: _Locations = {}
        self._unreadable = False
        self._lock = threading.Lock()
        self.digests = DigestCache()
        self.verification_records = VerificationRecords()

    def refresh(self, root_fd: int, *, clean: bool = False) -> None:
        """Updates the index from the backup directory.

        ``clean`` also removes temporary files of a previous server process, so the caller must hold the lock.
        Raises ``OSError`` when the backup directory itself cannot be listed.
        """
        with self._lock:
            by_id: _Locations = {}
            by_record_name: _Locations = {}
            self._unreadable = False
            self._visit(os.dup(root_fd), self._root, (), (by_id, by_record_name), clean)
            self._by_id, self._by_record_name = by_id, by_record_name

    def _visit(
        self, fd: int, node: _Directory, at: tuple[str, ...], located: tuple[_Locations, _Locations], clean: bool
    ) -> None:
        """Updates ``node`` and everything below it, and closes ``fd``. ``at`` are the components of its path."""
        try:
            # Taken before the listing: a change during the listing then leads to another one at the next refresh.
            stamp = file_stamp(os.fstat(fd))
            settled = node.listed_at - stamp[3] / 1e9 >= YOUNG_SECONDS
            if stamp != node.stamp or not settled:
                node.listed_at = time.time()
                complete = self._list(fd, node, clean)
                node.stamp = stamp if complete else None
            for name, manifest in node.manifests.items():
                by_id, by_record_name = located
                parts = (*at, name.removesuffix(MANIFEST_SUFFIX))
                by_id.setdefault(manifest.id, []).append(parts)
                if manifest.record_name is not None:
                    by_record_name.setdefault(manifest.record_name, []).append(parts)
            for name, below in node.below.items() if len(at) + 1 < MAX_DEPTH else ():
                try:
                    child = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
                except OSError as error:
                    self._unreadable |= error.errno not in _IGNORED_ERRNOS
                    continue
                self._visit(child, below, (*at, name), located, clean)
        finally:
            close(fd)

    def _list(self, fd: int, node: _Directory, clean: bool) -> bool:
        """Lists one directory. Returns whether every manifest in it could be read."""
        complete = True
        current_manifests: dict[str, CachedManifest] = {}
        below: dict[str, _Directory] = {}
        files: list[str] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    if clean and TEMPORARY_NAME.match(name):
                        unlink_if_exists(fd, name)
                elif entry.is_dir(follow_symlinks=False):
                    if not is_valid_component(name):
                        continue
                    below[name] = node.below.get(name) or _Directory()
                elif name.endswith(MANIFEST_SUFFIX):
                    if not is_valid_component(name.removesuffix(MANIFEST_SUFFIX)):
                        continue
                    try:
                        manifest = self._load(fd, name, node.manifests.get(name))
                    except OSError as error:
                        complete = False
                        self._unreadable |= error.errno not in _IGNORED_ERRNOS
                        continue
                    if manifest is not None:
                        current_manifests[name] = manifest
                elif entry.is_file(follow_symlinks=False) and is_valid_component(name):
                    files.append(name)
        node.manifests, node.below = current_manifests, below
        node.names = sorted((*files, *below))
        return complete

    @staticmethod
    def _load(fd: int, name: str, cached: CachedManifest | None) -> CachedManifest | None:
        info = lstat_if_exists(fd, name)
        if info is None:
            return None
        if cached is not None and cached.stamp == file_stamp(info):
            return cached
        manifest = read_manifest(fd, name)
        if manifest is None:
            return None
        content = manifest.model_dump_json(exclude_defaults=True).encode()
        small = content if len(content) <= SMALL_BYTES else None
        return CachedManifest(file_stamp(info), manifest.id, manifest.record_name, small)

    def files_after(self, after: tuple[str, ...], most: int) -> list[DataFile]:
        """At most ``most`` data files after the path ``after``, in the order of paths, as of the last refresh."""
        with self._lock:
            return list(islice(_data_files_after(self._root, (), after), most))

    def data_file(self, parts: tuple[str, ...]) -> DataFile | None:
        """The data file at the path ``parts``, or None, as of the last refresh."""
        with self._lock:
            node = self._root
            for part in parts[:-1]:
                below = node.below.get(part)
                if below is None:
                    return None
                node = below
            if parts[-1] in node.below or parts[-1] not in node.names:
                return None
            return _data_file(node, parts[:-1], parts[-1])

    def locations(self, backup_id: str) -> list[tuple[str, ...]]:
        """The paths of the data files whose manifests have this id, as of the last refresh."""
        with self._lock:
            return sorted(self._by_id.get(backup_id, []))

    def backups_of_record(self, root_fd: int, record_name: str) -> list[LocatedBackup]:
        """The backups with this record name whose data file is there, with manifests read from the volume.

        Raises ``OSError`` when a manifest cannot be read.
        """
        with self._lock:
            locations = sorted(self._by_record_name.get(record_name, []))
        backups: list[LocatedBackup] = []
        for parts in locations:
            manifest = load_beside(root_fd, parts)
            if manifest is None or manifest.record_name != record_name:
                continue
            # Only names count here: a file that cannot be read, or that was changed, still holds the record name.
            for path in (parts, (*parts[:-1], parts[-1] + SUFFIX)):
                if lstat_below(root_fd, path) is not None:
                    backups.append(LocatedBackup(manifest, path))
                    break
        return backups

    def fingerprint(self, root_fd: int) -> str:
        """A digest of the stat data of all files that a listing shows or reads. Equal digests: nothing has changed.

        Raises ``OSError`` when a directory cannot be listed.
        """
        hasher = hashlib.sha256(self.verification_records.unwritten_state())
        with self._lock:
            _add_stat_data(hasher.update, os.dup(root_fd), self._root, 0)
        return hasher.hexdigest()

    def all_locations(self) -> list[tuple[str, ...]]:
        """The paths of all data files with a manifest, as of the last refresh."""
        with self._lock:
            return sorted(parts for locations in self._by_id.values() for parts in locations)

    def locate(self, root_fd: int, backup_id: str, *, new: bool = False) -> LocatedBackup | None:
        """The backup with this id, with its manifest read from the volume, or None.

        If several copies exist, it is the one at the path for which it was created. Raises ``VolumeUnavailable`` when
        a manifest with that id cannot be read. Unless the id may be ``new``, it also raises ``VolumeUnavailable`` when
        there is no such manifest and a part of the volume could not be read.
        """
        candidates: list[LocatedBackup] = []
        for parts in self.locations(backup_id):
            try:
                manifest = load_beside(root_fd, parts)
            except OSError as error:
                raise backup_volume_error(error) from None
            if manifest is not None and manifest.id == backup_id:
                candidates.append(LocatedBackup(manifest, parts))
        at_original_path = [one for one in candidates if one.path == one.manifest.path]
        chosen = next(iter(at_original_path or candidates), None)
        if chosen is None:
            # The backup may exist in the unreadable part, so None (a final 404) would be wrong.
            if self._unreadable and not new:
                raise ApiError(ErrorCode.VolumeUnavailable, "a part of the backup volume cannot be read")
            return None
        return self._current_location(root_fd, chosen)

    def _current_location(self, root_fd: int, located: LocatedBackup) -> LocatedBackup:
        """``located``, or the location of its gzipped file if a user has compressed the backup."""
        try:
            with open_parent(root_fd, located.parts) as parent:
                gzipped = manifest_for_gzipped(parent, located.manifest, located.parts[-1], self.digests)
        except (OSError, ApiError):
            return located
        if gzipped is None:
            return located
        return LocatedBackup(gzipped, (*located.parts[:-1], located.parts[-1] + SUFFIX))


def _add_stat_data(add: Callable[[bytes], None], fd: int, node: _Directory, depth: int) -> None:
    """Passes the names and stat data of all files below ``node`` to ``add``, and closes ``fd``."""
    try:
        with os.scandir(fd) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        for name in names:
            info = lstat_if_exists(fd, name)
            if info is None:
                continue
            add(repr((depth, name, info.st_mode, info.st_nlink, file_stamp(info))).encode())
            if name in node.below and depth < MAX_DEPTH:
                try:
                    child = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
                except OSError as error:
                    if error.errno not in _IGNORED_ERRNOS:
                        raise
                    continue
                _add_stat_data(add, child, node.below[name], depth + 1)
    finally:
        close(fd)


def _data_files_after(node: _Directory, at: tuple[str, ...], after: tuple[str, ...]) -> Iterator[DataFile]:
    for name in node.names[bisect_left(node.names, after[0]) if after else 0 :]:
        first = bool(after) and name == after[0]
        if name in node.below:
            yield from _data_files_after(node.below[name], (*at, name), after[1:] if first else ())
        elif not first:
            yield _data_file(node, at, name)


def _data_file(node: _Directory, at: tuple[str, ...], name: str) -> DataFile:
    stem = name.removesuffix(SUFFIX)
    beside = None if stem == name else node.manifests.get(manifests.manifest_name(stem))
    return DataFile((*at, name), node.manifests.get(manifests.manifest_name(name)), beside)
