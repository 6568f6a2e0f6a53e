"""An index in memory of the files and manifests on the backup volume.

:meth:`RepositoryIndex.refresh` walks the backup directory. It lists only the directories and reads only the manifests
that changed since the last walk. The index only locates a backup: every operation reads the manifest from the volume
before it uses the backup.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository.data_files import is_present
from gateway_api.repository.directory_tree import DataFile, Directory, add_stat_data, open_below
from gateway_api.repository.gzipped import DigestCache, manifest_for_gzipped
from gateway_api.repository.manifest import LocatedBackup
from gateway_api.repository.manifest_files import read_manifest_beside
from gateway_api.repository.verification_records import VerificationRecords
from gateway_api.storage.atomic_write import close
from gateway_api.storage.layout import GZIP_SUFFIX, MANIFEST_SUFFIX
from gateway_api.storage.paths import MAX_DEPTH, open_parent, open_root

_Locations = dict[str, list[tuple[str, ...]]]


class RepositoryIndex:
    """The index of one backup directory. Safe to use from several threads."""

    def __init__(self) -> None:
        self._root = Directory()
        self._by_id: _Locations = {}
        self._by_record_name: _Locations = {}
        self._incomplete = False
        self._lock = threading.Lock()
        self.digests = DigestCache()
        self.verification_records = VerificationRecords()

    @property
    def incomplete(self) -> bool:
        """Whether the last refresh could not read a folder or a manifest, so that backups may be hidden."""
        return self._incomplete

    def refresh(self, root_fd: int, *, clean: bool = False) -> None:
        """Updates the index from the backup directory.

        ``clean`` also removes temporary files of a previous server process, so the caller must hold the lock.
        Raises ``OSError`` when the backup directory itself cannot be listed.
        """
        with self._lock:
            by_id: _Locations = {}
            by_record_name: _Locations = {}
            self._incomplete = False
            self._visit(os.dup(root_fd), self._root, (), (by_id, by_record_name), clean)
            self._by_id, self._by_record_name = by_id, by_record_name

    def _visit(
        self, fd: int, node: Directory, at: tuple[str, ...], located: tuple[_Locations, _Locations], clean: bool
    ) -> None:
        """Updates ``node`` and everything below it, and closes ``fd``. ``at`` are the components of its path."""
        try:
            self._incomplete |= not node.refresh(fd, clean=clean)
            for name, manifest in node.manifests.items():
                by_id, by_record_name = located
                parts = (*at, name.removesuffix(MANIFEST_SUFFIX))
                by_id.setdefault(manifest.id, []).append(parts)
                if manifest.record_name is not None:
                    by_record_name.setdefault(manifest.record_name, []).append(parts)
            for name, below in list(node.below.items()) if len(at) + 1 < MAX_DEPTH else ():
                child, hidden = open_below(fd, name, below, is_root=not at)
                self._incomplete |= hidden
                if child is None:
                    continue
                self._visit(child, below, (*at, name), located, clean)
        finally:
            close(fd)

    def files_after(self, after: tuple[str, ...], most: int) -> list[DataFile]:
        """At most ``most`` data files after the path ``after``, in the order of paths, as of the last refresh."""
        with self._lock:
            return list(islice(self._root.files_after((), after), most))

    def data_file(self, parts: tuple[str, ...]) -> DataFile | None:
        """The data file at the path ``parts``, or None, as of the last refresh."""
        with self._lock:
            node = self._root
            for part in parts[:-1]:
                below = node.below.get(part)
                if below is None:
                    return None
                node = below
            if parts[-1] not in node.names or not node.is_listed(parts[-1]):
                return None
            return node.data_file(parts[:-1], parts[-1])

    def manifests_without_data(self) -> list[tuple[tuple[str, ...], float]]:
        """The paths of the data files that have a manifest but do not exist, as of the last refresh.

        With each comes the mtime of its folder, in seconds since the epoch: the file is gone at least since then.
        """
        with self._lock:
            return [
                ((*at, name), node.stamp[3] / 1e9)
                for at, node in self._root.directories()
                for name in node.without_data
                if node.stamp is not None
            ]

    def new_files_without_manifest(self) -> list[tuple[str, ...]]:
        """The paths of the files without a manifest in folders that changed since the last check of them."""
        with self._lock:
            directories = self._root.directories()
            return [
                (*at, name) for at, node in directories if not node.new_files_checked for name in node.without_manifest
            ]

    def mark_new_files_checked(self) -> None:
        """Leaves the current files out of `new_files_without_manifest` until their folder changes."""
        with self._lock:
            for _, node in self._root.directories():
                node.new_files_checked = True

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
            manifest = read_manifest_beside(root_fd, parts)
            if manifest is None or manifest.record_name != record_name:
                continue
            # Only names count here: a file that cannot be read, or that was changed, still holds the record name.
            for path in (parts, (*parts[:-1], parts[-1] + GZIP_SUFFIX)):
                located = LocatedBackup(manifest, path)
                if is_present(root_fd, located):
                    backups.append(located)
                    break
        return backups

    def fingerprint(self, root_fd: int) -> str:
        """A digest of the stat data of all files that a listing shows or reads. Equal digests: nothing has changed.

        Raises ``OSError`` when a directory cannot be listed.
        """
        hasher = hashlib.sha256(self.verification_records.unwritten_state())
        with self._lock:
            add_stat_data(hasher.update, os.dup(root_fd), self._root, 0)
        return hasher.hexdigest()

    def all_locations(self) -> list[tuple[str, ...]]:
        """The paths of all data files with a manifest, as of the last refresh."""
        with self._lock:
            return sorted(parts for locations in self._by_id.values() for parts in locations)

    def locate(self, root_fd: int, backup_id: str, *, new: bool = False) -> LocatedBackup | None:
        """The backup with this id, with its manifest read from the volume, or None.

        If several copies exist, it is the one at the path for which it was created, unless only another one has its
        data file. Raises ``VolumeUnavailable`` when a manifest with that id cannot be read. Unless the id may be
        ``new``, it also raises ``VolumeUnavailable`` when there is no such manifest and a part of the volume could not
        be read.
        """
        candidates: list[LocatedBackup] = []
        for parts in self.locations(backup_id):
            try:
                manifest = read_manifest_beside(root_fd, parts)
            except OSError as error:
                raise backup_volume_error(error) from None
            if manifest is not None and manifest.id == backup_id:
                candidates.append(self._current_location(root_fd, LocatedBackup(manifest, parts)))
        if not candidates:
            # The backup may exist in the unreadable part, so None (a final 404) would be wrong.
            if self._incomplete and not new:
                raise ApiError(ErrorCode.VolumeUnavailable, "a part of the backup volume cannot be read")
            return None
        return max(candidates, key=lambda one: (is_present(root_fd, one), one.is_at_own_path))

    def _current_location(self, root_fd: int, located: LocatedBackup) -> LocatedBackup:
        """``located``, or the location of its gzipped file if a user has compressed the backup."""
        try:
            with open_parent(root_fd, located.parts) as parent:
                gzipped = manifest_for_gzipped(parent, located.manifest, located.parts[-1], self.digests)
        except (OSError, ApiError):
            return located
        if gzipped is None:
            return located
        return LocatedBackup(gzipped, (*located.parts[:-1], located.parts[-1] + GZIP_SUFFIX))


@contextmanager
def open_volume(backup_dir: Path, index: RepositoryIndex) -> Iterator[int]:
    """Yields a descriptor of the backup directory and refreshes the index.

    Takes no lock. An ``OSError``, also of the block, becomes an error of the backup volume.
    """
    try:
        root_fd = open_root(backup_dir)
        try:
            index.refresh(root_fd)
            yield root_fd
        finally:
            close(root_fd)
    except OSError as error:
        raise backup_volume_error(error) from None


@contextmanager
def open_backup(backup_dir: Path, index: RepositoryIndex, backup_id: str) -> Iterator[tuple[int, LocatedBackup]]:
    """Yields a descriptor of the backup directory and the backup with this id.

    Raises ``BackupNotFound``, also if a file disappears while the block reads it, and as :func:`open_volume`.
    """
    with open_volume(backup_dir, index) as root_fd:
        try:
            located = index.locate(root_fd, backup_id)
            if located is None:
                raise ApiError(ErrorCode.BackupNotFound)
            yield root_fd, located
        except FileNotFoundError:
            raise ApiError(ErrorCode.BackupNotFound) from None
