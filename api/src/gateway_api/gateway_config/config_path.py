"""Checks what is at the config's path: whether it is a file that a restore can replace.

The config must be a regular file of this process's user, in a directory where this process can create files.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from gateway_api.errors import is_volume_full
from gateway_api.storage.atomic_write import close, unlink_if_exists, write_temporary
from gateway_api.storage.paths import open_root

_OCTAL: Final = re.compile(rb"\\([0-3][0-7]{2})")
"""Escape sequence for a space, tab, newline or backslash in /proc/self/mountinfo."""
_SPECIAL_FILES: Final = (
    ("a directory", stat.S_ISDIR),
    ("a FIFO", stat.S_ISFIFO),
    ("a socket", stat.S_ISSOCK),
    ("a device", lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode)),
)


def describe_special_file(path: Path) -> str:
    """Describes the special file at the config's path, with the remedy. Names no path."""
    remedy = "set GATEWAY_CONFIG_FILE to a regular file in a directory of its own"
    try:
        if not path.is_symlink():
            kind = next((name for name, test in _SPECIAL_FILES if test(path.lstat().st_mode)), "not a regular file")
            return f"the config is {kind}; {remedy}"
        target = next((name for name, test in _SPECIAL_FILES if test(path.stat().st_mode)), "a regular file")
    except OSError:
        target = "something that does not exist or cannot be opened"
    return f"the config is a symbolic link to {target}, and links are not followed; {remedy}"


def is_mount_point(path: Path) -> bool:
    """Whether the file itself is a mount point. No other file can be renamed over a mount point."""
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    target = os.fsencode(os.path.realpath(path))
    mount_points = (fields[4] for line in table.splitlines() if len(fields := line.split(b" ")) > 4)
    return any(_OCTAL.sub(lambda escape: bytes([int(escape[1], 8)]), point) == target for point in mount_points)


def config_file_problem(path: Path) -> str | None:
    """The reason why no other file can take the place of the config file, or None. Makes no change."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return None
    except OSError:
        return "the config's directory does not permit access to its files"
    if not stat.S_ISREG(info.st_mode):
        return describe_special_file(path)
    if info.st_uid != os.geteuid():
        return "the config is owned by another user than the one of this process"
    if is_mount_point(path):
        return "the config file itself is a mount point; mount its directory instead"
    return None


def replace_problem(path: Path) -> str | None:
    """The reason why a restore cannot replace the config file, or None. Creates and removes two small test files."""
    if (problem := config_file_problem(path)) is not None:
        return problem
    try:
        fd = open_root(path.parent)
    except OSError:
        return "the config's directory cannot be opened"
    try:
        # A restore replaces the config by a rename, so the test renames one file over another.
        source = write_temporary(fd, b"probe")
        target = write_temporary(fd, b"")
        try:
            os.rename(source, target, src_dir_fd=fd, dst_dir_fd=fd)
        finally:
            unlink_if_exists(fd, target)
            unlink_if_exists(fd, source)
    except OSError as error:
        # A full volume is reported by the restore itself, as an error code of its own.
        return None if is_volume_full(error) else "the config's directory is not writable"
    finally:
        close(fd)
    return None
