"""No path leads out of the backup directory, and nothing but a plain file is read or replaced."""

from __future__ import annotations

import os
import socket

import httpx
import pytest

from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESTORE = "/api/v1/system/restore"

NAMES = [
    "../x.json",
    "a/../x.json",
    "./x.json",
    "a//x.json",
    "a/",
    ".hidden.json",
    ".gateway/lock",
    "a/.b/x.json",
    "x\0.json",
    "x\n.json",
    "x.manifest",
    "x.json.verification",
    "X.MANIFEST",
    "x.tmp",
    "y" * 176 + ".json",
    "e\u0301.json",
    "/".join("d" * 20),
]


@pytest.mark.parametrize("name", NAMES)
def test_invalid_name_is_rejected_by_every_endpoint(name: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_error(api.post(BACKUP, json={"path": name}), "PathNotAllowed")
    assert_error(api.post(RESTORE, json={"input_file": name}), "PathNotAllowed")
    assert_error(
        api.post(BACKUP, json={"output_file": f"{dirs.backups}/{name}"}), "PathNotAllowed"
    ) if "//" not in name else 0
    assert [entry.name for entry in dirs.backups.iterdir()] == [".gateway"]


@pytest.mark.parametrize("path", ["/etc/passwd", "relative.json", "{0}", "{0}/", "{0}x/a.json", "{1}", "{0}/../a.json"])
def test_output_file_outside_the_backup_directory_is_rejected(path: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    before = dirs.config.read_bytes()
    assert_error(api.post(BACKUP, json={"output_file": path.format(dirs.backups, dirs.config)}), "PathNotAllowed")
    assert dirs.config.read_bytes() == before


def test_the_longest_allowed_name_works(api: httpx.Client) -> None:
    assert_ok(api.post(BACKUP, json={"path": "y" * 175 + ".json"}))


@pytest.mark.parametrize("kind", ["symlink", "dangling", "hard link", "fifo", "directory", "socket", "linked folder"])
def test_no_link_is_followed_and_no_other_name_is_changed(kind: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    outside = dirs.backups.parent / "outside"
    outside.mkdir()
    secret = outside / "secret.json"
    secret.write_bytes(dirs.config.read_bytes())
    target = dirs.backups / "x.json"
    path = "x.json"
    with socket.socket(socket.AF_UNIX) as unix:
        if kind == "symlink":
            target.symlink_to(secret)
        elif kind == "dangling":
            target.symlink_to(outside / "new.json")
        elif kind == "hard link":
            os.link(secret, target)
        elif kind == "fifo":
            os.mkfifo(target)
        elif kind == "directory":
            target.mkdir()
        elif kind == "socket":
            here = os.getcwd()
            os.chdir(dirs.backups)
            unix.bind("x.json")
            os.chdir(here)
        else:
            (dirs.backups / "folder").symlink_to(outside)
            path = "folder/secret.json"
        unusable = "PathNotAllowed" if kind == "linked folder" else "BackupUnusable"
        assert_error(api.post(RESTORE, json={"input_file": path}), unusable)
        for answer in (
            api.post(BACKUP, json={"output_file": f"{dirs.backups}/{path}"}),
            api.post(BACKUP, json={"path": path, "overwrite": True}),
        ):
            # A rename replaces only this name of a file with two.
            if kind == "hard link":
                assert_ok(answer)
            else:
                assert_error(answer, "PathNotAllowed")
    assert [entry.name for entry in outside.iterdir()] == ["secret.json"]
    assert secret.read_bytes() == dirs.config.read_bytes()


def test_manifest_that_is_a_symlink_is_not_followed(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    manifest = dirs.backups / "a.json.manifest"
    moved = dirs.backups.parent / "moved"
    manifest.rename(moved)
    manifest.symlink_to(moved)
    assert_error(api.get(f"/api/v1/system/backups/{created['backup_id']}"), "BackupNotFound")
    assert_error(api.post(RESTORE, json={"input_file": "a.json"}), "BackupCorrupt")
