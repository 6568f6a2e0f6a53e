"""Recognizes backups that a user compressed with gzip: the data is in `X.gz`, the manifest still has the name for `X`.

`X.gz` counts as the backup of that manifest only if its unpacked content has the manifest's digest. In addition no
file `X` and no manifest of `X.gz` may exist. Digests are cached by the file's stat data, so that a listing reads each
file once.
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
from gateway_api.storage.paths import FileStamp, file_stamp, lstat_if_exists, open_file

REMEMBERED: Final = 200_000
"""Number of digests in the cache."""


@dataclass(frozen=True, slots=True)
class Digests:
    """Digests and size of one gzipped file.

    ``content_sha256`` is of the unpacked content. It is None if the file is not gzip or unpacks to more than expected.
    """

    stored_sha256: str
    stored_bytes: int
    content_sha256: str | None


class DigestCache:
    """A cache of the digests of gzipped files, by device, inode, size, mtime and ctime. Thread-safe."""

    def __init__(self) -> None:
        self._cache: OrderedDict[tuple[FileStamp, int], Digests] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, parent: int, name: str, expected: int) -> Digests | None:
        """The digests of the gzipped file ``name``, whose content should have ``expected`` bytes.

        None when the file cannot be read, changes during the read, or is too large for that content.
        """
        try:
            # Only its digest is computed, so a second hard link does no harm.
            fd = open_file(parent, name, links_allowed=True)
        except (OSError, ApiError):
            return None
        try:
            stamp = file_stamp(os.fstat(fd))
            with self._lock:
                digests = self._cache.get((stamp, expected))
            if digests is not None:
                return digests
            # gzip adds less than this to content that it cannot compress.
            limit = expected + expected // 100 + 64 * 1024
            if stamp[2] > limit:
                return None
            stored = read_blob(fd, limit)
            if file_stamp(os.fstat(fd)) != stamp or stored.size != stamp[2]:
                return None
        except OSError:
            return None
        finally:
            close(fd)
        digests = Digests(stored.sha256, stored.size, _digest_content(stored, expected))
        with self._lock:
            self._cache[stamp, expected] = digests
            while len(self._cache) > REMEMBERED:
                self._cache.popitem(last=False)
        return digests


def _digest_content(stored: Blob, expected: int) -> str | None:
    try:
        return compression.decompress(stored, "gzip", expected).sha256
    except (compression.DecodeError, ApiError, OSError):
        return None


def manifest_for_gzipped(parent: int, manifest: Manifest, name: str, digests: DigestCache) -> Manifest | None:
    """The manifest of ``name``, changed to describe ``name.gz``. None unless that file is the manifest's backup."""
    if manifest.compression != "none":
        return None
    # If the original data file exists, the manifest describes that one; `name.gz` may have a manifest of its own.
    if any(lstat_if_exists(parent, other) is not None for other in (name, manifest_name(name + GZIP_SUFFIX))):
        return None
    gzipped = digests.of(parent, name + GZIP_SUFFIX, manifest.content_bytes)
    if gzipped is None or gzipped.content_sha256 != manifest.content_sha256:
        return None
    return manifest.model_copy(
        update={"stored_sha256": gzipped.stored_sha256, "stored_bytes": gzipped.stored_bytes, "compression": "gzip"}
    )
