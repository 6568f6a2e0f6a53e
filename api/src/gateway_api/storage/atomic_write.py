"""Writing a small or large file so that it is there whole or not at all, also after a power cut.

Temporary files lie in the directory of their target, are named so that recovery knows them, and are renamed only
after an fsync. A file whose fsync failed is never trusted again.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
from contextlib import suppress
from typing import Final

from gateway_api.contract import ErrorCode
from gateway_api.errors import FULL, ApiError
from gateway_api.storage.content import Blob, write_pieces
from gateway_api.storage.layout import TEMPORARY_NAME

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def close(fd: int) -> None:
    """Gives a descriptor back. What the system says then is no news: whatever had to be durable was fsynced before."""
    with suppress(OSError):
        os.close(fd)


def read_all(fd: int, limit: int) -> bytes:
    """Reads from the start to the end, at most ``limit`` + 1 bytes, so that the caller sees an excess."""
    chunks: list[bytes] = []
    offset = 0
    while offset <= limit:
        chunk = os.pread(fd, min(1 << 20, limit + 1 - offset), offset)
        if not chunk:
            break
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def list_names(dir_fd: int) -> list[str]:
    """The names in an open directory."""
    return os.listdir(dir_fd)


def unlink_if_exists(dir_fd: int, name: str) -> None:
    """Removes ``name``; that it is gone, or stays for recovery to find, is all the same here."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except OSError:
        return


def write_temporary(dir_fd: int, data: bytes | Blob, *, mode: int = 0o600, gid: int | None = None) -> str:
    """A new, fsynced temporary file in ``dir_fd`` holding ``data``; returns its name. Mode is exact under any umask.

    A failed fsync is answered by one fresh file, then by the ``OSError``; whatever was begun is removed.
    """
    try:
        return _write_temporary_once(dir_fd, data, mode, gid)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return _write_temporary_once(dir_fd, data, mode, gid)


def _write_temporary_once(dir_fd: int, data: bytes | Blob, mode: int, gid: int | None) -> str:
    name = f".gateway-{secrets.token_hex(8)}.tmp"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
    try:
        try:
            if gid is not None and os.fstat(fd).st_gid != gid:
                _set_group(fd, gid)
            os.fchmod(fd, mode)
            write_pieces(fd, data.pieces() if isinstance(data, Blob) else [data])
            os.fsync(fd)
        finally:
            close(fd)
    except BaseException:
        unlink_if_exists(dir_fd, name)
        raise
    return name


def _set_group(fd: int, gid: int) -> None:
    try:
        os.fchown(fd, -1, gid)
    except PermissionError:
        return


def sync_directory(dir_fd: int) -> None:
    """Makes renames and unlinks in ``dir_fd`` durable. Raises ``DurabilityUnknown``: they have been done already."""
    try:
        os.fsync(dir_fd)
    except OSError:
        raise ApiError(ErrorCode.DurabilityUnknown) from None


def link_exclusive(dir_fd: int, temporary: str, name: str) -> None:
    """Gives a temporary file its name unless something has it: then raises ``FileExistsError``."""
    try:
        os.link(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if name in list_names(dir_fd):
            raise FileExistsError(errno.EEXIST, "exists") from None
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        return
    try:
        os.unlink(temporary, dir_fd=dir_fd)
    except OSError:
        # A file with two names is refused by every reader: better none than that.
        unlink_if_exists(dir_fd, name)
        raise


def write_file(dir_fd: int, name: str, data: bytes, *, mode: int = 0o600, exclusive: bool = False) -> None:
    """``name`` holds ``data``, durably, or is what it was. ``exclusive`` raises ``FileExistsError`` if it exists."""
    temporary = write_temporary(dir_fd, data, mode=mode)
    try:
        if exclusive:
            link_exclusive(dir_fd, temporary, name)
        else:
            os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError:
        unlink_if_exists(dir_fd, temporary)
        raise
    sync_directory(dir_fd)


def is_full(error: OSError) -> bool:
    """Whether the volume or the quota is used up."""
    return error.errno in FULL


def remove_temporaries(dir_fd: int, *, older_than: float | None = None) -> None:
    """Removes what a dead server began in ``dir_fd``; only for a caller that holds the lock.

    ``older_than``, in seconds since the epoch, spares what is younger, where files are also made without the lock.
    """
    for name in list_names(dir_fd):
        if TEMPORARY_NAME.match(name) and (older_than is None or _modified(dir_fd, name) < older_than):
            unlink_if_exists(dir_fd, name)


def _modified(dir_fd: int, name: str) -> float:
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mtime
    except OSError:
        return math.inf
