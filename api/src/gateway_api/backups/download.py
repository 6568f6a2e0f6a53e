"""A backup's file, or its manifest, as a stream of bytes; a single range of it when asked."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import Final, Literal

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.manifest import manifest_name
from gateway_api.settings import AdminSettings
from gateway_api.storage.atomic_write import close
from gateway_api.storage.paths import existing_kind, open_file, open_parent

PIECE: Final = 256 * 1024
_RANGE: Final = re.compile(r"^bytes=([0-9]{1,15})-([0-9]{0,15})$", re.ASCII)


@dataclass(slots=True)
class Download:
    """An open file. ``stream`` closes it; one that is never streamed is closed when it is forgotten."""

    file: FileIO
    size: int
    sha256: str | None
    start: int
    end: int

    @property
    def partial(self) -> bool:
        """Whether this is a range of the file."""
        return (self.start, self.end) != (0, self.size)

    @property
    def headers(self) -> dict[str, str]:
        """Length, range and digest; none holds a caller's word."""
        headers = {"Content-Length": str(self.end - self.start), "Accept-Ranges": "bytes"}
        if self.sha256 is not None:
            headers["ETag"] = f'"{self.sha256}"'
        if self.partial:
            headers["Content-Range"] = f"bytes {self.start}-{self.end - 1}/{self.size}"
        return headers

    async def stream(self, run: Callable[[Callable[[], bytes]], Awaitable[bytes]]) -> AsyncIterator[bytes]:
        """The bytes, read in a thread that ``run`` provides."""
        try:
            at = self.start
            while at < self.end:
                piece = await run(partial(os.pread, self.file.fileno(), min(PIECE, self.end - at), at))
                if not piece:
                    raise OSError("the file became shorter while it was sent")
                at += len(piece)
                yield piece
        finally:
            self.file.close()


def parse_range(header: str | None, size: int) -> tuple[int, int]:
    """First byte and the one behind the last. A header that cannot be met or understood is as good as none."""
    found = _RANGE.match(header or "")
    if found is None:
        return 0, size
    start = int(found[1])
    end = min(size, int(found[2]) + 1) if found[2] else size
    return (start, end) if start < end else (0, size)


def open_download(
    settings: AdminSettings,
    inventory: RepositoryIndex,
    backup_id: str,
    part: Literal["file", "manifest"],
    header: str | None,
) -> Download:
    """Opens what is to be sent. Raises ``BackupNotFound``, ``BackupChanged``, ``VolumeUnavailable``."""
    try:
        root_fd = os.open(settings.backup_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise backup_volume_error(error) from None
    try:
        inventory.refresh(root_fd)
        located = inventory.locate(root_fd, backup_id)
        if located is None:
            raise ApiError(ErrorCode.BackupNotFound)
        name = located.parts[-1]
        with open_parent(root_fd, located.parts) as parent:
            if part == "manifest":
                own = manifest_name(name)
                fd = open_file(parent, own if existing_kind(parent, own) else manifest_name(name.removesuffix(".gz")))
            else:
                fd = open_file(parent, name)
        size = os.fstat(fd).st_size
        if part == "file" and size != located.manifest.stored_bytes:
            close(fd)
            raise ApiError(ErrorCode.BackupChanged, "the file is not the one that its manifest describes")
        start, end = parse_range(header, size)
        return Download(FileIO(fd), size, located.manifest.stored_sha256 if part == "file" else None, start, end)
    except FileNotFoundError:
        raise ApiError(ErrorCode.BackupNotFound) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    finally:
        close(root_fd)
