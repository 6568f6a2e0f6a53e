"""A volume disappears under a running server and returns: declared errors, no crash, nothing lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway_api.audit import verify
from gateway_api.contract import ERRORS, ErrorCode
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_ok

pytestmark = pytest.mark.api
PREFIX = "/api/v1/system"


@contextmanager
def _moved(folder: Path) -> Iterator[None]:
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Leaves an empty directory, as if the volume were not mounted."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    folder.mkdir()
    try:
        yield
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=True)
        away.rename(folder)


@contextmanager
def _unmounted(folder: Path) -> Iterator[None]:
    """Unmounts lazily, as on a failing node: open files stay open, and the path shows the empty mount point."""
    kept = folder.with_name(f"{folder.name}-kept")
    kept.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(kept)], check=True)
    subprocess.run(["umount", "-l", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "--bind", str(kept), str(folder)], check=True)
        subprocess.run(["umount", "-l", str(kept)], check=True)


@pytest.fixture
def mounted(dirs: GatewayDirs) -> Iterator[GatewayDirs]:
    """Both directories, each on a tmpfs of its own; skips the test if mounting is not permitted."""
    content = dirs.config.read_bytes()
    dirs.config.unlink()  # otherwise this file would be visible once the volume is unmounted
    done: list[Path] = []
    try:
        for folder in (dirs.config.parent, dirs.backups):
            words = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
            if os.geteuid() or subprocess.run(words, capture_output=True, check=False).returncode:
                pytest.skip("a volume that is unmounted needs root and the permission to mount: run as root")
            done.append(folder)
        dirs.config.write_bytes(content)
        yield dirs
    finally:
        for folder in done:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _send_all(client: httpx.Client, backup_id: str) -> list[httpx.Response]:
    restore = {"backup_id": backup_id}
    return [
        client.post(f"{PREFIX}/backup", json={"path": "away.json.zst", "request_id": "away"}),
        client.get(f"{PREFIX}/backups"),
        client.get(f"{PREFIX}/backups/{backup_id}"),
        client.get(f"{PREFIX}/backups/{backup_id}/content"),
        client.post(f"{PREFIX}/backups/{backup_id}/verify"),
        client.post(f"{PREFIX}/restore", json={**restore, "dry_run": True}),
        client.post(f"{PREFIX}/restores/none/commit"),
        client.get(f"{PREFIX}/restores/none"),
        client.get(f"{PREFIX}/health"),
        client.get("/ready"),
        client.get("/metrics"),
    ]


def _check_declared(answers: list[httpx.Response]) -> None:
    for answer in answers:
        if answer.status_code not in (200, 206):
            code = ErrorCode(answer.json()["code"])
            assert code is not ErrorCode.InternalError, answer.request.url
            assert answer.status_code == ERRORS[code].status


def _check_outage(
    dirs: GatewayDirs, fork_server: ForkServer, folder: Path, make_unavailable: Callable[[Path], object]
) -> None:
    keys = dirs.backups.parent / "keys"
    keys.write_text(dirs.key)
    with fork_server.server(dirs.config, dirs.backups, dirs.key, admin_key_file=str(keys)) as client:
        content = dirs.config.read_bytes()
        created = assert_ok(client.post(f"{PREFIX}/backup", json={"path": "a.json.zst", "request_id": "a"}))
        with make_unavailable(folder):  # type: ignore[attr-defined]
            for _ in range(2):
                answers = _send_all(client, created["backup_id"])
                _check_declared(answers)
                assert client.get("/health").status_code == 200
            if folder == dirs.config.parent:
                assert answers[0].json()["code"] in ("ConfigMissing", "ConfigNotReplaceable", "VolumeUnavailable")
                assert answers[-3].json()["data"]["status"] == "unhealthy"
            else:
                assert answers[-3].json()["data"]["config_valid"]
        assert dirs.config.read_bytes() == content
        assert assert_ok(client.get(f"{PREFIX}/health"))["config_valid"]
        assert assert_ok(client.post(f"{PREFIX}/backup", json={"path": "a.json.zst", "request_id": "a"}))["replayed"]
        assert_ok(client.post(f"{PREFIX}/backup", json={"path": "back.json.zst"}))
        dirs.write(users=7)
        assert_ok(client.post(f"{PREFIX}/restore", json={"backup_id": created["backup_id"]}))
        assert dirs.config.read_bytes() == content
        assert verify.verify_audit_log(dirs.backups, dirs.config.parent)[0]


@pytest.mark.parametrize("which", ["config", "backups"])
@pytest.mark.parametrize("make_unavailable", [_moved, _emptied], ids=["moved", "emptied"])
def test_server_survives_a_directory_moved_away_and_back(
    make_unavailable: Callable[[Path], object], which: str, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    _check_outage(dirs, fork_server, dirs.backups if which == "backups" else dirs.config.parent, make_unavailable)


@pytest.mark.parametrize("which", ["config", "backups"])
def test_server_survives_a_lazy_unmount_and_remount(which: str, mounted: GatewayDirs, fork_server: ForkServer) -> None:
    _check_outage(mounted, fork_server, mounted.backups if which == "backups" else mounted.config.parent, _unmounted)
