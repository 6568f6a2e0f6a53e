"""Which backups the volume holds: an index of names and manifests in memory, brought up to date by walking.

A directory that has not changed is not listed again, and a manifest that has not changed is not read again. What is
about to be used is always read afresh: the index only says where to look.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository import manifest as manifests
from gateway_api.repository.gzipped import SUFFIX, DigestCache, manifest_for_gzipped
from gateway_api.repository.manifest import InvalidManifest, LocatedBackup, Manifest
from gateway_api.repository.verification_records import VerificationRecords
from gateway_api.storage.atomic_write import close, read_all, unlink_if_exists
from gateway_api.storage.layout import MANIFEST_SUFFIX, TEMPORARY_NAME
from gateway_api.storage.paths import (
    DIRECTORY_FLAGS,
    MAX_DEPTH,
    FileStamp,
    existing_kind,
    file_stamp,
    is_usable,
    open_file,
    open_parent,
)

YOUNG_SECONDS: Final = 2.0
SMALL_BYTES: Final = 4096
_IGNORED_ERRNOS: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR})
"""Of folders and files that are not ours, as `lost+found` is not: what else fails, fails on ours."""
ParsedManifest = tuple[dict[str, Any], Manifest]
"""A manifest and the object that it was received as."""


class CachedManifest(NamedTuple):
    """A manifest that has been read: of which file, whose, and what it says unless that is much."""

    signature: FileStamp
    id: str
    content: bytes | None


class DataFile(NamedTuple):
    """A data file, the manifest of its own name, and if it ends in `.gz` that of the name without."""

    parts: tuple[str, ...]
    own: CachedManifest | None
    beside: CachedManifest | None


@dataclass(slots=True)
class _Directory:
    signature: FileStamp | None = None
    seen: float = 0.0
    manifests: dict[str, CachedManifest] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    below: dict[str, _Directory] = field(default_factory=dict)


class RepositoryIndex:
    """The index of one backup directory. Safe to use from several threads."""

    def __init__(self) -> None:
        self._root = _Directory()
        self._by_id: dict[str, list[tuple[str, ...]]] = {}
        self._hidden = False
        self._lock = threading.Lock()
        self.digests = DigestCache()
        self.notes = VerificationRecords()

    def refresh(self, root_fd: int, *, clean: bool = False) -> None:
        """Walks what changed. ``clean`` also removes temporaries that a dead server left: for the lock's holder alone.

        Raises ``OSError`` when the backup directory itself cannot be listed.
        """
        with self._lock:
            found: dict[str, list[tuple[str, ...]]] = {}
            self._hidden = False
            self._visit(os.dup(root_fd), self._root, (), found, clean)
            self._by_id = found

    def _visit(
        self, fd: int, node: _Directory, at: tuple[str, ...], found: dict[str, list[tuple[str, ...]]], clean: bool
    ) -> None:
        try:
            signature = file_stamp(os.fstat(fd))
            settled = node.seen - signature[3] / 1e9 >= YOUNG_SECONDS
            if signature != node.signature or not settled:
                node.seen = time.time()
                whole = self._list(fd, node, clean)
                node.signature = signature if whole else None
            for name, known in node.manifests.items():
                found.setdefault(known.id, []).append((*at, name.removesuffix(MANIFEST_SUFFIX)))
            for name, below in node.below.items() if len(at) + 1 < MAX_DEPTH else ():
                try:
                    child = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
                except OSError as error:
                    self._hidden |= error.errno not in _IGNORED_ERRNOS
                    continue
                self._visit(child, below, (*at, name), found, clean)
        finally:
            close(fd)

    def _list(self, fd: int, node: _Directory, clean: bool) -> bool:
        """Lists one directory; returns whether all that it holds could be read."""
        whole = True
        manifests_now: dict[str, CachedManifest] = {}
        below: dict[str, _Directory] = {}
        files: list[str] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    if clean and TEMPORARY_NAME.match(name):
                        unlink_if_exists(fd, name)
                elif entry.is_dir(follow_symlinks=False):
                    if not is_usable(name):
                        continue
                    below[name] = node.below.get(name) or _Directory()
                elif name.endswith(MANIFEST_SUFFIX):
                    if not is_usable(name.removesuffix(MANIFEST_SUFFIX)):
                        continue
                    try:
                        known = self._identify(fd, name, node.manifests.get(name))
                    except OSError as error:
                        whole = False
                        self._hidden |= error.errno not in _IGNORED_ERRNOS
                        continue
                    if known is not None:
                        manifests_now[name] = known
                elif entry.is_file(follow_symlinks=False) and is_usable(name):
                    files.append(name)
        node.manifests, node.below = manifests_now, below
        node.names = sorted((*files, *below))
        return whole

    @staticmethod
    def _identify(fd: int, name: str, known: CachedManifest | None) -> CachedManifest | None:
        info = existing_kind(fd, name)
        if info is None:
            return None
        if known is not None and known.signature == file_stamp(info):
            return known
        found = read_manifest(fd, name)
        if found is None:
            return None
        content = found.model_dump_json(exclude_defaults=True).encode()
        return CachedManifest(file_stamp(info), found.id, content if len(content) <= SMALL_BYTES else None)

    def files_after(self, after: tuple[str, ...], most: int) -> list[DataFile]:
        """The next data files behind ``after``, by the components of their paths, as of the last refresh."""
        with self._lock:
            return list(islice(_after(self._root, (), after), most))

    def data_file(self, parts: tuple[str, ...]) -> DataFile | None:
        """The data file at exactly this path, as of the last refresh."""
        with self._lock:
            node = self._root
            for part in parts[:-1]:
                below = node.below.get(part)
                if below is None:
                    return None
                node = below
            if parts[-1] in node.below or parts[-1] not in node.names:
                return None
            return _named(node, parts[:-1], parts[-1])

    def locations(self, backup_id: str) -> list[tuple[str, ...]]:
        """Where manifests with this id were seen, as components of their data files' paths."""
        with self._lock:
            return sorted(self._by_id.get(backup_id, []))

    def all_locations(self) -> list[tuple[str, ...]]:
        """Where manifests were seen, as components of their data files' paths."""
        with self._lock:
            return sorted(place for places in self._by_id.values() for place in places)

    def locate(self, root_fd: int, backup_id: str, *, new: bool = False) -> LocatedBackup | None:
        """The manifest of ``backup_id``, read now, or None. Of several copies, the one that lies where it was made.

        Raises ``VolumeUnavailable`` when a manifest that had that id cannot be read; and, unless the id may be ``new``,
        when none is found but the disk did not let all of the volume be read.
        """
        candidates: list[LocatedBackup] = []
        for parts in self.locations(backup_id):
            try:
                found = load_beside(root_fd, parts)
            except OSError as error:
                raise backup_volume_error(error) from None
            if found is not None and found.id == backup_id:
                candidates.append(LocatedBackup(found, parts))
        at_home = [one for one in candidates if one.path == one.manifest.path]
        chosen = next(iter(at_home or candidates), None)
        if chosen is None:
            if self._hidden and not new:
                raise ApiError(ErrorCode.VolumeUnavailable, "a part of the backup volume cannot be read")
            return None
        return self._current_location(root_fd, chosen)

    def _current_location(self, root_fd: int, located: LocatedBackup) -> LocatedBackup:
        """``located``, or the same backup as a person has gzipped it."""
        try:
            with open_parent(root_fd, located.parts) as parent:
                adopted = manifest_for_gzipped(parent, located.manifest, located.parts[-1], self.digests)
        except (OSError, ApiError):
            return located
        if adopted is None:
            return located
        return LocatedBackup(adopted, (*located.parts[:-1], located.parts[-1] + SUFFIX))


