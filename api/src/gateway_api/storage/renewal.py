"""Renews the modification times of state files, so that a cleanup by age does not remove them.

Users run `find DIR -type f -mtime +30 -delete` over a volume. Ids, locks, the audit log, tombstones and records of
requests never change and cannot be rebuilt in full. Without renewal they would be removed after 30 days.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import Final

from gateway_api.storage.atomic_write import list_names
from gateway_api.storage.layout import PENDING_FOLDER, REQUESTS_FOLDER, TOMBSTONES_FOLDER
from gateway_api.storage.paths import lstat_if_exists
from gateway_api.storage.state_dir import StateDir

RENEW_AFTER_SECONDS: Final = 24 * 3600.0
_FOLDERS: Final = (PENDING_FOLDER, REQUESTS_FOLDER, TOMBSTONES_FOLDER)


def renew_modification_times(state: StateDir) -> None:
    """Sets the times of the state files that are older than a day to the current time. Raises ``OSError``.

    Takes no lock. A file of another user is left as it is.
    """
    now = time.time()
    _renew_files(state.fd, now)
    for name in _FOLDERS:
        if lstat_if_exists(state.fd, name) is not None:
            with state.open_folder(name) as folder:
                _renew_files(folder, now)


def _renew_files(dir_fd: int, now: float) -> None:
    for name in list_names(dir_fd):
        # The file may have been removed since the listing, or belong to another user.
        with suppress(OSError):
            info = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) and info.st_mtime < now - RENEW_AFTER_SECONDS:
                os.utime(name, (now, now), dir_fd=dir_fd, follow_symlinks=False)
