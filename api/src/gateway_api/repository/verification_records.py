"""Stores the result of the last verification of each backup, in `NAME.verification` beside the data file.

A manifest is signed and never changes, so later results need a file of their own. Listings, a single backup and an
inspection show the last result. The file is not signed. A restore never reads it and does all checks itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from pydantic import ValidationError

from gateway_api.contract import BackupRecord, Verification
from gateway_api.errors import ApiError
from gateway_api.storage.atomic_write import close, read_all, write_file
from gateway_api.storage.free_space import write_using_reserve
from gateway_api.storage.layout import VERIFICATION_SUFFIX
from gateway_api.storage.paths import FileStamp, file_stamp, lstat_if_exists, open_file
from gateway_api.storage.state_dir import StateDir

MAX_RECORD_BYTES: Final = 64 * 1024
REMEMBERED: Final = 100_000
"""Number of verification records in the cache."""


def verification_record_name(name: str) -> str:
    """The file name of the verification record for the data file ``name``."""
    return name + VERIFICATION_SUFFIX


class VerificationRecords:
    """Reads and writes verification records. Thread-safe.

    They are cached by the stat data of their files. A verification record that could not be written stays in memory
    until the server ends.
    """

    def __init__(self) -> None:
        self._cache: OrderedDict[FileStamp, bytes] = OrderedDict()
        self._unwritten: dict[str, Verification] = {}
        self._lock = threading.Lock()

    def write(self, volume: StateDir, parent: int, name: str, verification: Verification) -> bool:
        """Writes the verification record of the data file ``name`` durably. Returns whether that succeeded.

        A full ``volume`` gives up its reserve. If the write fails even then, the result is kept in memory.
        """
        content = verification.model_dump_json(indent=1).encode() + b"\n"
        written = _write(volume, parent, verification_record_name(name), content)
        with self._lock:
            if written:
                self._unwritten.pop(verification.backup_id, None)
            else:
                self._unwritten[verification.backup_id] = verification
        return written

    def unwritten_state(self) -> bytes:
        """The results in memory, as bytes that differ after each change."""
        with self._lock:
            return repr(sorted((key, str(value.checked)) for key, value in self._unwritten.items())).encode()

    def get(self, parent: int, name: str, backup_id: str) -> Verification | None:
        """The verification record of the data file ``name``. None if it does not exist, is invalid or unreadable."""
        with self._lock:
            if (unwritten := self._unwritten.get(backup_id)) is not None:
                return unwritten
        try:
            info = lstat_if_exists(parent, verification_record_name(name))
            if info is None:
                return None
            stamp = file_stamp(info)
            with self._lock:
                content = self._cache.get(stamp)
            if content is None:
                content = _read(parent, verification_record_name(name))
            verification = Verification.model_validate_json(content)
        except (OSError, ApiError, ValidationError):
            return None
        with self._lock:
            self._cache[stamp] = content
            self._cache.move_to_end(stamp)
            while len(self._cache) > REMEMBERED:
                self._cache.popitem(last=False)
        return verification


def _write(volume: StateDir, parent: int, name: str, content: bytes) -> bool:
    try:
        write_using_reserve(volume, lambda: write_file(parent, name, content))
    except (OSError, ApiError):
        return False
    return True


def _read(parent: int, name: str) -> bytes:
    fd = open_file(parent, name)
    try:
        return read_all(fd, MAX_RECORD_BYTES)
    finally:
        close(fd)


def with_verification(backup: BackupRecord, verification: Verification | None) -> BackupRecord:
    """``backup``, which comes from the manifest, updated with the result of its last verification.

    A result with a level applies only to the same stored bytes. A result with problems and no level applies to the
    backup id until a later verification succeeds, also after the file has changed.
    """
    if verification is None or verification.backup_id != backup.backup_id:
        return backup
    same_bytes = verification.stored_sha256 == backup.stored_sha256
    if not same_bytes and (verification.level is not None or not verification.problems):
        return backup
    return backup.model_copy(
        update={"verification": verification, "level": verification.level, "proof": verification.proof}
    )
