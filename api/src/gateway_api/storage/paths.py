"""Paths inside the backup directory, and nowhere else.

Names are judged as text first (pure), then every component is opened below the one before it without following a
link: what was checked is what is used, however the tree changes meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.storage.atomic_write import close

if TYPE_CHECKING:
    from collections.abc import Iterator

from gateway_api.storage.layout import GZIP_SUFFIX, RESERVED_SUFFIXES

FileStamp = tuple[int, int, int, int, int]


def file_stamp(info: os.stat_result) -> FileStamp:
    """What changes when a file changes."""
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


MAX_COMPONENT_BYTES: Final = 180


MAX_DEPTH: Final = 16


DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def path_not_allowed(why: str) -> ApiError:
    """A ``PathNotAllowed`` that says why without repeating the path."""
    return ApiError(ErrorCode.PathNotAllowed, why)


def check_component(name: str) -> str:
    """``name`` if it may stand in a path below the backup directory; else raises ``PathNotAllowed``."""
    if not name:
        raise path_not_allowed("a component of the path is empty")
    if name.startswith("."):
        raise path_not_allowed("a component of the path begins with a dot")
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        raise path_not_allowed("the path is not valid Unicode") from None
    if len(encoded.removesuffix(GZIP_SUFFIX.encode())) > MAX_COMPONENT_BYTES:
        raise path_not_allowed(f"a component of the path is longer than {MAX_COMPONENT_BYTES} bytes")
    if not (name.isascii() and name.isprintable()):
        if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
            raise path_not_allowed("the path holds a control character")
        if unicodedata.normalize("NFC", name) != name:
            raise path_not_allowed("the path is not in Unicode's NFC form")
    if name.lower().endswith(RESERVED_SUFFIXES):
        raise path_not_allowed("the name ends in a suffix that this API uses itself")
    return name


def is_usable(name: str) -> bool:
    """Whether a request could name it: what a person has put under another name is not looked at."""
    try:
        check_component(name)
    except ApiError:
        return False
    return True


def parse_relative(path: str) -> tuple[str, ...]:
    """The components of a path relative to the backup directory. Raises ``PathNotAllowed``."""
    if path.startswith("/"):
        raise path_not_allowed("the path must be relative to the backup directory")
    parts = tuple(path.split("/"))
    if len(parts) > MAX_DEPTH:
        raise path_not_allowed(f"the path is deeper than {MAX_DEPTH} components")
    return tuple(check_component(part) for part in parts)


def parse_absolute(path: str, root: Path) -> tuple[str, ...]:
    """The components below ``root`` of an absolute path. Raises ``PathNotAllowed`` when it lies elsewhere.

    Doubled slashes are one, as everywhere on Unix, since shell scripts make them; nothing else is forgiven.
    """
    if not path.startswith("/"):
        raise path_not_allowed("the path must be absolute, inside the backup directory")
    parts = tuple(part for part in path.split("/") if part)
    base = root.parts[1:]
    if parts[: len(base)] != base or len(parts) == len(base) or path.endswith("/"):
        raise path_not_allowed("the path is not inside the backup directory")
    return parse_relative("/".join(parts[len(base) :]))


def parse_either(path: str, root: Path) -> tuple[str, ...]:
    """Absolute inside ``root`` or relative to it."""
    return parse_absolute(path, root) if path.startswith("/") else parse_relative(path)


@contextmanager
def open_parent(root_fd: int, parts: tuple[str, ...]) -> Iterator[int]:
    """The open directory that holds ``parts``'s last component. Raises ``PathNotAllowed`` for a link or a non-directory
    on the way, ``FileNotFoundError`` when a directory is absent, other ``OSError`` as the system gives it."""
    current = os.dup(root_fd)
    try:
        for part in parts[:-1]:
            current = _open_directory(current, part)
        yield current
    finally:
        close(current)


def _open_directory(current: int, part: str) -> int:
    try:
        below = os.open(part, DIRECTORY_FLAGS, dir_fd=current)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise path_not_allowed("a component of the path is a link or not a directory") from None
        raise
    close(current)
    return below


def make_parents(root_fd: int, parts: tuple[str, ...]) -> None:
    """Makes the directories above ``parts``'s last component, mode 0700, each durable in its own parent."""
    current = os.dup(root_fd)
    try:
        for part in parts[:-1]:
            try:
                os.mkdir(part, 0o700, dir_fd=current)
            except FileExistsError:
                made = False
            else:
                made = True
            parent = os.dup(current)
            try:
                current = _open_directory(current, part)
                if made:
                    os.fchmod(current, 0o700)
                    os.fsync(parent)
            finally:
                close(parent)
    finally:
        close(current)


def open_file(parent_fd: int, name: str) -> int:
    """Opens ``name`` for reading if it is a regular file with one link; else raises ``PathNotAllowed``.

    Raises ``FileNotFoundError`` when there is none. Never blocks on a FIFO, never follows a link.
    """
    try:
        fd = os.open(name, FILE_FLAGS, dir_fd=parent_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR):
            raise path_not_allowed("the path names a link or a special file") from None
        raise
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
        close(fd)
        raise path_not_allowed("the path names something other than a regular file with one link")
    return fd


def existing_kind(parent_fd: int, name: str) -> os.stat_result | None:
    """The stat of ``name`` itself, never of what it points to, or None when there is nothing."""
    try:
        return os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
