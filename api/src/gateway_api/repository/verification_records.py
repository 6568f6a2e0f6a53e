"""Stores the result of the last verification of each backup, in `NAME.verification` beside the data file.

A manifest is signed and never changes, so later results need a file of their own. Listings, a single backup and an
inspection show the last result. The file is not signed. A restore never reads it and does all checks itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from gateway_api.contract import BackupRecord, Verification
from gateway_api.errors import ApiError
from gateway_api.storage import atomic_write
from gateway_api.storage.atomic_write import close, read_all
from gateway_api.storage.layout import VERIFICATION_SUFFIX
from gateway_api.storage.paths import FileStamp, file_stamp, lstat_if_exists, open_file

MAX_RECORD_BYTES: Final = 64 * 1024
REMEMBERED: Final = 100_000
"""Number of verification records in the cache."""


def record_name(name: str) -> str:
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

    def write(self, parent: int, name: str, verification: Verification, make_room: Callable[[], None]) -> bool:
        """Writes the verification record of the data file ``name`` durably. Returns whether that succeeded.

        On a full volume it calls ``make_room`` and tries once more. If that fails too, it keeps the result in memory.
        """
        content = verification.model_dump_json(indent=1).encode() + b"\n"
        written = _write(parent, record_name(name), content, make_room)
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
            info = lstat_if_exists(parent, record_name(name))
            if info is None:
                return None
            stamp = file_stamp(info)
            with self._lock:
                content = self._cache.get(stamp)
            if content is None:
                content = _read(parent, record_name(name))
            verification = Verification.model_validate_json(content)
        except (OSError, ApiError, ValidationError):
            return None
        with self._lock:
            self._cache[stamp] = content
            self._cache.move_to_end(stamp)
            while len(self._cache) > REMEMBERED:
                self._cache.popitem(last=False)
        return verification


def _write(parent: int, name: str, content: bytes, make_room: Callable[[], None]) -> bool:
    for last_attempt in (False, True):
        try:
            atomic_write.write_file(parent, name, content)
        except OSError as error:
            if last_attempt or not atomic_write.is_volume_full(error):
                return False
            make_room()
        except ApiError:
            return False
        else:
            return True
    return False


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
