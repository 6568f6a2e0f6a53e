"""Present, unusable and absent are three answers: what lies at a name is never reported as deleted."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_api.backups.listing import list_page, read_backup_record
from gateway_api.errors import ApiError
from gateway_api.repository.index import RepositoryIndex
from gateway_api.settings import AdminSettings
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import UNPRIVILEGED_USER, GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESTORE = "/api/v1/system/restore"
ALL = "/api/v1/system/backups"


def _socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(file.parent)
        unix.bind(file.name)
        os.chdir(here)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "symbolic link": (lambda file: file.symlink_to(file.parent.parent / "kept.json"), "symbolic link"),
    "broken link": (lambda file: file.symlink_to("nowhere"), "symbolic link"),
    "directory": (lambda file: file.mkdir(), "directory"),
    "fifo": (os.mkfifo, "special file"),
    "socket": (_socket, "special file"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_file_of_a_backup_is_never_reported_as_deleted(
    kind: str, api: httpx.Client, dirs: GatewayDirs
) -> None:
    body = {"path": "d/a.json", "request_id": "one", "record_name": "n/a"}
    created = assert_ok(api.post(BACKUP, json=body))
    file = dirs.backups / "d/a.json"
    shutil.copy(file, dirs.backups / "kept.json")
    file.unlink()
    make, reason = UNUSABLE[kind]
    make(file)
    one = f"{ALL}/{created['backup_id']}"
    (entry,) = assert_ok(api.get(ALL, params={"path": "d/a.json"}))["items"]
    assert entry in assert_ok(api.get(ALL))["items"]
    assert (entry["kind"], entry["backup_id"], entry["record"]) == ("unusable", created["backup_id"], None)
    assert [(one["code"], reason in one["message"]) for one in entry["problems"]] == [("BackupUnusable", True)]
    record = assert_ok(api.get(one))
    assert (record["path"], record["level"], record["problems"]) == ("d/a.json", None, entry["problems"])
    for answer in (
        api.delete(one),
        api.get(f"{one}/content"),
        api.post(f"{one}/verify"),
        api.post(f"{ALL}/inspect", json={"path": "d/a.json"}),
        api.post(RESTORE, json={"backup_id": created["backup_id"]}),
        api.post(RESTORE, json={"input_file": "d/a.json"}),
        api.post(BACKUP, json=body),
    ):
        assert "is there" in assert_error(answer, "BackupUnusable")
    assert_error(api.post(BACKUP, json={**body, "request_id": "two"}), "NameUsed")
    assert os.path.lexists(file)
    assert (dirs.backups / "d/a.json.manifest").exists()


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_foreign_file_is_listed(kind: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    UNUSABLE[kind][0](dirs.backups / "x.json")
    entries = assert_ok(api.get(ALL))["items"]
    expected = [] if kind == "directory" else [("x.json", "unusable", None)]
    assert [(one["path"], one["kind"], one["backup_id"]) for one in entries] == expected


@pytest.mark.parametrize("command", ["ln daily.json latest.json", "cp -al . ../../copy", "cp -al . ../copy"])
def test_backup_with_hard_links_is_present(command: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    folder = dirs.backups / "d"
    body = {"path": "d/daily.json", "request_id": "one"}
    created = assert_ok(api.post(BACKUP, json=body))
    subprocess.run(command.split(), cwd=folder, check=True)
    data = (folder / "daily.json").read_bytes()
    one = f"{ALL}/{created['backup_id']}"
    (entry,) = assert_ok(api.get(ALL, params={"path": "d/daily.json"}))["items"]
    assert (entry["kind"], entry["backup_id"]) == ("backup", created["backup_id"])
    assert "second hard link" in entry["problems"][0]["message"]
    assert assert_ok(api.get(one))["problems"] == entry["problems"]
    assert assert_ok(api.post(BACKUP, json=body))["replayed"]
    # The manifest proves the bytes, so the backup is as good as with one link.
    assert assert_ok(api.get(one))["level"] == "Verified"
    for restore in ({"backup_id": created["backup_id"], "dry_run": True}, {"input_file": "d/daily.json"}):
        assert assert_ok(api.post(RESTORE, json=restore))["restored_sha256"] == created["content_sha256"]
    assert assert_ok(api.post(f"{one}/verify"))["problems"] == []
    assert assert_ok(api.post(f"{ALL}/inspect", json={"path": "d/daily.json"}))["level"] == "Verified"
    assert api.get(f"{one}/content").content == data
    copies = [path for path in dirs.backups.parent.rglob("*.json") if path.read_bytes() == data]
    copies.remove(folder / "daily.json")
    assert assert_ok(api.delete(one))["existed"]
    assert not (folder / "daily.json").exists()
    assert not (folder / "daily.json.manifest").exists()
    assert not assert_ok(api.delete(one))["existed"]
    assert len(copies) == 2  # with the config
    for path in copies:
        assert path.read_bytes() == data


def test_file_with_hard_links_needs_the_digest_of_a_manifest(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    outside = dirs.config.with_name("outside.json")
    (dirs.backups / "a.json").replace(outside)
    text = outside.read_text()
    for name in ("a.json", "foreign.json"):
        (dirs.backups / name).hardlink_to(outside)
    (dirs.backups / "a.json.gz").hardlink_to(dirs.config)
    outside.write_text(text.replace("user-0", "user-9"))
    one = f"{ALL}/{created['backup_id']}"
    assert_error(api.get(f"{one}/content"), "BackupChanged")
    assert_error(api.post(RESTORE, json={"backup_id": created["backup_id"]}), "BackupCorrupt")
    assert assert_ok(api.post(f"{one}/verify"))["problems"][0]["code"] == "BackupCorrupt"
    for name in ("foreign.json", "a.json.gz"):
        assert_error(api.post(RESTORE, json={"input_file": name}), "BackupUnusable")
        assert_error(api.post(f"{ALL}/inspect", json={"path": name}), "BackupUnusable")


@pytest.mark.parametrize("what", ["file", "manifest", "folder"])
def test_missing_permission_is_not_absence(what: str, unprivileged: GatewayDirs, fork_server: ForkServer) -> None:
    dirs = unprivileged
    locked = dirs.backups / {"file": "d/a.json", "manifest": "d/a.json.manifest", "folder": "d"}[what]
    with fork_server.server(dirs.config, dirs.backups, dirs.key, user=UNPRIVILEGED_USER) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "d/a.json"}))
        locked.chmod(0)
        one = f"{ALL}/{created['backup_id']}"
        (entry,) = assert_ok(api.get(ALL))["items"]
        assert entry["problems"]
        if what == "file":
            assert entry["kind"] == "unusable"
            assert "permission" in assert_ok(api.get(one))["problems"][0]["message"]
            assert_error(api.delete(one), "BackupUnusable")
            assert_error(api.post(RESTORE, json={"backup_id": created["backup_id"]}), "BackupUnusable")
        else:
            assert_error(api.get(one), "VolumeUnavailable")
            assert_error(api.delete(one), "VolumeUnavailable")
        locked.chmod(0o700)
        assert assert_ok(api.delete(one))["existed"]


@pytest.mark.parametrize(("folder", "hides"), [("lost+found", False), ("private", True), ("d/lost+found", True)])
def test_folder_that_cannot_be_opened_hides_no_other_file(
    folder: str, hides: bool, dirs: GatewayDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dirs.backups / folder).mkdir(parents=True)
    shutil.copy(dirs.config, dirs.backups / "x.json")
    real = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == folder.rpartition("/")[2]:
            raise PermissionError(errno.EACCES, "no permission")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    settings = AdminSettings(config_file=dirs.config, backup_dir=dirs.backups)
    index = RepositoryIndex()
    for _ in range(2):
        items = list_page(settings, index, 100, None).page.items
        listed = [(one.path, one.kind) for one in items]
        assert listed == sorted([("x.json", "foreign"), *([(folder, "unusable")] if hides else [])])
    with pytest.raises(ApiError, match="VolumeUnavailable" if hides else "BackupNotFound"):
        read_backup_record(settings, index, "absent")


@contextmanager
def _mounted(backups: Path, folder: Path, *, writable: bool) -> Iterator[Path]:
    """The same directory, or a read-only mount of it."""
    if writable:
        yield backups
        return
    mount = folder / "mount"
    mount.mkdir()
    if subprocess.run(["mount", "--bind", backups, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("a read-only mount needs root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mount], check=True)
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("state_folder", [True, False], ids=["with state", "without state"])
@pytest.mark.parametrize("writable", [True, False], ids=["writable", "read-only"])
def test_copy_of_a_volume_can_be_shown_and_restored(
    state_folder: bool, writable: bool, dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "d/a.json.zst"}))
    saved = dirs.config.read_bytes()
    if not state_folder:
        shutil.rmtree(dirs.backups / ".gateway")
    with (
        _mounted(dirs.backups, tmp_path, writable=writable) as backups,
        fork_server.server(dirs.config, backups, dirs.key) as api,
    ):
        one = f"{ALL}/{created['backup_id']}"
        dirs.write(users=7)
        (entry,) = assert_ok(api.get(ALL))["items"]
        assert (entry["kind"], entry["problems"]) == ("backup", [])
        assert assert_ok(api.get(one)) == entry["record"]
        assert assert_ok(api.post(f"{ALL}/inspect", json={"path": "d/a.json.zst"}))["level"] == "Verified"
        assert api.get(f"{one}/content").status_code == 200
        source = {"backup_id": created["backup_id"]}
        assert assert_ok(api.post(RESTORE, json={**source, "dry_run": True}))["diff"]
        for fields in ({"input_file": "d/a.json.zst"}, {**source}, {**source, "request_id": "r"}):
            previous = dirs.write(users=8)
            done = assert_ok(api.post(RESTORE, json=fields))
            assert dirs.config.read_bytes() == saved
            if not writable:
                assert done["safety_backup"]["kind"] == "kept"
        assert_ok(api.post("/api/v1/system/restores/r/rollback"))
        assert dirs.config.read_bytes() == previous
