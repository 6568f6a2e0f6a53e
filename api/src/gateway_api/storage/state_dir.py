"""The state folder `.gateway` of the config directory and of the backup directory: lock, id and small records.

`layout.py` lists its files. The lock is an flock on a file that is never unlinked. It serializes the operations of two
servers on one volume, such as an old and a new pod. The kernel releases it when its process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway_api.storage.atomic_write import close, read_all, remove_temporaries, write_file
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.layout import GATEWAY_ID_FILE, LOCK_FILE, STATE_FOLDER, VOLUME_ID_FILE
from gateway_api.storage.paths import DIRECTORY_FLAGS, FILE_FLAGS, open_root

if TYPE_CHECKING:
    from collections.abc import Iterator

ID_PATTERN: Final = re.compile(r"^[0-9a-f]{32}$")
MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
LOCK_POLL_SECONDS: Final = 0.03
Stamp = tuple[int, int, int]
"""The time of the last change in nanoseconds, the size in bytes and the inode. Each write makes a new file."""


class LockHeld(Exception):  # noqa: N818 - a state of the lock, not a defect
    """Another process holds the lock. ``owner`` is the text it wrote into the lock file, or empty."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        super().__init__(owner)


class StateDir:
    """An open `.gateway` directory: ``fd``, and ``base_fd`` of the directory that contains it. Owns both descriptors.

    Every method raises ``OSError`` unchanged. The caller knows which volume it is and turns it into an ``ApiError``.
    """

    def __init__(self, base: Path, *, create: bool) -> None:
        self.base_fd = open_root(base)
        try:
            self.fd = self._open(create)
        except BaseException:
            close(self.base_fd)
            raise

    def _open(self, create: bool) -> int:
        if create:
            return _open_or_create(self.base_fd, STATE_FOLDER)
        return os.open(STATE_FOLDER, DIRECTORY_FLAGS, dir_fd=self.base_fd)

    def close(self) -> None:
        close(self.fd)
        close(self.base_fd)

    def __enter__(self) -> StateDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def locked(self, owner: str, until: float) -> Iterator[None]:
        """Holds the lock. Raises :class:`LockHeld` if it is not free by ``until``, a ``time.monotonic()`` in seconds.

        ``owner`` is written into the lock file. A second server can thus recognize that the same request is already
        running in the first one.
        """
        fd = open_lock_file(self.fd, LOCK_FILE)
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise LockHeld(os.pread(fd, 256, 0).decode("ascii", "replace")) from None
                    time.sleep(LOCK_POLL_SECONDS)
            _record_owner(fd, owner)
            try:
                yield
            finally:
                # The text is cleared before the unlock: afterwards it would overwrite that of the next owner.
                _record_owner(fd, "")
                fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            close(fd)

    def read_id(self, name: str) -> str | None:
        """The 128-bit id in the record ``name``, as 32 hex digits. None if the record is missing or holds no id."""
        text = (self.read(name) or b"").decode("ascii", "replace").strip()
        return text if ID_PATTERN.match(text) else None

    def read(self, name: str, limit: int = MAX_RECORD_BYTES) -> bytes | None:
        """The bytes of the record ``name``, at most ``limit`` + 1, or None if it does not exist."""
        return read_record(self.fd, name, limit)

    def stamp(self, name: str) -> Stamp | None:
        """A value that differs after each write of the record ``name``; None if the record does not exist."""
        try:
            info = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return info.st_mtime_ns, info.st_size, info.st_ino

    def write(self, name: str, data: bytes) -> None:
        """Replaces the record ``name`` durably."""
        write_file(self.fd, name, data)

    def remove(self, name: str) -> None:
        """Removes the record ``name`` durably. Does nothing if it does not exist."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        sync_directory(self.fd)

    @contextmanager
    def open_folder(self, name: str) -> Iterator[int]:
        """Opens a directory inside the state folder; creates it if it is missing."""
        fd = _open_or_create(self.fd, name)
        try:
            yield fd
        finally:
            close(fd)

    def remove_temporaries(self, *folders: str) -> None:
        """Removes the temporary files of a crashed server here and in ``folders``. The caller must hold the lock."""
        remove_temporaries(self.fd)
        for name in folders:
            with self.open_folder(name) as fd:
                remove_temporaries(fd)


def _open_or_create(dir_fd: int, name: str) -> int:
    """Opens the folder ``name``. Creates it durably, for this user alone, if it does not exist."""
    try:
        return os.open(name, DIRECTORY_FLAGS, dir_fd=dir_fd)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=dir_fd)
    fd = os.open(name, DIRECTORY_FLAGS, dir_fd=dir_fd)
    try:
        os.fchmod(fd, 0o700)  # mkdir applies the umask, fchmod does not
        # The folder must last before a record in it can.
        sync_directory(dir_fd)
    except BaseException:
        close(fd)
        raise
    return fd


def open_lock_file(dir_fd: int, name: str) -> int:
    """Opens the file ``name`` for flock and creates it if it does not exist. Raises ``OSError``."""
    try:
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    except OSError as error:
        # On a read-only volume the file cannot be created or written, but a restore still needs the lock.
        try:
            return os.open(name, FILE_FLAGS, dir_fd=dir_fd)
        except FileNotFoundError:
            raise error from None


def _record_owner(fd: int, owner: str) -> None:
    """Writes the owner into the lock file. Ignores errors: it only decides between ``Busy`` and ``InProgress``."""
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, owner.encode("ascii", "replace"), 0)
    except OSError:
        return


def read_record(dir_fd: int, name: str, limit: int = MAX_RECORD_BYTES) -> bytes | None:
    """The bytes of the file ``name`` in an open directory, at most ``limit`` + 1, or None if it does not exist."""
    try:
        fd = os.open(name, FILE_FLAGS, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    try:
        return read_all(fd, limit)
    finally:
        close(fd)


def dump_record(record: dict[str, Any]) -> bytes:
    """A record as indented JSON with sorted keys, for a person to read."""
    return json.dumps(record, indent=1, sort_keys=True).encode() + b"\n"


def read_gateway_id(config_dir: Path) -> str | None:
    """The id of the gateway in its config directory. None if it has none yet or cannot be read."""
    return _read_id(config_dir, GATEWAY_ID_FILE)


def read_volume_id(backup_dir: Path) -> str | None:
    """The id of the backup volume. None if it has none yet or cannot be read."""
    return _read_id(backup_dir, VOLUME_ID_FILE)


def _read_id(directory: Path, name: str) -> str | None:
    try:
        with StateDir(directory, create=False) as state:
            return state.read_id(name)
    except OSError:
        return None
