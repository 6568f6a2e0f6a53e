"""The live config keeps group, mode and ACL through a restore and a rollback, without permissions for others."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import httpx
import pytest

from tests.api.restores.test_only_copy import BACKUP, RESET, RESTORE, RESTORES
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_ok

pytestmark = pytest.mark.api
ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
Entry = tuple[int, int, int]


def _encode(*entries: Entry) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _entry(tag: int, permissions: int, number: int = 0xFFFFFFFF) -> Entry:
    return tag, permissions, number


def _set_acl(path: Path, name: str, *entries: Entry) -> bytes:
    try:
        os.setxattr(path, name, _encode(*entries))
    except OSError:
        pytest.skip("the file system has no ACLs: run on ext4, xfs or tmpfs")
    return os.getxattr(path, name)


def _acl(path: Path) -> bytes | None:
    try:
        return os.getxattr(path, ACL)
    except OSError:
        return None


NAMED_USER = (_entry(USER_OBJ, 6), _entry(USER, 4, 1234), _entry(GROUP_OBJ, 0), _entry(MASK, 4), _entry(OTHER, 0))
NAMED_GROUP = (_entry(USER_OBJ, 6), _entry(GROUP_OBJ, 0), _entry(GROUP, 6, 77), _entry(MASK, 6), _entry(OTHER, 0))
FOR_OTHERS = (_entry(USER_OBJ, 6), _entry(USER, 6, 1234), _entry(GROUP_OBJ, 4), _entry(MASK, 6), _entry(OTHER, 4))


@pytest.mark.parametrize("end", ["reset", "commit", "rollback"])
@pytest.mark.parametrize("entries", [NAMED_USER, NAMED_GROUP, FOR_OTHERS], ids=["user", "group", "others"])
def test_acl_has_the_same_effect_after_restore_and_rollback(
    entries: tuple[Entry, ...], end: str, api: httpx.Client, dirs: GatewayDirs
) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    dirs.write(users=7)
    os.chown(dirs.config, -1, 4321)
    _set_acl(dirs.config, ACL, *entries)
    expected = _encode(*(entry if entry[0] != OTHER else _entry(OTHER, 0) for entry in entries))
    if end == "reset":
        assert_ok(api.post(RESET, json={"confirm": True}))
    else:
        assert_ok(api.post(RESTORE, json={"input_file": "a.json", "request_id": "r"}))
        assert _acl(dirs.config) == expected
        assert_ok(api.post(f"{RESTORES}/r/{end}"))
    assert _acl(dirs.config) == expected
    assert dirs.config.stat().st_gid == 4321


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o664, 0o444])
def test_rollback_keeps_group_and_mode(mode: int, api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    before = dirs.write(users=7)
    os.chown(dirs.config, -1, 4321)
    dirs.config.chmod(mode)
    assert_ok(api.post(RESTORE, json={"input_file": "a.json", "request_id": "r"}))
    # The gateway may have written a config of its own since.
    dirs.config.unlink()
    dirs.write(users=9)
    assert_ok(api.post(f"{RESTORES}/r/rollback", json={"force": True}))
    info = dirs.config.stat()
    assert (info.st_gid, info.st_mode & 0o777) == (4321, mode & 0o770)
    assert dirs.config.read_bytes() == before


def test_default_acl_of_the_directory_grants_nothing_new(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    entries = (_entry(USER_OBJ, 7), _entry(USER, 6, 1234), _entry(GROUP_OBJ, 5), _entry(MASK, 7), _entry(OTHER, 5))
    for folder in (dirs.config.parent, dirs.state):
        _set_acl(folder, DEFAULT_ACL, *entries)
    dirs.config.chmod(0o660)
    assert_ok(api.post(RESTORE, json={"input_file": "a.json"}))
    assert _acl(dirs.config) is None
    assert dirs.config.stat().st_mode & 0o777 == 0o660
