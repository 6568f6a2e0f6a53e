"""Which backups the volume holds: an index of manifests in memory, brought up to date by walking.

A directory that has not changed is not listed again, and a manifest that has not changed is not read again. What is
about to be used is always read afresh: the index only says where to look.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from . import manifest as manifests
from .config_file import Signature, signature_of
from .durable import TEMPORARY, read_all, unlink_quietly
from .errors import ApiError
from .manifest import BadManifest, Located, Manifest
from .safe_path import DIRECTORY_FLAGS, MANIFEST_SUFFIX, MAX_DEPTH, existing_kind, open_file, open_parent

YOUNG_SECONDS: Final = 2.0


@dataclass(slots=True)
class _Directory:
    signature: Signature | None = None
    seen: float = 0.0
    manifests: dict[str, tuple[Signature, str]] = field(default_factory=dict)
    below: dict[str, _Directory] = field(default_factory=dict)


class Inventory:
    """The index of one backup directory. Safe to use from several threads."""

    def __init__(self) -> None:
        self._root = _Directory()
        self._by_id: dict[str, list[tuple[str, ...]]] = {}
        self._lock = threading.Lock()

    def refresh(self, root_fd: int, *, clean: bool = False) -> None:
        """Walks what changed. ``clean`` also removes temporaries that a dead server left: for the lock's holder alone.

        Raises ``OSError`` when the backup directory itself cannot be listed.
        """
        with self._lock:
            found: dict[str, list[tuple[str, ...]]] = {}
            self._visit(os.dup(root_fd), self._root, (), found, clean)
            self._by_id = found

    def _visit(
        self, fd: int, node: _Directory, at: tuple[str, ...], found: dict[str, list[tuple[str, ...]]], clean: bool
    ) -> None:
        try:
            signature = signature_of(os.fstat(fd))
            settled = node.seen - signature[3] / 1e9 >= YOUNG_SECONDS
            if signature != node.signature or not settled:
                node.seen = time.time()
                self._list(fd, node, clean)
                node.signature = signature
            for name, (_, backup_id) in node.manifests.items():
                found.setdefault(backup_id, []).append((*at, name.removesuffix(MANIFEST_SUFFIX)))
            for name, below in node.below.items():
                try:
                    child = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
                except OSError:
                    continue
                self._visit(child, below, (*at, name), found, clean)
        finally:
            os.close(fd)

    def _list(self, fd: int, node: _Directory, clean: bool) -> None:
        manifests_now: dict[str, tuple[Signature, str]] = {}
        below: dict[str, _Directory] = {}
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    if clean and TEMPORARY.match(name):
                        unlink_quietly(fd, name)
                elif entry.is_dir(follow_symlinks=False):
                    below[name] = node.below.get(name) or _Directory()
                elif name.endswith(MANIFEST_SUFFIX):
                    known = self._identify(fd, name, node.manifests.get(name))
                    if known is not None:
                        manifests_now[name] = known
        node.manifests, node.below = manifests_now, below

    @staticmethod
    def _identify(fd: int, name: str, known: tuple[Signature, str] | None) -> tuple[Signature, str] | None:
        info = existing_kind(fd, name)
        if info is None:
            return None
        if known is not None and known[0] == signature_of(info):
            return known
        found = read_manifest(fd, name)
        return None if found is None else (signature_of(info), found.id)

    def places(self, backup_id: str) -> list[tuple[str, ...]]:
        """Where manifests with this id were seen, as components of their data files' paths."""
        with self._lock:
            return sorted(self._by_id.get(backup_id, []))

    def resolve(self, root_fd: int, backup_id: str) -> Located | None:
        """The manifest of ``backup_id``, read now, or None. Of several copies, the one that lies where it was made."""
        candidates: list[Located] = []
        for parts in self.places(backup_id):
            found = load_beside(root_fd, parts)
            if found is not None and found.id == backup_id:
                candidates.append(Located(found, parts))
        at_home = [one for one in candidates if one.path == one.manifest.path]
        return next(iter(at_home or candidates), None)


def read_manifest(dir_fd: int, name: str) -> Manifest | None:
    """The manifest in the file ``name``, or None when there is none that can be believed."""
    try:
        fd = open_file(dir_fd, name)
    except (OSError, ApiError):
        return None
    try:
        data = read_all(fd, manifests.MAX_MANIFEST_BYTES)
        return manifests.load(data) if len(data) <= manifests.MAX_MANIFEST_BYTES else None
    except (OSError, BadManifest):
        return None
    finally:
        os.close(fd)


def load_beside(root_fd: int, parts: tuple[str, ...]) -> Manifest | None:
    """The manifest beside the data file at ``parts``, or None."""
    if len(parts) > MAX_DEPTH:
        return None
    try:
        with open_parent(root_fd, parts) as parent:
            return read_manifest(parent, manifests.manifest_name(parts[-1]))
    except (OSError, ApiError):
        return None
