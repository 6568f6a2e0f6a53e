"""Paths from requests, confined to the backup directory.

A path is first checked as text. Then each component is opened below the open directory before it, and no link is
followed. The checked file is therefore the file that is used, even if the tree is changed at the same time.
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
from gateway_api.storage.content import digest_and_size
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.layout import GZIP_SUFFIX, RESERVED_SUFFIXES, STATE_FOLDER, VOLUME_ID_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

FileStamp = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime; the times in nanoseconds."""

MAX_COMPONENT_BYTES: Final = 180
"""Leaves room for our suffixes below the 255 bytes that file systems allow."""
MAX_DEPTH: Final = 16
NO_PERMISSION: Final = "this server has no permission to read it"

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""``O_NONBLOCK``: opening a FIFO must not wait for a writer."""


def open_root(path: Path) -> int:
    """Opens the directory of a volume. Here alone a symbolic link is followed: the owner may have set one up."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def file_stamp(info: os.stat_result) -> FileStamp:
    """The attributes that differ after any change of a file. Equal stamps count as unchanged content."""
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _path_not_allowed(reason: str) -> ApiError:
    """``PathNotAllowed`` with a reason that does not repeat the path."""
    return ApiError(ErrorCode.PathNotAllowed, reason)


def check_component(name: str) -> str:
    """Returns ``name`` if a path below the backup directory may contain it. Raises ``PathNotAllowed``."""
    if not name:
        raise _path_not_allowed("a component of the path is empty")
    if name.startswith("."):
        raise _path_not_allowed("a component of the path begins with a dot")
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        raise _path_not_allowed("the path is not valid Unicode") from None
    if len(encoded.removesuffix(GZIP_SUFFIX.encode())) > MAX_COMPONENT_BYTES:
        raise _path_not_allowed(f"a component of the path is longer than {MAX_COMPONENT_BYTES} bytes")
    if not (name.isascii() and name.isprintable()):
        if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
            raise _path_not_allowed("the path contains a control character")
        if unicodedata.normalize("NFC", name) != name:
            raise _path_not_allowed("the path is not in Unicode normalization form C")
    if name.lower().endswith(RESERVED_SUFFIXES):
        raise _path_not_allowed("the name ends in a suffix that is reserved for this API")
    return name


def is_valid_component(name: str) -> bool:
    """Whether a request may contain ``name`` in a path. Files with other names are not listed."""
    try:
        check_component(name)
    except ApiError:
        return False
    return True


def parse_relative(path: str) -> tuple[str, ...]:
    """The components of a path relative to the backup directory. Raises ``PathNotAllowed``."""
    if path.startswith("/"):
        raise _path_not_allowed("the path must be relative to the backup directory")
    parts = tuple(path.split("/"))
    if len(parts) > MAX_DEPTH:
        raise _path_not_allowed(f"the path is deeper than {MAX_DEPTH} components")
    return tuple(check_component(part) for part in parts)


def parse_absolute(path: str, root: Path) -> tuple[str, ...]:
    """The components below ``root`` of an absolute path. Raises ``PathNotAllowed`` if the path is outside of ``root``.

    Repeated slashes count as one, as on Unix, because shell scripts often produce them.
    """
    if not path.startswith("/"):
        raise _path_not_allowed("the path must be absolute, inside the backup directory")
    parts = tuple(part for part in path.split("/") if part)
    base = root.parts[1:]
    if parts[: len(base)] != base or len(parts) == len(base) or path.endswith("/"):
        raise _path_not_allowed("the path is not inside the backup directory")
    return parse_relative("/".join(parts[len(base) :]))


def parse_either(path: str, root: Path) -> tuple[str, ...]:
    """The components of a path that is absolute or relative to ``root``. Raises ``PathNotAllowed``."""
    return parse_absolute(path, root) if path.startswith("/") else parse_relative(path)


@contextmanager
def open_parent(root_fd: int, parts: tuple[str, ...]) -> Iterator[int]:
    """Opens the directory that contains the last component of ``parts``.

    Raises ``PathNotAllowed`` if a component is a link, not a directory, or the backup directory of another server.
    Raises ``FileNotFoundError`` if a directory is missing, and other ``OSError`` unchanged.
    """
    current = os.dup(root_fd)
    try:
        for part in parts[:-1]:
            current = _open_directory(current, part)
            _refuse_other_volume(current)
        yield current
    finally:
        close(current)


def _open_directory(current: int, part: str) -> int:
    """Opens ``part`` below ``current`` and closes ``current``. If this fails, ``current`` stays open."""
    try:
        below = os.open(part, DIRECTORY_FLAGS, dir_fd=current)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _path_not_allowed("a component of the path is a link or not a directory") from None
        raise
    close(current)
    return below


