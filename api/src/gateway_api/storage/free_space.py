"""Free space on the backup volume, and the reserve that keeps a full volume usable.

The reserve is a file of 1 MiB. Small records that must not fail on a full volume may use its space: the tombstone of a
deletion, an audit line, an id and the result of a verification. It is written again when there is room.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, is_volume_full
from gateway_api.storage import atomic_write
from gateway_api.storage.layout import RESERVE_FILE
from gateway_api.storage.paths import lstat_if_exists
from gateway_api.storage.state_dir import StateDir

T = TypeVar("T")
RESERVE_BYTES: Final = 1024 * 1024
OVERHEAD_BYTES: Final = 64 * 1024
"""Room for a manifest, an audit line and the file system's own blocks beside each backup."""
NEEDED_INODES: Final = 6
"""Inodes that one backup needs at most at the same time: data, manifest, tombstone, audit segment and two folders."""


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Free and total space of a volume for an unprivileged process.

    The inodes are None on a file system that creates them as needed, such as btrfs.
    """

    free_bytes: int
    total_bytes: int
    free_inodes: int | None
    total_inodes: int | None


def read_free_space(fd: int) -> FreeSpace:
    """The space of the volume of ``fd``. Raises ``OSError``."""
    info = os.fstatvfs(fd)
    limited = info.f_files > 0
    return FreeSpace(
        free_bytes=info.f_bavail * info.f_frsize,
        total_bytes=info.f_blocks * info.f_frsize,
        free_inodes=info.f_favail if limited else None,
        total_inodes=info.f_files if limited else None,
    )


def lacks_inodes(space: FreeSpace) -> bool:
    """Whether the volume has too few free inodes for the files of one backup."""
    return space.free_inodes is not None and space.free_inodes < NEEDED_INODES


def ensure_reserve(state: StateDir) -> None:
    """Writes the reserve file if it is missing and there is room. Ignores errors: the next operation tries again."""
    try:
        info = lstat_if_exists(state.fd, RESERVE_FILE)
        if info is not None and info.st_size == RESERVE_BYTES:
            return
        if read_free_space(state.base_fd).free_bytes > 2 * RESERVE_BYTES:
            # Random bytes, because a compressing file system would not set aside any blocks for zeros.
            atomic_write.write_file(state.fd, RESERVE_FILE, os.urandom(RESERVE_BYTES))
    except (OSError, ApiError):
        return


def write_using_reserve(state: StateDir, write: Callable[[], T]) -> T:
    """Calls ``write``. On a full volume it removes the reserve and calls ``write`` once more. Raises ``OSError``.

    A crash after the removal leaves no reserve; the next recovery creates it again.
    """
    try:
        return write()
    except OSError as error:
        if not is_volume_full(error):
            raise
    atomic_write.unlink_if_exists(state.fd, RESERVE_FILE)
    return write()


def missing_reserve_bytes(state_fd: int) -> int:
    """Bytes that must stay free for the reserve: its size while the file is missing, else 0."""
    try:
        return 0 if lstat_if_exists(state_fd, RESERVE_FILE) is not None else RESERVE_BYTES
    except OSError:
        return 0


def require_space(state: StateDir, size: int) -> None:
    """Raises ``VolumeFull`` if a backup of ``size`` bytes does not fit, or ``OSError``."""
    space = read_free_space(state.base_fd)
    if size + OVERHEAD_BYTES + missing_reserve_bytes(state.fd) > space.free_bytes:
        raise ApiError(ErrorCode.VolumeFull, "the backup volume has no room for this backup; nothing was changed")
    if lacks_inodes(space):
        raise ApiError(ErrorCode.VolumeFull, "the backup volume has too few free inodes; nothing was changed")
