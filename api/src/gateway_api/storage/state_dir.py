"""The `.gateway` folder that each of the two directories has: lock, identity and small durable records.

The lock is an flock on a file that is never unlinked, so that two servers on one volume, a stale pod or a second
process on a laptop take turns; it dies with the process that holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway_api.storage.atomic_write import close, read_all, remove_temporaries, sync_directory, write_file
from gateway_api.storage.layout import GATEWAY_ID_FILE, VOLUME_ID_FILE
from gateway_api.storage.paths import DIRECTORY_FLAGS, FILE_FLAGS

if TYPE_CHECKING:
    from collections.abc import Iterator

from gateway_api.storage.layout import LOCK_FILE, STATE_FOLDER


def read_gateway_id(config_dir: Path) -> str | None:
    """The identity of the config's volume; None while it has none or cannot be read."""
    try:
        with StateDir(config_dir, create=False) as state:
            return state.read_id(GATEWAY_ID_FILE)
    except OSError:
        return None


def read_volume_id(backup_dir: Path) -> str | None:
    """The identity of the backup volume; None while it has none or cannot be read."""
    try:
        with StateDir(backup_dir, create=False) as state:
            return state.read_id(VOLUME_ID_FILE)
    except OSError:
        return None


ID_PATTERN: Final = re.compile(r"^[0-9a-f]{32}$")
MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
LOCK_POLL_SECONDS: Final = 0.03


class LockHeld(Exception):  # noqa: N818 - reads as what it says
    """Another process holds the lock. ``holder`` is what it wrote about itself, or empty."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(holder)


class StateDir:
    """An open `.gateway` directory. Owns ``fd`` and that of the directory above it, ``base_fd``.

    Every method raises ``OSError`` as the system gives it, so that the caller says which volume failed.
    """

    def __init__(self, base: Path, *, create: bool) -> None:
        self.base_fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fd = self._open(create)
        except BaseException:
            close(self.base_fd)
            raise

    def _open(self, create: bool) -> int:
        try:
            fd = os.open(STATE_FOLDER, DIRECTORY_FLAGS, dir_fd=self.base_fd)
        except FileNotFoundError:
            if not create:
                raise
            with suppress(FileExistsError):
                os.mkdir(STATE_FOLDER, 0o700, dir_fd=self.base_fd)
            fd = os.open(STATE_FOLDER, DIRECTORY_FLAGS, dir_fd=self.base_fd)
            os.fchmod(fd, 0o700)
            sync_directory(self.base_fd)
        return fd

    def close(self) -> None:
        """Gives both descriptors back."""
        close(self.fd)
        close(self.base_fd)

    def __enter__(self) -> StateDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def locked(self, holder: str, until: float) -> Iterator[None]:
        """Holds the lock. ``until`` is a ``time.monotonic()`` after which :class:`LockHeld` is raised.

        ``holder`` is written into the file, so that the one who waits can tell its own request at work elsewhere.
        """
        try:
            fd = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        except OSError:
            # A read-only volume can still be restored from, one at a time.
            fd = os.open(LOCK_FILE, FILE_FLAGS, dir_fd=self.fd)
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise LockHeld(os.pread(fd, 256, 0).decode("ascii", "replace")) from None
                    time.sleep(LOCK_POLL_SECONDS)
            _record_owner(fd, holder)
            try:
                yield
            finally:
                _record_owner(fd, "")
                fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            close(fd)

    def read_or_create_id(self, name: str) -> str:
        """The 128-bit identity kept in ``name``, made once. Two servers that start together agree on it."""
        for _ in range(2):
            found = self.read(name)
            text = (found or b"").decode("ascii", "replace").strip()
            if ID_PATTERN.match(text):
                return text
            if found is not None:
                raise OSError(f"{name} holds no identity")
            try:
                write_file(self.fd, name, secrets.token_hex(16).encode() + b"\n", exclusive=True)
            except FileExistsError:
                continue
        raise OSError(f"{name} cannot be made")

    def read_id(self, name: str) -> str | None:
        """The identity if it has been made, without making one."""
        text = (self.read(name) or b"").decode("ascii", "replace").strip()
        return text if ID_PATTERN.match(text) else None

    def read(self, name: str, limit: int = MAX_RECORD_BYTES) -> bytes | None:
        """What the record ``name`` holds, or None."""
        try:
            fd = os.open(name, FILE_FLAGS, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        try:
            return read_all(fd, limit)
        finally:
            close(fd)

    def write(self, name: str, data: bytes) -> None:
        """Replaces the record ``name`` durably."""
        write_file(self.fd, name, data)

    def remove(self, name: str) -> None:
        """Removes the record ``name`` durably; it may be gone already."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        sync_directory(self.fd)

    @contextmanager
    def folder(self, name: str) -> Iterator[int]:
        """An open directory inside the state folder, made when it is missing."""
        try:
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=self.fd)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self.fd)
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=self.fd)
            os.fchmod(fd, 0o700)
            sync_directory(self.fd)
        try:
            yield fd
        finally:
            close(fd)

    def clean(self, *folders: str) -> None:
        """Removes temporaries of a dead server here and in ``folders``. For the holder of the lock alone."""
        remove_temporaries(self.fd)
        for name in folders:
            with self.folder(name) as fd:
                remove_temporaries(fd)


def _record_owner(fd: int, holder: str) -> None:
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, holder.encode("ascii", "replace"), 0)
    except OSError:
        return


def read_record(dir_fd: int, name: str) -> bytes | None:
    """What the file ``name`` of an open state directory holds, or None."""
    try:
        fd = os.open(name, FILE_FLAGS, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    try:
        return read_all(fd, MAX_RECORD_BYTES)
    finally:
        close(fd)


def dump_record(record: dict[str, Any]) -> bytes:
    """A record's bytes: JSON that a person can read."""
    return json.dumps(record, indent=1, sort_keys=True).encode() + b"\n"
