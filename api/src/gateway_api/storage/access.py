"""Who may read and write a file: group, permission bits and POSIX ACL, read from one file and set on another.

A file with an ACL shows the ACL's mask as its group bits. A copy that takes only the bits gives the mask to the
group and drops the named users. The ACL is therefore copied as the kernel stores it (`linux/posix_acl_xattr.h`).
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from dataclasses import dataclass
from typing import Final

_ACL: Final = "system.posix_acl_access"
_NO_ACL: Final = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""The errnos of a file without an ACL and of a file system without ACLs."""
_HEADER: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")
_GROUP_OWNER, _MASK, _OTHERS = 0x04, 0x10, 0x20


@dataclass(frozen=True, slots=True)
class FileAccess:
    """Access to a file of this process's user. The default is access for the owner alone.

    ``mode`` are the permission bits. ``gid`` is the group, None for the group of a new file. ``acl`` is the access ACL
    in hex, None without one.
    """

    mode: int = 0o600
    gid: int | None = None
    acl: str | None = None


def read_access(fd: int) -> FileAccess:
    """The access of an open file, without permissions for others. Raises ``OSError``."""
    info = os.fstat(fd)
    try:
        acl = os.getxattr(fd, _ACL)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
        acl = b""
    return FileAccess(stat.S_IMODE(info.st_mode) & 0o770, info.st_gid, _without_others(acl).hex() or None)


def set_access(fd: int, access: FileAccess) -> None:
    """Sets group, mode and ACL of an open file. A group that this process may not set is left out. Raises ``OSError``.

    On a file system without ACLs the group gets the permissions that the ACL grants to it, and named users get none.
    """
    # The group comes first, so that the old group never gets the permissions of `mode`.
    if access.gid is not None and os.fstat(fd).st_gid != access.gid:
        _set_group(fd, access.gid)
    if access.acl is None:
        # A default ACL of the directory gives each new file an ACL, and `mode` would then set its mask.
        _remove_acl(fd)
        os.fchmod(fd, access.mode)
        return
    acl = bytes.fromhex(access.acl)
    os.fchmod(fd, (access.mode & 0o700) | _group_bits(acl))
    try:
        os.setxattr(fd, _ACL, acl)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise


def _remove_acl(fd: int) -> None:
    try:
        os.removexattr(fd, _ACL)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise


def _set_group(fd: int, gid: int) -> None:
    try:
        os.fchown(fd, -1, gid)
    except PermissionError:
        return


def _entries(acl: bytes) -> list[tuple[int, int, int]]:
    return list(_ENTRY.iter_unpack(acl[_HEADER.size :])) if len(acl) % _ENTRY.size == _HEADER.size else []


def _without_others(acl: bytes) -> bytes:
    entries = [(tag, 0 if tag == _OTHERS else permissions, number) for tag, permissions, number in _entries(acl)]
    return acl[: _HEADER.size] + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _group_bits(acl: bytes) -> int:
    """The permission bits that the ACL grants to the file's group, at the place of the group in a mode."""
    granted = {tag: permissions for tag, permissions, _ in _entries(acl) if tag in (_GROUP_OWNER, _MASK)}
    return (granted.get(_GROUP_OWNER, 0) & granted.get(_MASK, 7)) << 3
