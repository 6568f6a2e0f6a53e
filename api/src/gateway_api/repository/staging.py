"""The temporary data file of a backup: written, fsynced and read back from the disk before it gets its name."""

from __future__ import annotations

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.storage.atomic_write import close, unlink_if_exists, write_temporary
from gateway_api.storage.content import Blob, digest_and_size
from gateway_api.storage.file_system import drop_page_cache
from gateway_api.storage.paths import open_file


def write_and_read_back(parent: int, stored: Blob) -> str:
    """Writes ``stored`` to a temporary file and reads it back from the disk. Returns the name of the file.

    Raises ``VolumeUnavailable`` if the disk returns other bytes, ``OSError``.
    """
    # Fsynced before it is read back: only then the disk has the bytes.
    temporary = write_temporary(parent, stored)
    try:
        # Before the file gets its name: a defective disk then costs this backup, and not the one that it replaces.
        if not _reads_back(parent, temporary, stored):
            raise ApiError(ErrorCode.VolumeUnavailable, "the backup volume returned other bytes than were written")
    except BaseException:
        unlink_if_exists(parent, temporary)
        raise
    return temporary


def _reads_back(parent: int, temporary: str, stored: Blob) -> bool:
    fd = open_file(parent, temporary)
    try:
        # Otherwise the kernel would return the cached bytes and not read the disk.
        drop_page_cache(fd)
        return digest_and_size(fd, stored.size) == (stored.sha256, stored.size)
    finally:
        close(fd)
