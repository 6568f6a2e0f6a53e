"""Streams the file of a backup, or its manifest, with support for a single byte range.

Takes no lock. The open descriptor keeps the file readable even if the backup is deleted during the download.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import Final, Literal

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.repository.index import RepositoryIndex, open_backup
from gateway_api.repository.manifest import Manifest, manifest_name
from gateway_api.settings import AdminSettings
from gateway_api.storage.atomic_write import close
from gateway_api.storage.content import digest_and_size
from gateway_api.storage.layout import GZIP_SUFFIX
from gateway_api.storage.paths import lstat_if_exists, open_backup_file, open_file, open_parent

CHUNK_BYTES: Final = 256 * 1024
_RANGE: Final = re.compile(r"^bytes=([0-9]{1,15})-([0-9]{0,15})$", re.ASCII)


@dataclass(slots=True)
class Download:
    """An open file and the range to send: ``start`` inclusive, ``end`` exclusive, in bytes.

    ``stream`` closes the file; without a call of it the garbage collector does. ``sha256`` is None for a manifest.
    """

    file: FileIO
    size: int
    sha256: str | None
    start: int
    end: int

    @property
    def partial(self) -> bool:
        return (self.start, self.end) != (0, self.size)

    @property
    def headers(self) -> dict[str, str]:
        """Length, range and digest. No value comes from the request."""
        headers = {"Content-Length": str(self.end - self.start), "Accept-Ranges": "bytes"}
        if self.sha256 is not None:
            headers["ETag"] = etag(self.sha256)
        if self.partial:
            headers["Content-Range"] = f"bytes {self.start}-{self.end - 1}/{self.size}"
        return headers

    async def stream(self, run: Callable[[Callable[[], bytes]], Awaitable[bytes]]) -> AsyncIterator[bytes]:
        """Yields the bytes, read in a thread that ``run`` provides. Raises ``OSError`` if the file was truncated."""
        try:
            at = self.start
            while at < self.end:
                chunk = await run(partial(os.pread, self.file.fileno(), min(CHUNK_BYTES, self.end - at), at))
                if not chunk:
                    raise OSError("the file became shorter while it was sent")
                at += len(chunk)
                yield chunk
        finally:
            self.file.close()


def etag(sha256: str) -> str:
    """The strong ETag of a file with this digest."""
    return f'"{sha256}"'


def is_same_file(if_range: str | None, sha256: str | None) -> bool:
    """Whether a range may be sent: there is no ``If-Range``, or it has the ETag of this file.

    A file that was gzipped since the first part has another digest, so the whole file is sent. A date never matches.
    """
    return if_range is None or (sha256 is not None and if_range.strip() == etag(sha256))


def parse_range(header: str | None, size: int) -> tuple[int, int]:
    """Start and exclusive end in bytes. An unsatisfiable or malformed header is ignored: the whole file is sent."""
    match = _RANGE.match(header or "")
    if match is None:
        return 0, size
    start = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    return (start, end) if start < end else (0, size)


def _is_described(fd: int, manifest: Manifest) -> bool:
    """Whether the open file has the size in its manifest and, if it has several hard links, also the digest.

    Another link may be a file outside of the backup directory. Only the digest proves that it is the backup.
    """
    info = os.fstat(fd)
    if info.st_size != manifest.stored_bytes:
        return False
    return info.st_nlink == 1 or digest_and_size(fd, info.st_size)[0] == manifest.stored_sha256


def open_download(
    settings: AdminSettings,
    index: RepositoryIndex,
    backup_id: str,
    part: Literal["file", "manifest"],
    range_header: str | None,
    if_range: str | None = None,
) -> Download:
    """Opens the requested part of a backup. Raises ``BackupNotFound``, ``BackupChanged``, ``VolumeUnavailable``."""
    with open_backup(settings.backup_dir, index, backup_id) as (root_fd, located):
        name = located.parts[-1]
        with open_parent(root_fd, located.parts) as parent:
            if part == "manifest":
                # The manifest of a backup that was gzipped by hand is named for the original file.
                own = manifest_name(name)
                own = own if lstat_if_exists(parent, own) else manifest_name(name.removesuffix(GZIP_SUFFIX))
                fd = open_file(parent, own, links_allowed=True)
            else:
                fd = open_backup_file(parent, name, links_allowed=True)
        size = os.fstat(fd).st_size
        if part == "file" and not _is_described(fd, located.manifest):
            close(fd)
            raise ApiError(ErrorCode.BackupChanged, "the file differs from its manifest")
        sha256 = located.manifest.stored_sha256 if part == "file" else None
        start, end = parse_range(range_header if is_same_file(if_range, sha256) else None, size)
        return Download(FileIO(fd), size, sha256, start, end)
