"""The ids of gateway and volume survive lost files, copies without hidden files and cleanups by age."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_api.audit import verify
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
SYSTEM = "/api/v1/system"
DAY = 24 * 3600.0


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(b"")


def _garble(path: Path) -> None:
    path.write_bytes(b"\x00" * 33)


def _replace_by_a_loop(path: Path) -> None:
    """A file that cannot be opened, also not by root."""
    path.unlink()
    path.symlink_to(path.name)


LOSSES = (_remove, _truncate, _garble, _replace_by_a_loop)


def _backup(api: httpx.Client, name: str) -> dict[str, Any]:
    return assert_ok(api.post(f"{SYSTEM}/backup", json={"path": f"{name}.json", "request_id": name}))


def _health_with_ids(api: httpx.Client) -> dict[str, Any]:
    """The health once both ids are there. It only asks: no request changes anything."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        health = assert_ok(api.get(f"{SYSTEM}/health"))
        if health["volume_id"] and health["gateway_id"]:
            return health
        time.sleep(0.05)
    raise AssertionError("an id stays null")


def _ids(health: dict[str, Any]) -> tuple[str, str]:
    return health["gateway_id"], health["volume_id"]


@pytest.mark.parametrize("running", [False, True], ids=["at-start", "while-running"])
@pytest.mark.parametrize("kind", ["gateway_id", "volume_id"])
@pytest.mark.parametrize("lose", LOSSES)
def test_lost_id_is_taken_again_from_the_manifests_and_reported(
    lose: Callable[[Path], None], kind: str, running: bool, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    file = (dirs.state if kind == "gateway_id" else dirs.backups / ".gateway") / kind
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        first = _backup(api, "one")
        before = _health_with_ids(api)
        assert before["warnings"] == []
        if running:
            lose(file)
            after = _health_with_ids(api)
    if not running:
        lose(file)
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        if not running:
            after = _health_with_ids(api)
        assert _ids(after) == _ids(before)
        (warning,) = after["warnings"]
        assert (after["status"], warning["code"], warning["where"]) == ("degraded", "IdLost", kind)
        again = _backup(api, "one")
        assert (again["replayed"], again["backup_id"]) == (True, first["backup_id"])
    assert '"event":"id_recovered"' in (dirs.backups / ".gateway" / "audit.jsonl").read_text()
    assert verify.verify_audit_log(dirs.backups, dirs.config.parent)[0]


def test_copy_without_hidden_files_keeps_both_ids_and_repeats_nothing(
    dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        first = _backup(api, "one")
        before = _health_with_ids(api)
    (tmp_path / "new-config").mkdir()
    (tmp_path / "new-backups").mkdir()
    subprocess.run("cp -r config/* new-config/; cp -r backups/* new-backups/", shell=True, cwd=tmp_path, check=True)
    with fork_server.server(tmp_path / "new-config" / "config.json", tmp_path / "new-backups", dirs.key) as api:
        after = _health_with_ids(api)
        assert _ids(after) == _ids(before)
        assert {warning["where"] for warning in after["warnings"]} == {"gateway_id", "volume_id"}
        again = _backup(api, "one")
        assert (again["replayed"], again["backup_id"]) == (True, first["backup_id"])


def test_tie_gives_a_new_id_and_a_warning(dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
            _backup(api, name)
            ids.add(_health_with_ids(api)["volume_id"])
        dirs.backups.rename(tmp_path / name)
        dirs.backups.mkdir()
    for name in ("one", "two"):
        shutil.copytree(tmp_path / name, dirs.backups, dirs_exist_ok=True, ignore=lambda *_: [".gateway"])
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        health = _health_with_ids(api)
        assert health["volume_id"] not in ids
        assert [warning["where"] for warning in health["warnings"]] == ["volume_id"]
        assert "it is new" in health["warnings"][0]["message"]
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert _health_with_ids(api)["volume_id"] == health["volume_id"], "a new id is chosen once"


def test_new_volume_gets_its_ids_without_a_warning(api: httpx.Client) -> None:
    health = _health_with_ids(api)
    assert (health["status"], health["warnings"]) == ("healthy", [])


def _age(folder: Path, days: float) -> None:
    old = time.time() - days * DAY
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (old, old), follow_symlinks=False)


def _state(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / ".gateway").rglob("*")
        if path.is_file() and path.name not in ("lock", "probe.lock", "reserve", "audit.jsonl")
    }


def test_cleanup_by_age_harms_nothing_that_cannot_be_rebuilt(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        _backup(api, "kept")
        _backup(api, "deleted")
        created = _backup(api, "young")
        before = _health_with_ids(api)
        assert_ok(api.post(f"{SYSTEM}/restore", json={"backup_id": created["backup_id"], "request_id": "r"}))
        assert_ok(api.post(f"{SYSTEM}/restores/r/commit"))
        deleted = assert_ok(api.get(f"{SYSTEM}/backups", params={"path": "deleted.json"}))["items"][0]["record"]
        assert_ok(api.delete(f"{SYSTEM}/backups/{deleted['backup_id']}"))
    # The server has been up for months: its files are old, and it renews their times at its next check.
    _age(dirs.backups, 40)
    for name in ("young.json", *(path.name for path in dirs.backups.glob("young.json.*"))):
        os.utime(dirs.backups / name)
    state = _state(dirs.backups)
    lines = (dirs.backups / ".gateway" / "audit.jsonl").read_bytes()
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        _wait_until_renewed(dirs.backups / ".gateway" / "volume_id")
        subprocess.run(["find", str(dirs.backups), "-type", "f", "-mtime", "+30", "-delete"], check=True)
        assert not (dirs.backups / "kept.json").exists(), "the user's own cleanup still works on backups"
        assert (dirs.backups / ".gateway" / "lock").exists()
        assert _state(dirs.backups) == state
        assert (dirs.backups / ".gateway" / "audit.jsonl").read_bytes().startswith(lines)
        after = _health_with_ids(api)
        assert (_ids(after), after["warnings"]) == (_ids(before), [])
        assert _backup(api, "young")["replayed"]
        assert_error(api.post(f"{SYSTEM}/backup", json={"path": "deleted.json", "request_id": "deleted"}), "Deleted")
        assert assert_ok(api.get(f"{SYSTEM}/restores/r"))["state"] == "committed"


def _wait_until_renewed(file: Path) -> None:
    end = time.monotonic() + 20
    while file.stat().st_mtime < time.time() - DAY:
        assert time.monotonic() < end, "the modification time is not renewed"
        time.sleep(0.05)


@pytest.mark.parametrize("obstacle", ["absent", "state folder is a file"])
def test_volume_unusable_at_the_start_gets_its_id_without_an_operation(
    obstacle: str, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    if obstacle == "absent":
        dirs.backups.rmdir()
    else:
        (dirs.backups / ".gateway").write_text("")
    with fork_server.server(dirs.config, dirs.backups, dirs.key, ready_uncached=True) as api:
        assert_error(api.get("/ready"), "NotReady")
        assert assert_ok(api.get(f"{SYSTEM}/health"))["volume_id"] is None
        if obstacle == "absent":
            dirs.backups.mkdir()
        else:
            (dirs.backups / ".gateway").unlink()
        # Nobody asks for anything; the server tries again by itself.
        end = time.monotonic() + 20
        while not (dirs.backups / ".gateway" / "volume_id").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert _health_with_ids(api)["status"] == "healthy"
        assert_ok(api.get("/ready"))