def is_backup_directory(dir_fd: int) -> bool:
    """Whether an open directory is a backup directory, because it has a volume id of its own. Raises ``OSError``."""
    try:
        os.stat(f"{STATE_FOLDER}/{VOLUME_ID_FILE}", dir_fd=dir_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        # The state folder of a server that runs as another user.
        return True
    return True


def _refuse_other_volume(dir_fd: int) -> None:
    """Raises ``PathNotAllowed`` for a nested backup directory: its server does not hold our lock."""
    if is_backup_directory(dir_fd):
        raise _path_not_allowed("a folder of the path is a backup directory of its own")


def enclosing_backup_directory(backup_dir: Path) -> Path | None:
    """The backup directory that contains ``backup_dir``, or None. Follows links. Ignores unreadable directories."""
    for path in (backup_dir.absolute(), backup_dir.resolve()):
        for parent in path.parents:
            try:
                if (parent / STATE_FOLDER / VOLUME_ID_FILE).lstat():
                    return parent
            except OSError:
                continue
    return None


def make_parents(root_fd: int, parts: tuple[str, ...]) -> None:
    """Creates the missing directories above the last component of ``parts``, with mode 0700, durably."""
    current = os.dup(root_fd)
    try:
        for part in parts[:-1]:
            try:
                os.mkdir(part, 0o700, dir_fd=current)
            except FileExistsError:
                created = False
            else:
                created = True
            parent = os.dup(current)
            try:
                current = _open_directory(current, part)
                _refuse_other_volume(current)
                if created:
                    # mkdir applies the umask, fchmod does not.
                    os.fchmod(current, 0o700)
                    # The new entry must last before a backup below it is reported as stored.
                    sync_directory(parent)
            finally:
                close(parent)
    finally:
        close(current)


def file_problem(info: os.stat_result) -> str | None:
    """Why a file with this lstat is not read as a backup, as a part of a sentence. None for a usable file."""
    if stat.S_ISLNK(info.st_mode):
        return "it is a symbolic link"
    if stat.S_ISDIR(info.st_mode):
        return "it is a directory"
    if not stat.S_ISREG(info.st_mode):
        return "it is a special file"
    # A second hard link may be a file outside of the backup directory. A caller that compares the bytes with the digest
    # in a manifest allows it.
    return "it has a second hard link" if info.st_nlink != 1 else None


def unusable_file_error(problem: str) -> ApiError:
    """``BackupUnusable``: something is at the path, but it cannot be used. Never used for an absent file."""
    return ApiError(ErrorCode.BackupUnusable, f"the file is there but cannot be used: {problem}")


def open_backup_file(parent_fd: int, name: str, *, links_allowed: bool = False) -> int:
    """Opens the data file of a backup for reading, with one hard link unless more are allowed.

    Raises ``BackupUnusable`` if something is there that cannot be read as such a file, ``FileNotFoundError`` if nothing
    is there, and other ``OSError``.
    """
    try:
        return open_file(parent_fd, name, links_allowed=links_allowed)
    except PermissionError:
        raise unusable_file_error(NO_PERMISSION) from None


def open_file(parent_fd: int, name: str, *, links_allowed: bool = False) -> int:
    """Opens a regular file for reading, with one hard link unless more are allowed.

    Raises ``BackupUnusable`` for anything else, ``FileNotFoundError`` and other ``OSError``. Never follows a link and
    never blocks on a FIFO.
    """
    try:
        fd = os.open(name, FILE_FLAGS, dir_fd=parent_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR):
            raise unusable_file_error("it is a link or a special file") from None
        raise
    info = os.fstat(fd)
    problem = file_problem(info)
    if problem is not None and not (links_allowed and stat.S_ISREG(info.st_mode)):
        close(fd)
        raise unusable_file_error(problem)
    return fd


def lacks_permission(parent_fd: int, name: str) -> bool:
    """Whether this process has no permission to read the file ``name``."""
    return not os.access(name, os.R_OK, dir_fd=parent_fd, effective_ids=True)


def lstat_below(root_fd: int, parts: tuple[str, ...]) -> os.stat_result | None:
    """The lstat of whatever is at the path ``parts``, or None if nothing is there. Raises other ``OSError``."""
    try:
        with open_parent(root_fd, parts) as parent:
            return lstat_if_exists(parent, parts[-1])
    except (FileNotFoundError, ApiError):
        return None


def lstat_if_exists(parent_fd: int, name: str) -> os.stat_result | None:
    """The lstat of ``name``, or None if it does not exist."""
    try:
        return os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def digest_of_file(path: str | Path, limit: int, *, dir_fd: int | None = None) -> str | None:
    """SHA-256 of a whole file of at most ``limit`` bytes.

    None if it cannot be read, is no regular file, is larger, or changes during the read.
    """
    try:
        fd = os.open(path, FILE_FLAGS, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode) or before.st_size > limit:
            return None
        sha256, size = digest_and_size(fd, limit)
        unchanged = file_stamp(os.fstat(fd)) == file_stamp(before) and size == before.st_size
        return sha256 if unchanged else None
    except OSError:
        return None
    finally:
        close(fd)
