"""Removes records of requests after 400 days: tombstones, finished restores, and manifests in `missing/`.

No caller repeats a request for that long. The age comes from the content of a tombstone or a restore record, because
the mtime of files that must last is renewed. That of a manifest in `missing/` is its mtime, which is the time of its
move: nobody renews it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from gateway_api.clock import LATEST, from_timestamp
from gateway_api.storage.atomic_write import list_names
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.layout import MISSING_FOLDER, REQUESTS_FOLDER, TOMBSTONES_FOLDER
from gateway_api.storage.paths import lstat_if_exists
from gateway_api.storage.state_dir import StateDir, read_record

KEPT: Final = timedelta(days=400)


def remove_expired(volume: StateDir, now: datetime) -> None:
    """Removes all records that are older than 400 days. The caller holds the lock. Raises ``OSError``, ``ApiError``."""
    for folder, read_time in (
        (TOMBSTONES_FOLDER, _time_in_tombstone),
        (REQUESTS_FOLDER, _time_in_restore_record),
        (MISSING_FOLDER, _modification_time),
    ):
        if lstat_if_exists(volume.fd, folder) is not None:
            with volume.open_folder(folder) as directory:
                _remove_expired(directory, read_time, now)


def _remove_expired(directory: int, read_time: Callable[[int, str], datetime | None], now: datetime) -> None:
    removed = False
    for name in sorted(list_names(directory)):
        time = read_time(directory, name)
        if time is not None and now - time > KEPT:
            # A crash right after this at worst undoes the removal, and the next check repeats it.
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
            removed = True
    if removed:
        sync_directory(directory)


def _time_in_tombstone(directory: int, name: str) -> datetime | None:
    # An unfinished deletion has another suffix: recovery needs it.
    return _parse_time(_read(directory, name).get("deleted")) if name.endswith(".json") else None


def _time_in_restore_record(directory: int, name: str) -> datetime | None:
    result = _read(directory, name).get("result")
    if not isinstance(result, dict):
        return None
    return _parse_time(result.get("finished")) or _parse_time(result.get("started"))


def _modification_time(directory: int, name: str) -> datetime | None:
    info = lstat_if_exists(directory, name)
    return None if info is None else from_timestamp(info.st_mtime, LATEST)


def _read(directory: int, name: str) -> dict[str, Any]:
    """The JSON object in the file; empty if it is damaged: such a record is kept."""
    try:
        value = json.loads(read_record(directory, name) or b"")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _parse_time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
