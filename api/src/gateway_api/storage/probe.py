"""Makes the system calls of a backup, a restore and a deletion in one state folder, without their lock.

The readiness check uses this on both volumes. It calls the same functions as the operations. A file system that
refuses a call refuses it here as well, and one that lacks an operation is handled in the same way. A lock of its own
keeps the checks of two servers apart. No operation waits for that lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from gateway_api.errors import ApiError, describe_errno
from gateway_api.storage import atomic_write
from gateway_api.storage.access import FileAccess, read_access
from gateway_api.storage.atomic_write import close, link_exclusive, list_names, unlink_if_exists, write_temporary
from gateway_api.storage.content import digest_and_size
from gateway_api.storage.file_system import drop_page_cache, is_unsupported, sync_directory
from gateway_api.storage.layout import (
    LOCK_FILE,
    PENDING_FOLDER,
    PROBE_BASE_FOLDER,
    PROBE_FILES,
    PROBE_FOLDER,
    PROBE_LOCK_FILE,
    PROBE_TARGET,
    REQUESTS_FOLDER,
    TOMBSTONES_FOLDER,
    UPLOADS_FOLDER,
)
from gateway_api.storage.paths import DIRECTORY_FLAGS, lstat_if_exists, make_parents, open_file
from gateway_api.storage.state_dir import StateDir, open_lock_file

T = TypeVar("T")
PROBE_BYTES: Final = 4096
LOCK_WAIT_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.02
_FOLDERS: Final = (PENDING_FOLDER, TOMBSTONES_FOLDER, REQUESTS_FOLDER, UPLOADS_FOLDER)
_APPEND_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class ProbeFailed(Exception):  # noqa: N818 - reads as what it says
    """A system call that the operations need has failed. The text says which step and gives the errno."""


def probe(state: StateDir, *, holds_config: bool) -> None:
    """Makes the calls of the operations in ``state`` and in the directory that contains it.

    ``holds_config``: a restore also copies the config's group, mode and ACL in this directory.
    Raises :class:`ProbeFailed` for the first call that fails. Leaves no file behind, except the file of its lock.
    """
    _step("list the directory", lambda: _list_one(state.base_fd))
    _step("open the lock", lambda: close(open_lock_file(state.fd, LOCK_FILE)))
    with _own_lock(state):
        # A check that was killed leaves files here. Their names belong to the holder of this lock.
        _clean(state)
        try:
            _probe_calls(state, FileAccess() if holds_config else None)
        finally:
            _clean(state)
    for name in _FOLDERS:
        with _step_context(f"write to {name}/"):
            _check_folder(state, name)


def _probe_calls(state: StateDir, access: FileAccess | None) -> None:
    fd, data = state.fd, os.urandom(PROBE_BYTES)
    new, published, linked, appended = PROBE_FILES
    _step("create and fsync a file", lambda: write_temporary(fd, data, access, name=new))
    _step("read a file back", lambda: _read_back(fd, new, with_access=access is not None))
    _step("link and unlink a file", lambda: link_exclusive(fd, new, published))
    _step("fsync a folder", lambda: sync_directory(fd))
    # The way of a staged config and of a manifest: from the state folder to the directory above it.
    _step("rename a file", lambda: os.rename(published, PROBE_TARGET, src_dir_fd=fd, dst_dir_fd=state.base_fd))
    _step("fsync a folder", lambda: sync_directory(state.base_fd))
    # The way of a kept config: a second name in the state folder.
    _step("link a file", lambda: _link(state.base_fd, PROBE_TARGET, fd, linked))
    _step("unlink a file", lambda: os.unlink(PROBE_TARGET, dir_fd=state.base_fd))
    _step("append and fdatasync", lambda: _append(fd, appended, data))
    _step("unlink a file", lambda: os.unlink(appended, dir_fd=fd))
    _step("create a folder", lambda: make_parents(state.base_fd, (PROBE_BASE_FOLDER, new)))
    with _step_context("create a folder"), state.open_folder(PROBE_FOLDER) as folder:
        # The way of a tombstone: a rename within a folder of the state folder.
        write_temporary(folder, data, name=new)
        os.rename(new, published, src_dir_fd=folder, dst_dir_fd=folder)
        os.unlink(published, dir_fd=folder)


def _step(what: str, call: Callable[[], T]) -> T:
    with _step_context(what):
        return call()


@contextmanager
def _step_context(what: str) -> Iterator[None]:
    """Turns the error of a call into :class:`ProbeFailed`."""
    try:
        yield
    except OSError as error:
        raise ProbeFailed(f"cannot {what}: {describe_errno(error)}") from None
    except ApiError:
        raise ProbeFailed(f"cannot {what}") from None


def _list_one(dir_fd: int) -> None:
    """Begins a listing. A directory of many files is not read to its end."""
    with os.scandir(dir_fd) as entries:
        next(entries, None)


def _check_folder(state: StateDir, name: str) -> None:
    """Raises ``OSError`` if the folder exists and no file can be created in it."""
    if lstat_if_exists(state.fd, name) is not None and not os.access(
        name, os.W_OK | os.X_OK, dir_fd=state.fd, effective_ids=True
    ):
        raise OSError(errno.EACCES, "not writable")


@contextmanager
def _own_lock(state: StateDir) -> Iterator[None]:
    with _step_context("open a lock file"):
        fd = open_lock_file(state.fd, PROBE_LOCK_FILE)
    try:
        until = time.monotonic() + LOCK_WAIT_SECONDS
        while not _step("lock a file", lambda: _try_lock(fd)):
            if time.monotonic() >= until:
                raise ProbeFailed("another server's readiness check does not end: the volume is slow or hangs")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        # Also releases the lock.
        close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clean(state: StateDir) -> None:
    """Removes everything that a check creates. The caller must hold the check's lock. Never raises."""
    unlink_if_exists(state.base_fd, PROBE_TARGET)
    with suppress(OSError):
        os.rmdir(PROBE_BASE_FOLDER, dir_fd=state.base_fd)
    for name in PROBE_FILES:
        unlink_if_exists(state.fd, name)
    with suppress(OSError, ApiError):
        folder = os.open(PROBE_FOLDER, DIRECTORY_FLAGS, dir_fd=state.fd)
        try:
            for name in list_names(folder):
                unlink_if_exists(folder, name)
        finally:
            close(folder)
        os.rmdir(PROBE_FOLDER, dir_fd=state.fd)


def _read_back(folder: int, name: str, *, with_access: bool) -> None:
    fd = open_file(folder, name)
    try:
        if with_access:
            read_access(fd)
        drop_page_cache(fd)
        if len(atomic_write.read_all(fd, PROBE_BYTES)) != PROBE_BYTES or digest_and_size(fd, PROBE_BYTES)[1] != (
            PROBE_BYTES
        ):
            raise OSError(errno.EIO, "other bytes than were written")
    finally:
        close(fd)


def _link(source: int, name: str, target: int, new_name: str) -> None:
    try:
        os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        # A restore copies the config where the file system has no hard links.
        if not is_unsupported(error):
            raise


def _append(folder: int, name: str, data: bytes) -> None:
    fd = os.open(name, _APPEND_FLAGS, 0o600, dir_fd=folder)
    try:
        if os.pwrite(fd, data, 0) != len(data):
            raise OSError(errno.ENOSPC, "the line was cut short")
        os.fdatasync(fd)
    finally:
        close(fd)
