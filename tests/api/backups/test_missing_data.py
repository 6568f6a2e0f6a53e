"""Manifests whose data is gone move out of the way after a week, and back when the data is there again."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway_api.repository.index import RepositoryIndex
from tests.api.support.backup_files import build_manifest
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import UNPRIVILEGED_USER, GatewayDirs
from tests.api.support.responses import assert_error, assert_ok, wait_for_recovery

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"
BODY = {"path": "d/a.json", "request_id": "one", "record_name": "n/a"}


def _ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def _wait_a_week(backups: Path) -> None:
    """Moves the times in the note of the daily check eight days back."""
    note = backups / ".gateway/missing.json"
    since = json.loads(note.read_text())["since"]
    note.write_text(json.dumps({"checked": _ago(1.1), "since": dict.fromkeys(since, _ago(8))}))


def _lose(dirs: GatewayDirs, fork_server: ForkServer) -> tuple[dict[str, Any], bytes]:
    """A backup whose data was removed more than a week ago; returns its record and the removed bytes."""
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json=BODY))
        data = (dirs.backups / "d/a.json").read_bytes()
        (dirs.backups / "d/a.json").unlink()
        (dirs.backups / ".gateway/missing.json").unlink()
        assert_ok(api.post(BACKUP, json={"path": "d/other.json"}))
        assert (dirs.backups / "d/a.json.manifest").exists(), "moved before a week has passed"
        _wait_a_week(dirs.backups)
        assert_ok(api.post(BACKUP, json={"path": "d/another.json"}))
    assert not (dirs.backups / "d/a.json.manifest").exists()
    assert len(list((dirs.backups / ".gateway/missing").iterdir())) == 1
    return created, data


def test_request_and_deletion_of_missing_data_are_answered(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    created, _ = _lose(dirs, fork_server)
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_error(api.get(f"{ALL}/{created['backup_id']}"), "BackupNotFound")
        assert_error(api.post(BACKUP, json=BODY), "Deleted")
        assert_error(api.post(BACKUP, json={**BODY, "path": "x.json"}), "RequestIdReused")
        assert not assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]
        assert_ok(api.post(BACKUP, json={**BODY, "request_id": "two", "path": "d/new.json"}))


def test_manifest_expires_400_days_after_its_move(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    """Not after the backup was made: a backup of two years can lose its data for a week, too."""
    missing = dirs.backups / ".gateway/missing"
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json=BODY))
        (dirs.backups / "d/a.json").unlink()
        os.utime(dirs.backups / "d/a.json.manifest", (1.5e9, 1.5e9))
        for number in range(3):
            note = {"checked": _ago(1.1), "since": {"d/a.json": _ago(8)}}
            (dirs.backups / ".gateway/missing.json").write_text(json.dumps(note))
            assert_ok(api.post(BACKUP, json={"path": f"d/{number}.json"}))
            assert len(list(missing.iterdir())) == 1
        (manifest,) = missing.iterdir()
        os.utime(manifest, (1.5e9, 1.5e9))
        (dirs.backups / ".gateway/missing.json").unlink()
        assert_ok(api.post(BACKUP, json={"path": "d/last.json"}))
        assert list(missing.iterdir()) == []


RETURNS: dict[str, tuple[Callable[[Path, bytes], object], str | None]] = {
    "same file": (lambda file, data: file.write_bytes(data), "backup"),
    "gzipped": (lambda file, data: file.with_name("a.json.gz").write_bytes(gzip.compress(data)), "compressed"),
    "other content": (lambda file, data: file.write_bytes(data[:-1] + b"]"), None),
    "other size": (lambda file, data: file.write_bytes(b"{}"), None),
    "other name": (lambda file, data: file.with_name("b.json").write_bytes(data), None),
}


@pytest.mark.parametrize("how", RETURNS)
def test_manifest_returns_only_with_its_data(how: str, dirs: GatewayDirs, fork_server: ForkServer) -> None:
    created, data = _lose(dirs, fork_server)
    put, kind = RETURNS[how]
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "d/x.json"}))
        put(dirs.backups / "d/a.json", data)
        assert_ok(api.post(BACKUP, json={"path": "d/y.json"}))
        one = f"{ALL}/{created['backup_id']}"
        if kind is None:
            assert_error(api.get(one), "BackupNotFound")
            assert len(list((dirs.backups / ".gateway/missing").iterdir())) == 1
            return
        path = assert_ok(api.get(one))["path"]
        (entry,) = assert_ok(api.get(ALL, params={"path": path}))["items"]
        assert entry["kind"] == kind
        verified = assert_ok(api.post(f"{one}/verify"))
        assert (verified["signature"], verified["problems"]) == ("valid", [])
        assert assert_ok(api.post(BACKUP, json=BODY))["replayed"]
        assert not list((dirs.backups / ".gateway/missing").iterdir())
        assert assert_ok(api.delete(one))["existed"]


def test_many_dead_manifests_cost_a_listing_nothing(
    dirs: GatewayDirs, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dirs.backups / "cron"
    folder.mkdir()
    manifest = build_manifest(dirs.config.read_bytes())
    for number in range(2000):
        (folder / f"{number}.json.manifest").write_text(json.dumps(manifest | {"id": f"id-{number}"}))
        (folder / f"{number}.json.verification").write_text("{}")
    shutil.copy(dirs.config, folder / "kept.json")
    old = (datetime.now(UTC) - timedelta(days=8)).timestamp()
    os.utime(folder, (old, old))
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        wait_for_recovery(api)  # it moves the manifests
        assert [one["path"] for one in assert_ok(api.get(ALL))["items"]] == ["cron/kept.json"]
    assert [path.name for path in folder.iterdir()] == ["kept.json"]
    assert len(list((dirs.backups / ".gateway/missing").iterdir())) == 2000
    opened: list[object] = []
    real = os.open

    def counted(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened.append(path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", counted)
    root = real(dirs.backups, os.O_RDONLY | os.O_DIRECTORY)
    RepositoryIndex().refresh(root)
    os.close(root)
    assert opened == ["cron"]


@pytest.mark.parametrize("hidden", ["other", "d"])
def test_daily_check_waits_while_a_folder_cannot_be_read(
    hidden: str, unprivileged: GatewayDirs, fork_server: ForkServer
) -> None:
    dirs = unprivileged
    with fork_server.server(dirs.config, dirs.backups, dirs.key, user=UNPRIVILEGED_USER) as api:
        for path in ("d/a.json", "other/b.json"):
            assert_ok(api.post(BACKUP, json={"path": path}))
        (dirs.backups / "d/a.json").unlink()
        (dirs.backups / ".gateway/missing.json").write_text(
            json.dumps({"checked": _ago(1.1), "since": {"d/a.json": _ago(8)}})
        )
        (dirs.backups / hidden).chmod(0)
        assert_ok(api.post(BACKUP, json={"path": "first.json"}))
        (dirs.backups / hidden).chmod(0o700)
        assert (dirs.backups / "d/a.json.manifest").exists()
        assert_ok(api.post(BACKUP, json={"path": "second.json"}))
    assert not (dirs.backups / "d/a.json.manifest").exists()


@pytest.mark.parametrize(("days", "kept"), [(399, True), (401, False)])
def test_tombstones_and_restore_records_are_kept_for_400_days(
    days: int, kept: bool, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json=BODY))
        source = {"backup_id": created["backup_id"], "request_id": "r"}
        assert_ok(api.post("/api/v1/system/restore", json=source))
        assert_ok(api.post("/api/v1/system/restores/r/commit"))
        # The record leaves the journal when the next restore begins.
        assert_ok(api.post("/api/v1/system/restore", json={"backup_id": created["backup_id"]}))
        assert assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]
    state = dirs.backups / ".gateway"
    tombstone = state / "tombstones" / f"{created['backup_id']}.json"
    record = state / "requests" / "restore-r.json"
    assert datetime.fromisoformat(json.loads(tombstone.read_text())["deleted"]) <= datetime.now(UTC)
    for file in (tombstone, record):
        content = json.loads(file.read_text())
        if file is record:
            content["result"] |= {"started": _ago(days), "finished": _ago(days)}
        else:
            content["deleted"] = _ago(days)
        file.write_text(json.dumps(content))
    (state / "missing.json").write_text(json.dumps({"checked": _ago(1.1), "since": {}}))
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.get(ALL))
        # Startup recovery runs before the first answer of an operation.
        assert_ok(api.post(BACKUP, json={"path": "z.json"}))
        answer = api.post(BACKUP, json=BODY)
        if kept:
            assert_error(answer, "Deleted")
    assert (tombstone.exists(), record.exists()) == (kept, kept)
