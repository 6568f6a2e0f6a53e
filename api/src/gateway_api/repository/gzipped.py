"""Backups that a person gzipped by hand: the same content under `X.gz`, the manifest still beside the name `X`.

Such a file is believed to be X's backup only if its content has X's digest and nothing else claims to be X. The
digests are remembered by what changes when a file changes, so that listing does not read a file twice.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from gateway_api.codec import compression
from gateway_api.errors import ApiError
from gateway_api.repository.manifest import Manifest, manifest_name
from gateway_api.storage.atomic_write import close
from gateway_api.storage.content import Blob, read_blob
from gateway_api.storage.layout import GZIP_SUFFIX
from gateway_api.storage.paths import FileStamp, existing_kind, file_stamp, open_file

SUFFIX: Final = GZIP_SUFFIX
REMEMBERED: Final = 200_000


@dataclass(frozen=True, slots=True)
class Digests:
    """Of a file's bytes, and of what they unpack to: None when that is not gzip, or more than was expected."""

    stored_sha256: str
    stored_bytes: int
    content_sha256: str | None


class DigestCache:
    """Digests of gzipped files by device, inode, size, mtime and ctime. Derived: it may be lost at any time."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[FileStamp, int], Digests] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, parent: int, name: str, expected: int) -> Digests | None:
        """The digests of the gzipped file ``name`` that should hold ``expected`` bytes; None when it cannot be read."""
        try:
            fd = open_file(parent, name)
        except (OSError, ApiError):
            return None
        try:
            signature = file_stamp(os.fstat(fd))
            with self._lock:
                found = self._known.get((signature, expected))
            if found is not None:
                return found
            limit = expected + expected // 100 + 64 * 1024
            if signature[2] > limit:
                return None
            stored = read_blob(fd, limit)
            if file_stamp(os.fstat(fd)) != signature or stored.size != signature[2]:
                return None
        except OSError:
            return None
        finally:
            close(fd)
        found = Digests(stored.sha256, stored.size, _content_digest(stored, expected))
        with self._lock:
            self._known[signature, expected] = found
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return found


def _content_digest(stored: Blob, expected: int) -> str | None:
    try:
        return compression.decompress(stored, "gzip", expected).sha256
    except (compression.DecodeError, ApiError, OSError):
        return None


def manifest_for_gzipped(parent: int, manifest: Manifest, name: str, digests: DigestCache) -> Manifest | None:
    """``manifest``, which stands beside ``name``, as that of ``name.gz``; None unless that file is its backup now."""
    if manifest.compression != "none":
        return None
    if any(existing_kind(parent, claim) is not None for claim in (name, manifest_name(name + SUFFIX))):
        return None
    found = digests.of(parent, name + SUFFIX, manifest.content_bytes)
    if found is None or found.content_sha256 != manifest.content_sha256:
        return None
    return manifest.model_copy(
        update={"stored_sha256": found.stored_sha256, "stored_bytes": found.stored_bytes, "compression": "gzip"}
    )
