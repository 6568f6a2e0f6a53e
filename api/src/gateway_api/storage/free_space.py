"""How much of the backup volume is free, and what no backup may take of it."""

from __future__ import annotations

import os
from typing import Final

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.storage import atomic_write
from gateway_api.storage.layout import RESERVE_FILE
from gateway_api.storage.paths import existing_kind
from gateway_api.storage.state_dir import StateDir


def ensure_reserve(state: StateDir) -> None:
    """Sets aside the megabyte that a delete gives up on a full disk. That there is no room for it is no error."""
    try:
        info = existing_kind(state.fd, RESERVE_FILE)
        if info is not None and info.st_size == RESERVE_BYTES:
            return
        if free_bytes(state.base_fd)[0] > 2 * RESERVE_BYTES:
            atomic_write.write_file(state.fd, RESERVE_FILE, os.urandom(RESERVE_BYTES))
    except (OSError, ApiError):
        return


RESERVE_BYTES: Final = 1024 * 1024
OVERHEAD_BYTES: Final = 64 * 1024


def free_bytes(fd: int) -> tuple[int, int]:
    """Free and total bytes of the volume of ``fd``, as an unprivileged process may use them."""
    info = os.fstatvfs(fd)
    return info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize


def missing_reserve_bytes(state_fd: int) -> int:
    """Bytes that no backup may take: those of the reserve, if a line of the audit log or a delete has used it up."""
    try:
        return 0 if existing_kind(state_fd, RESERVE_FILE) is not None else RESERVE_BYTES
    except OSError:
        return 0


def require_space(state: StateDir, size: int) -> None:
    """Raises ``VolumeFull`` when a backup of ``size`` bytes would not fit, ``OSError``."""
    free, _ = free_bytes(state.base_fd)
    if size + OVERHEAD_BYTES + missing_reserve_bytes(state.fd) > free:
        raise ApiError(ErrorCode.VolumeFull, "the backup volume has no room for this backup; nothing was changed")
