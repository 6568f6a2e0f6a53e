"""Finds when each operation last succeeded, in the audit log on the volume, so that a restart of the server loses none.

The log is read once, from its end, and then only where it has grown. Its chain is not checked here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway_api.audit import chain
from gateway_api.audit.log import list_segments
from gateway_api.errors import ApiError
from gateway_api.storage.atomic_write import close
from gateway_api.storage.layout import AUDIT_LOG_FILE
from gateway_api.storage.paths import FILE_FLAGS
from gateway_api.storage.state_dir import StateDir

OPERATIONS: Final = ("backup", "upload", "delete", "verify", "restore", "commit", "rollback")
"""The operations of the log that have a metric. A reset is a restore."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""The most that is read of the log's end at once: the default size of one segment."""
_PIECE_BYTES: Final = 256 * 1024
_SUCCEEDED: Final = b'"result":"ok"'


class LastSuccesses:
    """The times of one backup directory. Not safe to use from several threads at once."""

    def __init__(self, backup_dir: Path, max_bytes: int = MAX_BYTES) -> None:
        self._backup_dir = backup_dir
        self._max_bytes = max_bytes
        self._times: dict[str, datetime] = {}
        self._file: tuple[int, int] | None = None
        self._size = 0

    def read(self) -> Mapping[str, datetime]:
        """The time of the last success by operation. Never raises: without the volume, the times read before."""
        try:
            with StateDir(self._backup_dir, create=False) as volume:
                self._read_new(volume)
        except (OSError, ApiError):
            pass  # health reports a volume that cannot be opened
        return self._times

    def _read_new(self, volume: StateDir) -> None:
        try:
            fd = os.open(AUDIT_LOG_FILE, FILE_FLAGS, dir_fd=volume.fd)
        except FileNotFoundError:
            return
        try:
            info = os.fstat(fd)
            file, size = (info.st_dev, info.st_ino), info.st_size
            if (file, size) == (self._file, self._size):
                return
            if file == self._file and size > self._size:
                # Some more than it has grown by: the last line may have been only half written.
                self._add(_lines_from_end(fd, size, min(size, size - self._size + _PIECE_BYTES)), set())
            else:
                # The first read, or a new segment. An older segment is read only while an operation has no time.
                self._read_all(volume, fd, size)
            self._file, self._size = file, size
        finally:
            close(fd)

    def _read_all(self, volume: StateDir, current: int, size: int) -> None:
        missing, left = set(OPERATIONS), self._max_bytes
        self._add(_lines_from_end(current, size, min(size, left)), missing)
        left -= size
        for name in reversed(list_segments(volume)):
            if not missing or left <= 0:
                return
            fd = os.open(name, FILE_FLAGS, dir_fd=volume.fd)
            try:
                size = os.fstat(fd).st_size
                self._add(_lines_from_end(fd, size, min(size, left)), missing)
            finally:
                close(fd)
            left -= size

    def _add(self, lines: Iterator[bytes], missing: set[str]) -> None:
        """Adds the newest success of each operation; lines come newest first. Ends when ``missing`` becomes empty."""
        ends = bool(missing)
        for line in lines:
            record = chain.parse_record(line) if _SUCCEEDED in line else None
            if record is None or record.get("event") != "outcome" or record.get("operation") not in OPERATIONS:
                continue
            operation, time = str(record["operation"]), _parse_time(record.get("time"))
            if time is not None and (operation not in self._times or time > self._times[operation]):
                self._times[operation] = time
            missing.discard(operation)
            if ends and not missing:
                return


def _lines_from_end(fd: int, end: int, most: int) -> Iterator[bytes]:
    """The lines in the last ``most`` bytes before ``end``, newest first. The first and last one may be cut."""
    rest, start = b"", end
    while start > end - most:
        piece = min(_PIECE_BYTES, start - (end - most))
        start -= piece
        lines = (os.pread(fd, piece, start) + rest).split(b"\n")
        rest = lines[0]
        yield from reversed(lines[1:])
    yield rest


def _parse_time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None
