"""The directories of the backup volume in memory: the names in each one, and its manifests.

`RepositoryIndex` keeps one `Directory` for each folder and lists it again only after a change. The tree holds names
and small manifests, never the content of a backup.
"""

from __future__ import annotations

import errno
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway_api.repository import manifest as manifests
from gateway_api.repository.manifest_files import read_manifest
from gateway_api.storage.atomic_write import close, unlink_if_exists
from gateway_api.storage.layout import GZIP_SUFFIX, MANIFEST_SUFFIX, TEMPORARY_NAME
from gateway_api.storage.paths import (
    DIRECTORY_FLAGS,
    FileStamp,
    file_stamp,
    is_backup_directory,
    is_valid_component,
    lstat_if_exists,
)

YOUNG_SECONDS: Final = 2.0
"""A directory is listed again until its stat data has been the same for this time: its mtime may be too coarse."""
SMALL_BYTES: Final = 4096
"""A larger manifest is not kept in memory, only its id."""
_ABSENT_ERRNOS: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR})
_PERMISSION_ERRNOS: Final = frozenset({errno.EACCES, errno.EPERM})
_FSCK_FOLDER: Final = "lost+found"
"""A folder of the file system itself at the top of a volume. No backup is in it, and it is often unreadable."""


class CachedManifest(NamedTuple):
    """A manifest in the index: the stat data of its file, its id and record name, and the JSON unless it is large."""

    stamp: FileStamp
    id: str
    record_name: str | None
    content: bytes | None


class DataFile(NamedTuple):
    """The name of a data file with its manifests, both None if they do not exist.

    ``own`` is the manifest of the file's name, ``beside`` that of the name without `.gz`. ``damaged``: there is a file
    with the name of its own manifest, but it is not a valid manifest or cannot be read.
    """

    parts: tuple[str, ...]
    own: CachedManifest | None
    beside: CachedManifest | None
    damaged: bool


