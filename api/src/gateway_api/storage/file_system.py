"""The operations that some file systems lack: hard links, fsync of a directory, and advice about the page cache.

One list of errnos recognises a file system that lacks an operation. The readiness check and all operations use the
functions here, so that both succeed or fail in the same way. Any other errno is a failure of the volume.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Final

from gateway_api import logs
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, errno_name

UNSUPPORTED_ERRNOS: Final = frozenset(
    {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL, errno.EMLINK, errno.EXDEV}
)
"""The errnos of a file system that does not have an operation, or not for these files.

FUSE reports ``ENOSYS``, CIFS ``EOPNOTSUPP``, and vfat ``EPERM``. CIFS and vboxsf report ``EINVAL`` for the fsync of a
directory. ``EMLINK``: the file has too many links. ``EXDEV``: a bind mount lies between the two names.
"""

_logged: Final[set[str]] = set()


def is_unsupported(error: OSError) -> bool:
    """Whether the file system does not have the operation that failed."""
    return error.errno in UNSUPPORTED_ERRNOS


def log_once(operation: str, error: OSError) -> None:
    """Logs that the file system lacks ``operation``, once for this process: the fallback is less durable."""
    if operation not in _logged:
        _logged.add(operation)
        logs.event("file_system_lacks_operation", logging.WARNING, operation=operation, errno=errno_name(error))


def sync_directory(dir_fd: int) -> None:
    """Makes renames and unlinks in ``dir_fd`` durable, where the file system can do that.

    Raises ``DurabilityUnknown``: the changes are visible, but a power cut may undo them.
    """
    try:
        os.fsync(dir_fd)
    except OSError as error:
        if not is_unsupported(error):
            raise ApiError(ErrorCode.DurabilityUnknown) from None
        # Such a file system writes its directories without being asked. A retry or an error would not change that.
        log_once("fsync of a directory", error)


def drop_page_cache(fd: int) -> None:
    """Drops an open file from the page cache, so that the next read comes from the disk. Raises ``OSError``."""
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        if not is_unsupported(error):
            raise
        # The bytes are still read back and compared, but possibly from memory.
        log_once("fadvise", error)
