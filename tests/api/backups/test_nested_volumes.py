"""A backup directory inside another one belongs to its own server: no operation of the outer one reaches into it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway_api.http import server
from tests.api.support.command import run_command
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


def _state(folder: Path) -> dict[Path, tuple[int, ...]]:
    """The metadata that a write would change. A listing by this test may change the access times."""
    infos = {path: path.stat() for path in folder.rglob("*")}
    return {
        path: (info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        for path, info in infos.items()
    }


def test_no_operation_reaches_into_a_nested_backup_directory(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    inner = dirs.backups / "team" / "b"
    inner.mkdir(parents=True)
    with fork_server.server(dirs.config, inner, dirs.key) as api:
        other = assert_ok(api.post(BACKUP, json={"path": "d/a.json"}))
    left_over = inner / "d" / ".gateway-0123456789abcdef.tmp"
    left_over.write_bytes(b"")
    before = _state(inner)
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "team/own.json"}))
        assert [one["path"] for one in assert_ok(api.get(ALL))["items"]] == ["team/own.json"]
        one = f"{ALL}/{other['backup_id']}"
        assert_error(api.get(one), "BackupNotFound")
        assert_error(api.get(f"{one}/content"), "BackupNotFound")
        assert_error(api.post(f"{one}/verify"), "BackupNotFound")
        assert not assert_ok(api.delete(one))["existed"]
        for path in ("team/b/d/a.json", "team/b/new.json", "team/b/.gateway/x", "team/b/new/x.json"):
            for answer in (
                api.post(BACKUP, json={"path": path, "overwrite": True}),
                api.post(BACKUP, json={"output_file": f"{dirs.backups}/{path}"}),
                api.post("/api/v1/system/restore", json={"input_file": path}),
            ):
                assert_error(answer, "PathNotAllowed")
        assert_error(api.post(f"{ALL}/inspect", json={"path": "team/b/d/a.json"}), "BackupNotFound")
        assert assert_ok(api.get(ALL, params={"path": "team/b/d/a.json"}))["items"] == []
    assert _state(inner) == before


def test_folder_becomes_a_backup_directory_of_its_own(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "b/a.json"}))
    (dirs.backups / "b" / ".gateway").mkdir()
    assert len(assert_ok(api.get(ALL))["items"]) == 1
    (dirs.backups / "b" / ".gateway" / "volume_id").write_text("1" * 32 + "\n")
    assert assert_ok(api.get(ALL))["items"] == []
    assert not assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]
    assert (dirs.backups / "b" / "a.json").exists()


@pytest.mark.parametrize("below", ["inner", "deep/er/inner", "link"])
def test_start_inside_another_backup_directory_is_refused(
    below: str, dirs: GatewayDirs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dirs.backups / ".gateway").mkdir()
    (dirs.backups / ".gateway" / "volume_id").write_text("1" * 32 + "\n")
    inner = dirs.backups / below if below != "link" else tmp_path / "link"
    if below == "link":
        (dirs.backups / "linked").mkdir()
        inner.symlink_to(dirs.backups / "linked")
    else:
        inner.mkdir(parents=True)
    monkeypatch.setattr(server, "run", lambda _: pytest.fail("the server was started"))
    result = run_command("serve", "--config", dirs.config, "--backups", inner)
    assert result.code == 2
    assert "is inside the backup directory" in result.stderr
    assert str(dirs.backups) in result.stderr
    assert not (inner / ".gateway").exists()