def _after(node: _Directory, at: tuple[str, ...], after: tuple[str, ...]) -> Iterator[DataFile]:
    for name in node.names[bisect_left(node.names, after[0]) if after else 0 :]:
        first = bool(after) and name == after[0]
        if name in node.below:
            yield from _after(node.below[name], (*at, name), after[1:] if first else ())
        elif not first:
            yield _named(node, at, name)


def _named(node: _Directory, at: tuple[str, ...], name: str) -> DataFile:
    stem = name.removesuffix(SUFFIX)
    beside = None if stem == name else node.manifests.get(manifests.manifest_name(stem))
    return DataFile((*at, name), node.manifests.get(manifests.manifest_name(name)), beside)


def read_manifest(dir_fd: int, name: str) -> Manifest | None:
    """The manifest in the file ``name``, or None when there is none that can be believed.

    Raises ``OSError`` when there is one that cannot be read now: that is not the same, and nothing may follow from it.
    """
    found = receive_manifest(dir_fd, name)
    return None if found is None else found[1]


def receive_manifest(dir_fd: int, name: str) -> ParsedManifest | None:
    """As :func:`read_manifest`, with the object as it was received, for its signatures."""
    try:
        fd = open_file(dir_fd, name)
    except (FileNotFoundError, ApiError):
        return None
    try:
        data = read_all(fd, manifests.MAX_MANIFEST_BYTES)
        if len(data) > manifests.MAX_MANIFEST_BYTES:
            return None
        received = manifests.receive(data)
        return received, manifests.model(received)
    except InvalidManifest:
        return None
    finally:
        close(fd)


def load_beside(root_fd: int, parts: tuple[str, ...]) -> Manifest | None:
    """The manifest beside the data file at ``parts``, or None. Raises ``OSError`` when it cannot be read."""
    if len(parts) > MAX_DEPTH:
        return None
    try:
        with open_parent(root_fd, parts) as parent:
            return read_manifest(parent, manifests.manifest_name(parts[-1]))
    except (FileNotFoundError, ApiError):
        return None
