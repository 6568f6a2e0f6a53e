"""What verifies found, in notes beside the backups: the list, one backup and an inspection show the last one.

A manifest is signed and never changes, so what was found later stands in `NAME.verification.json`. That note is neither
signed nor ever believed by a restore, which looks for itself.
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
from gateway_api.storage.paths import FileStamp, existing_kind, file_stamp, open_file

MAX_NOTE_BYTES: Final = 64 * 1024
REMEMBERED: Final = 100_000


def record_name(name: str) -> str:
    """The name of the note beside the data file ``name``."""
    return name + VERIFICATION_SUFFIX


class VerificationRecords:
    """Reads and writes notes. Remembers what was read, by what changes when a file changes, and what no volume took.

    Safe to use from several threads; may be lost at any time but for what could not be written.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[FileStamp, bytes] = OrderedDict()
        self._unwritten: dict[str, Verification] = {}
        self._lock = threading.Lock()

    def write(self, parent: int, name: str, found: Verification, make_room: Callable[[], None]) -> bool:
        """Notes ``found`` beside ``name``, durably; a full volume is tried again after ``make_room``.

        False when the volume does not take it: what was found holds all the same, and is shown until the server ends.
        """
        content = found.model_dump_json(indent=1).encode() + b"\n"
        written = _write(parent, record_name(name), content, make_room)
        with self._lock:
            if written:
                self._unwritten.pop(found.backup_id, None)
            else:
                self._unwritten[found.backup_id] = found
        return written

    def get(self, parent: int, name: str, backup_id: str) -> Verification | None:
        """The last note about the file ``name``; None when there is none that can be read."""
        with self._lock:
            if (unwritten := self._unwritten.get(backup_id)) is not None:
                return unwritten
        try:
            info = existing_kind(parent, record_name(name))
            if info is None:
                return None
            signature = file_stamp(info)
            with self._lock:
                content = self._known.get(signature)
            if content is None:
                content = _read(parent, record_name(name))
            found = Verification.model_validate_json(content)
        except (OSError, ApiError, ValidationError):
            return None
        with self._lock:
            self._known[signature] = content
            self._known.move_to_end(signature)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return found


def _write(parent: int, name: str, content: bytes, make_room: Callable[[], None]) -> bool:
    for last in (False, True):
        try:
            atomic_write.write_file(parent, name, content)
        except OSError as error:
            if last or not atomic_write.is_full(error):
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
        return read_all(fd, MAX_NOTE_BYTES)
    finally:
        close(fd)


def with_verification(record: BackupRecord, note: Verification | None) -> BackupRecord:
    """``record``, which says what the manifest says, with what the last verify found.

    What was found good is so of the file that was looked at alone. What was found wrong stays until a verify finds it
    good: no backup is called proven beside a note that it is broken.
    """
    if note is None or note.backup_id != record.backup_id:
        return record
    about_this = note.stored_sha256 == record.stored_sha256
    if not about_this and (note.level is not None or not note.problems):
        return record
    return record.model_copy(update={"verification": note, "level": note.level, "proof": note.proof})
