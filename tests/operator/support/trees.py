"""A digest of everything in some folders, to prove that nothing in them changed."""

from __future__ import annotations

import hashlib
from pathlib import Path


def tree_digest(*folders: Path) -> dict[str, tuple[str, int, int]]:
    """For each entry below the folders: the digest of its content, its mode and the time of its last change in ns.

    Times of reading are not part of it.
    """
    entries: dict[str, tuple[str, int, int]] = {}
    for folder in folders:
        for entry in (folder, *folder.rglob("*")):
            stat = entry.lstat()
            content = entry.read_bytes() if entry.is_file() and not entry.is_symlink() else b""
            entries[str(entry)] = (hashlib.sha256(content).hexdigest(), stat.st_mode, stat.st_mtime_ns)
    return entries
