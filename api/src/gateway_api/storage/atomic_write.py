"""Atomic, durable writes: after a crash or a power cut a file has its old content or its new content, never a mix.

Data goes to a temporary file in the directory of the target. That file is fsynced, then renamed to the target, then
the directory is fsynced. `layout.TEMPORARY_NAME` matches the temporary files, so that recovery can remove them. A file
whose fsync failed is thrown away: the kernel may report the error once and then lose the data silently.
"""

from __future__ import annotations

import errno
import math
import os
from contextlib import suppress

from gateway_api.storage.access import FileAccess, set_access
from gateway_api.storage.content import Blob, write_pieces
from gateway_api.storage.file_system import is_unsupported, sync_directory
from gateway_api.storage.layout import TEMPORARY_NAME, new_temporary_name


def close(fd: int) -> None:
    """Closes a descriptor and ignores errors: all data that must last was fsynced before."""
    with suppress(OSError):
        os.close(fd)


def read_all(fd: int, limit: int) -> bytes:
    """Reads from the start to the end. Returns at most ``limit`` + 1 bytes, so that the caller can detect an excess."""
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
    """Removes ``name`` and ignores errors: recovery removes the file later if this fails. Not durable."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except OSError:
        return


def write_temporary(
    dir_fd: int, data: bytes | Blob, access: FileAccess | None = None, *, name: str | None = None
) -> str:
    """Writes ``data`` to a new, fsynced temporary file in ``dir_fd`` and returns its name, by default a random one.

    Without ``access`` only the owner may read and write the file, under any umask. Raises ``OSError`` and leaves no
    file behind.
    """
    try:
        return _write_temporary_once(dir_fd, data, access, name or new_temporary_name())
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        # After a failed fsync only a new file can be trusted. A second fsync of the same file could report success
        # although the data is lost.
        return _write_temporary_once(dir_fd, data, access, name or new_temporary_name())


def _write_temporary_once(dir_fd: int, data: bytes | Blob, access: FileAccess | None, name: str) -> str:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
    try:
        try:
            if access is None:
                os.fchmod(fd, 0o600)
            else:
                set_access(fd, access)
            write_pieces(fd, data.pieces() if isinstance(data, Blob) else [data])
            # The data must be durable before the rename: otherwise a power cut can leave an empty file at the target.
            os.fsync(fd)
        finally:
            close(fd)
    except BaseException:
        unlink_if_exists(dir_fd, name)
        raise
    return name


def link_exclusive(dir_fd: int, temporary: str, name: str) -> None:
    """Renames a temporary file to ``name`` and never replaces a file: raises ``FileExistsError`` instead."""
    try:
        # link() fails atomically if the name exists; rename() would replace the file.
        os.link(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if not is_unsupported(error):
            raise
        # Without hard links this takes two steps. Only the lock keeps other servers from creating the name in between.
        if name in list_names(dir_fd):
            raise FileExistsError(errno.EEXIST, "exists") from None
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        return
    try:
        os.unlink(temporary, dir_fd=dir_fd)
    except OSError:
        # Every reader refuses a file with two names, so the new name must not stay either.
        unlink_if_exists(dir_fd, name)
        raise


def write_file(dir_fd: int, name: str, data: bytes, *, exclusive: bool = False) -> None:
    """Writes ``data`` to ``name`` atomically and durably. ``exclusive``: raises ``FileExistsError`` if it exists.

    Raises ``OSError``, with the old file unchanged, or ``DurabilityUnknown``.
    """
    temporary = write_temporary(dir_fd, data)
    try:
        if exclusive:
            link_exclusive(dir_fd, temporary, name)
        else:
            os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError:
        unlink_if_exists(dir_fd, temporary)
        raise
    # The rename is durable only after an fsync of the directory.
    sync_directory(dir_fd)


def remove_temporaries(dir_fd: int, *, older_than: float | None = None) -> None:
    """Removes the temporary files that a crashed server left in ``dir_fd``. The caller must hold the lock.

    ``older_than``, in seconds since the epoch, keeps newer files. It is needed in directories where files are also
    written without the lock.
    """
    for name in list_names(dir_fd):
        if TEMPORARY_NAME.match(name) and (older_than is None or _modification_time(dir_fd, name) < older_than):
            unlink_if_exists(dir_fd, name)


def _modification_time(dir_fd: int, name: str) -> float:
    """Seconds since the epoch; infinity, which counts as new, if the file cannot be read."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mtime
    except OSError:
        return math.inf
