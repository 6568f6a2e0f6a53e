"""`/ready` reports everything that would make a backup or a restore fail, on real volumes with real permissions."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import UNPRIVILEGED_USER, GatewayDirs
from tests.api.support.requirements import mount_tmpfs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
SYSTEM = "/api/v1/system"


@contextmanager
def _owned_by_root(path: Path, mode: int) -> Iterator[None]:
    before = path.stat()
    os.chown(path, 0, 0)
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before.st_mode & 0o7777)
        os.chown(path, before.st_uid, before.st_gid)


def test_not_ready_while_root_owns_a_folder_or_file_that_operations_write(
    unprivileged: GatewayDirs, fork_server: ForkServer
) -> None:
    dirs = unprivileged
    config = dirs.config.parent
    with fork_server.server(dirs.config, dirs.backups, dirs.key, user=UNPRIVILEGED_USER, ready_uncached=True) as api:
        created = assert_ok(api.post(f"{SYSTEM}/backup", json={"path": "a.json", "request_id": "a"}))
        assert_ok(api.post(f"{SYSTEM}/restore", json={"backup_id": created["backup_id"]}))
        assert_ok(api.delete(f"{SYSTEM}/backups/{created['backup_id']}"))
        assert_ok(api.get("/ready"))
        left = sorted(path.name for path in (*config.rglob("*"), *dirs.backups.rglob("*")) if "probe" in path.name)
        assert left == ["probe.lock", "probe.lock"]
        names = ("", ".gateway", ".gateway/lock", ".gateway/requests", ".gateway/pending", ".gateway/tombstones")
        paths = [(base, base / name) for base in (config, dirs.backups) for name in names if (base / name).exists()]
        assert len(paths) == 10
        for base, path in paths:
            for mode in (0o700, 0o755) if path.is_dir() else (0o600,):
                with _owned_by_root(path, mode):
                    detail = assert_error(api.get("/ready"), "NotReady")
                    # A config whose directory cannot be entered cannot be read either.
                    assert ("the backup volume" if base == dirs.backups else "the config") in detail, path
                assert_ok(api.get("/ready"))
                assert assert_ok(api.get(f"{SYSTEM}/health"))["status"] == "healthy"


@pytest.mark.parametrize("which", ["config", "backups"])
def test_no_free_inode_is_not_ready_and_fails_before_any_change(
    which: str, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    folder = dirs.backups if which == "backups" else dirs.config.parent
    content = dirs.config.read_bytes()
    dirs.config.unlink()
    with mount_tmpfs(folder, 16 << 20, inodes=60):
        dirs.config.write_bytes(content)
        with fork_server.server(dirs.config, dirs.backups, dirs.key, ready_uncached=True) as api:
            created = assert_ok(api.post(f"{SYSTEM}/backup", json={"path": "a.json"}))
            assert_ok(api.get("/ready"))
            _use_all_inodes(folder)
            before = sorted(dirs.backups.rglob("*"))
            assert "inodes" in assert_error(api.get("/ready"), "NotReady")
            if which == "config":
                request = {"backup_id": created["backup_id"], "request_id": "r"}
                assert_error(api.post(f"{SYSTEM}/restore", json=request), "VolumeFull")
                assert dirs.config.read_bytes() == content
                return
            health = assert_ok(api.get(f"{SYSTEM}/health"))
            assert health["volume"]["free_inodes"] == 0
            assert (health["status"], health["warnings"][0]["code"]) == ("degraded", "VolumeNearlyFull")
            assert_error(api.post(f"{SYSTEM}/backup", json={"path": "b.json"}), "VolumeFull")
            assert sorted(dirs.backups.rglob("*")) == before
            # The reserve gives the deletion its inode.
            assert assert_ok(api.delete(f"{SYSTEM}/backups/{created['backup_id']}"))["existed"]
            assert not (dirs.backups / "a.json").exists()


def _use_all_inodes(folder: Path) -> None:
    try:
        for number in range(1000):
            (folder / f"ballast-{number}").touch()
    except OSError:
        return


@pytest.mark.parametrize("which", ["config", "backups"])
def test_read_only_volume_is_not_ready(which: str, dirs: GatewayDirs, fork_server: ForkServer) -> None:
    folder = dirs.backups if which == "backups" else dirs.config.parent
    content = dirs.config.read_bytes()
    dirs.config.unlink()
    with mount_tmpfs(folder, 16 << 20):
        dirs.config.write_bytes(content)
        with fork_server.server(dirs.config, dirs.backups, dirs.key, ready_uncached=True) as api:
            assert_ok(api.get("/ready"))
            _remount_read_only(folder)
            assert "read-only" in assert_error(api.get("/ready"), "NotReady")
            subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True, timeout=60)
            assert_ok(api.get("/ready"))


def _remount_read_only(folder: Path) -> None:
    """Waits for the operation of the start: a volume with a file open for writing is busy."""
    end = time.monotonic() + 20
    while subprocess.run(["mount", "-o", "remount,ro", str(folder)], capture_output=True, check=False).returncode:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_readiness_does_not_wait_for_an_operation_and_no_operation_for_it(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(f"{SYSTEM}/backup", json={"path": "a.json"}))
    for state in (dirs.state, dirs.backups / ".gateway"):
        with (state / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert_ok(api.get("/ready"))
        with (state / "probe.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert_ok(api.post(f"{SYSTEM}/backup", json={"path": f"{state.parent.name}.json"}))


@pytest.mark.parametrize("content", [None, b"", b"short\n"])
def test_unusable_admin_key_file_is_a_health_warning(
    content: bytes | None, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    keys = dirs.backups.parent / "keys"
    if content is not None:
        keys.write_bytes(content)
    with fork_server.server(dirs.config, dirs.backups, dirs.key, admin_key_file=str(keys)) as api:
        health = assert_ok(api.get(f"{SYSTEM}/health"))
        assert (health["status"], [one["code"] for one in health["warnings"]]) == ("degraded", ["AdminKeyFileUnusable"])
        keys.write_text("k" * 40)
        assert assert_ok(api.get(f"{SYSTEM}/health"))["status"] == "healthy"


def test_unusable_signing_key_is_not_ready_and_a_health_warning(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    dirs.state.mkdir(mode=0o700)
    (dirs.state / "signing_key.pem").write_text("no key")
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert "signing key" in assert_error(api.get("/ready"), "NotReady")
        health = assert_ok(api.get(f"{SYSTEM}/health"))
        assert [warning["code"] for warning in health["warnings"]] == ["SigningKeyUnusable"]
        assert_error(api.post(f"{SYSTEM}/backup", json={"path": "a.json"}), "SigningKeyUnusable")
