"""Free space on the backup volume, and the reserve that keeps a full volume usable.

The reserve is a file of 1 MiB. A deletion and the audit log may remove it to write their records on a full volume, so
that space can always be freed. It is written again when there is room.
"""

from __future__ import annotations

import os
from typing import Final

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.storage import atomic_write
from gateway_api.storage.layout import RESERVE_FILE
from gateway_api.storage.paths import lstat_if_exists
from gateway_api.storage.state_dir import StateDir

RESERVE_BYTES: Final = 1024 * 1024
OVERHEAD_BYTES: Final = 64 * 1024
"""Room for a manifest, an audit line and the file system's own blocks beside each backup."""


def ensure_reserve(state: StateDir) -> None:
    """Writes the reserve file if it is missing and there is room. Ignores errors: the next operation tries again."""
    try:
        info = lstat_if_exists(state.fd, RESERVE_FILE)
        if info is not None and info.st_size == RESERVE_BYTES:
            return
        if free_and_total_bytes(state.base_fd)[0] > 2 * RESERVE_BYTES:
            # Random bytes, because a compressing file system would not set aside any blocks for zeros.
            atomic_write.write_file(state.fd, RESERVE_FILE, os.urandom(RESERVE_BYTES))
    except (OSError, ApiError):
        return


def free_and_total_bytes(fd: int) -> tuple[int, int]:
    """Free and total bytes of the volume of ``fd``, as an unprivileged process may use them."""
    info = os.fstatvfs(fd)
    return info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize


def missing_reserve_bytes(state_fd: int) -> int:
    """Bytes that must stay free for the reserve: its size while the file is missing, else 0."""
    try:
        return 0 if lstat_if_exists(state_fd, RESERVE_FILE) is not None else RESERVE_BYTES
    except OSError:
        return 0


def require_space(state: StateDir, size: int) -> None:
    """Raises ``VolumeFull`` if a backup of ``size`` bytes does not fit, or ``OSError``."""
    free, _ = free_and_total_bytes(state.base_fd)
    if size + OVERHEAD_BYTES + missing_reserve_bytes(state.fd) > free:
        raise ApiError(ErrorCode.VolumeFull, "the backup volume has no room for this backup; nothing was changed")
