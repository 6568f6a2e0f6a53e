"""How much of the backup volume is free, and what no backup may take of it."""

from __future__ import annotations

import os
from typing import Final

from .contract import ErrorCode
from .errors import ApiError
from .safe_path import existing_kind
from .state_folder import StateFolder

RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 1024 * 1024
OVERHEAD_BYTES: Final = 64 * 1024


def free_bytes(fd: int) -> tuple[int, int]:
    """Free and total bytes of the volume of ``fd``, as an unprivileged process may use them."""
    info = os.fstatvfs(fd)
    return info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize


def owed_to_reserve(state_fd: int) -> int:
    """Bytes that no backup may take: those of the reserve, if a line of the audit log or a delete has used it up."""
    try:
        return 0 if existing_kind(state_fd, RESERVE) is not None else RESERVE_BYTES
    except OSError:
        return 0


def refuse_without_room(state: StateFolder, size: int) -> None:
    """Raises ``VolumeFull`` when a backup of ``size`` bytes would not fit, ``OSError``."""
    free, _ = free_bytes(state.base_fd)
    if size + OVERHEAD_BYTES + owed_to_reserve(state.fd) > free:
        raise ApiError(ErrorCode.VolumeFull, "the backup volume has no room for this backup; nothing was changed")