@dataclass(slots=True)
class Directory:
    """One folder. ``names`` are the sorted names of its files and folders that a request can address.

    ``without_data`` are the names of manifests with nothing at their path, ``without_manifest`` those of files without
    one. ``new_files_checked`` is False until the latter were compared with the manifests in `missing/`.
    ``opened`` is False for a folder that the last refresh did not look into: it could not, or it is not ours.
    ``stamp_since`` and ``listed_at`` are monotonic times in seconds: the clock of a file server may differ from ours.
    """

    stamp: FileStamp | None = None
    stamp_since: float = 0.0
    listed_at: float = 0.0
    opened: bool = False
    unreadable: bool = False
    manifests: dict[str, CachedManifest] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset()
    names: list[str] = field(default_factory=list)
    below: dict[str, Directory] = field(default_factory=dict)
    without_data: tuple[str, ...] = ()
    without_manifest: tuple[str, ...] = ()
    new_files_checked: bool = False

    def clear(self) -> None:
        """Forgets everything below this directory."""
        self.stamp, self.manifests, self.damaged = None, {}, frozenset()
        self.names, self.below, self.without_data, self.without_manifest = [], {}, (), ()

    def refresh(self, fd: int, *, clean: bool) -> bool:
        """Lists the open directory if it may have changed. Returns whether every manifest in it could be read."""
        # Taken before the listing: a change during the listing then leads to another one at the next refresh.
        stamp, now = file_stamp(os.fstat(fd)), time.monotonic()
        if stamp != self.stamp:
            self.stamp_since = now
        elif self.listed_at - self.stamp_since >= YOUNG_SECONDS:
            return True
        self.listed_at = now
        complete = self._list(fd, clean)
        self.stamp = stamp if complete else None
        return complete

    def _list(self, fd: int, clean: bool) -> bool:
        complete = True
        current_manifests: dict[str, CachedManifest] = {}
        damaged: set[str] = set()
        below: dict[str, Directory] = {}
        files: list[str] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    if clean and TEMPORARY_NAME.match(name):
                        unlink_if_exists(fd, name)
                elif entry.is_dir(follow_symlinks=False):
                    if is_valid_component(name):
                        below[name] = self.below.get(name) or Directory()
                elif name.endswith(MANIFEST_SUFFIX):
                    if not is_valid_component(name.removesuffix(MANIFEST_SUFFIX)):
                        continue
                    try:
                        manifest = _load(fd, name, self.manifests.get(name))
                    except OSError:
                        complete = False
                        manifest = None
                    if manifest is not None:
                        current_manifests[name] = manifest
                    else:
                        damaged.add(name)
                elif is_valid_component(name):
                    files.append(name)
        self.manifests, self.damaged, self.below = current_manifests, frozenset(damaged), below
        self.names = sorted((*files, *below))
        present = set(self.names)
        stems = (name.removesuffix(MANIFEST_SUFFIX) for name in current_manifests)
        self.without_data = tuple(stem for stem in stems if stem not in present and stem + GZIP_SUFFIX not in present)
        self.new_files_checked = False
        self.without_manifest = tuple(
            name for name in files if not {manifests.manifest_name(name)} & (current_manifests.keys() | damaged)
        )
        return complete

    def data_file(self, at: tuple[str, ...], name: str) -> DataFile:
        """The name with its manifests. ``at`` are the components of this directory's path."""
        stem = name.removesuffix(GZIP_SUFFIX)
        beside = None if stem == name else self.manifests.get(manifests.manifest_name(stem))
        own = manifests.manifest_name(name)
        return DataFile((*at, name), self.manifests.get(own), beside, own in self.damaged)

    def is_listed(self, name: str) -> bool:
        """Whether the list of backups has an entry for ``name`` itself.

        A folder has one if it cannot be read, or if it is at the name of a backup.
        """
        below = self.below.get(name)
        return below is None or below.unreadable or manifests.manifest_name(name) in self.manifests

    def files_after(self, at: tuple[str, ...], after: tuple[str, ...]) -> Iterator[DataFile]:
        """The data files here and below after the path ``after``, in the order of paths."""
        for name in self.names[bisect_left(self.names, after[0]) if after else 0 :]:
            first = bool(after) and name == after[0]
            if not first and self.is_listed(name):
                yield self.data_file(at, name)
            if name in self.below:
                yield from self.below[name].files_after((*at, name), after[1:] if first else ())

    def directories(self, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Directory]]:
        """This directory and all below it, each with the components of its path."""
        yield at, self
        for name, below in self.below.items():
            yield from below.directories((*at, name))


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


def open_below(fd: int, name: str, node: Directory, *, is_root: bool) -> tuple[int | None, bool]:
    """Opens the folder ``name`` for a refresh. Returns the descriptor, or None, and whether backups may be hidden.

    The backup directory of another server is never opened: it has another lock.
    """
    child: int | None = None
    node.opened = node.unreadable = False
    try:
        child = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
        if not is_backup_directory(child):
            node.opened = True
            return child, False
        node.clear()
        hidden = False
    except OSError as error:
        is_fsck_folder = is_root and name == _FSCK_FOLDER and error.errno in _PERMISSION_ERRNOS
        hidden = error.errno not in _ABSENT_ERRNOS and not is_fsck_folder
        # Its last content stays in memory, but no operation can open a file of it.
        node.unreadable = hidden
    if child is not None:
        close(child)
    return None, hidden


def add_stat_data(add: Callable[[bytes], None], fd: int, node: Directory, depth: int) -> None:
    """Passes the names and stat data of all files below ``node`` to ``add``, and closes ``fd``."""
    try:
        with os.scandir(fd) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        for name in names:
            info = lstat_if_exists(fd, name)
            if info is None:
                continue
            add(repr((depth, name, info.st_mode, info.st_nlink, file_stamp(info))).encode())
            below = node.below.get(name)
            if below is not None and below.opened:
                add_stat_data(add, os.open(name, DIRECTORY_FLAGS, dir_fd=fd), below, depth + 1)
    finally:
        close(fd)
