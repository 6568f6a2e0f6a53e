"""A full volume and a read-only volume: declared errors, nothing lost, and restores still work."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway_api.audit import verify
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import mount_tmpfs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
SIZE = 4 * 1024 * 1024


@pytest.fixture
def volume(dirs: GatewayDirs) -> Iterator[Path]:
    """The backup directory, on a tmpfs of 4 MiB."""
    with mount_tmpfs(dirs.backups, SIZE):
        yield dirs.backups


def _fill(volume: Path) -> Path:
    ballast = volume / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


def test_full_volume_fails_backups_but_allows_restore_and_delete(
    volume: Path, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        saved = dirs.config.read_bytes()
        created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        spare = assert_ok(api.post(BACKUP, json={"path": "spare.json"}))
        ballast = _fill(volume)
        before = dirs.write(users=5)
        assert_error(api.post(BACKUP, json={"path": "b.json"}), "VolumeFull")
        assert not (volume / "b.json").exists()
        assert_error(api.get("/ready"), "NotReady")
        assert assert_ok(api.get("/api/v1/system/health"))["status"] == "degraded"
        request = {"backup_id": created["backup_id"], "request_id": "r"}
        assert_error(api.post("/api/v1/system/restore", json={**request, "safety_backup": "required"}), "VolumeFull")
        assert dirs.config.read_bytes() == before
        done = assert_ok(api.post("/api/v1/system/restore", json=request))
        assert done["safety_backup"]["kind"] == "kept"
        assert dirs.config.read_bytes() == saved
        assert assert_ok(api.post("/api/v1/system/restores/r/commit"))["state"] == "committed"
        assert assert_ok(api.get("/api/v1/system/restores/r"))["state"] == "committed"
        assert assert_ok(api.delete(f"/api/v1/system/backups/{spare['backup_id']}"))["existed"]
        ballast.unlink()
        assert_ok(api.post(BACKUP, json={"path": "c.json"}))
        assert (volume / ".gateway" / "requests" / "restore-r.json").exists()
        assert (volume / ".gateway" / "reserve").stat().st_size == 1024 * 1024
        assert not list((dirs.state / "requests").iterdir())
        assert verify.verify_audit_log(volume, dirs.config.parent)[0]
        assert not (dirs.state / "audit_gap").exists()


def _break_verified_file(volume: Path, api: httpx.Client) -> str:
    """Creates a backup, verifies it and damages its file; returns the backup's URL."""
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    url = f"/api/v1/system/backups/{created['backup_id']}"
    assert assert_ok(api.post(f"{url}/verify"))["level"] == "Verified"
    with (volume / "a.json").open("r+b") as file:
        file.write(b"[")
    return url


def test_full_volume_still_records_a_failed_verification(
    volume: Path, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        url = _break_verified_file(volume, api)
        _fill(volume)
        result = assert_ok(api.post(f"{url}/verify"))
        assert (result["level"], result["recorded"]) == (None, True)
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert assert_ok(api.get(url))["level"] is None


def test_read_only_volume_keeps_a_failed_verification_in_memory(
    volume: Path, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        url = _break_verified_file(volume, api)
        subprocess.run(["mount", "-o", "remount,ro", str(volume)], check=True, timeout=60)
        result = assert_ok(api.post(f"{url}/verify"))
        assert (result["level"], result["recorded"]) == (None, False)
        (entry,) = assert_ok(api.get("/api/v1/system/backups"))["items"]
        assert entry["record"]["level"] is None
        subprocess.run(["mount", "-o", "remount,rw", str(volume)], check=True, timeout=60)
        assert assert_ok(api.post(f"{url}/verify"))["recorded"]
        assert assert_ok(api.get(url))["level"] is None


def test_read_only_volume_fails_backups_but_allows_restore(
    volume: Path, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        saved = dirs.config.read_bytes()
        created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        subprocess.run(["mount", "-o", "remount,ro", str(volume)], check=True)
        dirs.write(users=5)
        assert_error(api.post(BACKUP, json={"path": "b.json"}), "VolumeUnavailable")
        assert_error(api.delete(f"/api/v1/system/backups/{created['backup_id']}"), "VolumeUnavailable")
        assert "read-only" in assert_error(api.get("/ready"), "NotReady")
        done = assert_ok(api.post("/api/v1/system/restore", json={"backup_id": created["backup_id"]}))
        assert (done["safety_backup"]["kind"], done["state"]) == ("kept", "committed")
        assert dirs.config.read_bytes() == saved
        assert assert_ok(api.get(f"/api/v1/system/restores/{done['request_id']}"))["state"] == "committed"


def test_config_that_is_a_mount_point_is_not_replaced(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    other = dirs.config.with_name("other.json")
    other.write_bytes(dirs.config.read_bytes())
    mounted = subprocess.run(["mount", "--bind", str(other), str(dirs.config)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("a mounted file needs root and the permission to mount: run as root")
    try:
        with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
            created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
            detail = assert_error(
                api.post("/api/v1/system/restore", json={"backup_id": created["backup_id"]}), "ConfigNotReplaceable"
            )
            assert "mount its directory" in detail
            assert "mount its directory" in assert_error(api.get("/ready"), "NotReady")
    finally:
        subprocess.run(["umount", "-l", str(dirs.config)], check=True)
