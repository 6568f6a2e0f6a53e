"""The gateway writes its config during a restore: each config that was live stays in a file, and no answer is false."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.restores.test_only_copy import BACKUP, RESET, RESTORE, RESTORES, holds, previous_files
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api


def _once(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Runs ``act`` in a thread as soon as ``condition`` holds."""

    def watch() -> None:
        for _ in range(4000):
            if condition():
                act()
                return
            threading.Event().wait(0.0005)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def _write_by_rename(dirs: GatewayDirs, data: bytes) -> None:
    other = dirs.config.with_name("gateway.new")
    other.write_bytes(data)
    other.replace(dirs.config)


def _has(folder: Path, pattern: str) -> bool:
    return folder.exists() and next(folder.glob(pattern), None) is not None


@pytest.mark.parametrize("by_rename", [False, True], ids=["in place", "by rename"])
@pytest.mark.parametrize("moment", ["safety backup", "staged"])
def test_config_written_during_the_safety_backup_is_saved_as_well(
    moment: str, by_rename: bool, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, settle_seconds=0.2) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        dirs.write(users=7)
        newer = dirs.write(users=8)
        dirs.write(users=7)
        os.utime(dirs.config, (1.7e9, 1.7e9))
        write = (lambda: _write_by_rename(dirs, newer)) if by_rename else (lambda: dirs.config.write_bytes(newer))
        seen = (
            (lambda: _has(dirs.backups / "safety", "*"))
            if moment == "safety backup"
            else (lambda: _has(dirs.state, "staged-*") or _has(dirs.state, ".gateway-*"))
        )
        thread = _once(seen, write)
        answer = api.post(RESTORE, json={"input_file": "a.json"})
        thread.join()
        if answer.status_code == 200:
            assert assert_ok(answer)["state"] == "committed"
        else:
            assert answer.json()["code"] in ("ConfigUnstable", "ConfigChangedDuringRestore")
        assert holds(dirs, newer)


def test_restore_of_a_changing_config_is_no_success(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.004):
            number += 1
            _write_by_rename(dirs, dirs.config.read_bytes().rstrip() + b" " * (1 + number % 9))

    with fork_server.server(dirs.config, dirs.backups, dirs.key, settle_seconds=0.02) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        dirs.write(users=7)
        thread = threading.Thread(target=write)
        thread.start()
        try:
            answer = api.post(RESTORE, json={"input_file": "a.json"})
        finally:
            stop.set()
            thread.join()
        # Which of the two depends on the moment at which the writer is faster than the server.
        assert answer.json().get("code") in ("ConfigUnstable", "ConfigChangedDuringRestore")
        if answer.json()["code"] == "ConfigUnstable":
            assert b"user-6" in dirs.config.read_bytes()
        assert not list(dirs.state.glob("staged-*"))


def test_write_to_the_replaced_file_becomes_part_of_the_previous_config(
    dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    """The gateway has the config open for writing while it is replaced, and writes through that descriptor."""
    with fork_server.server(dirs.config, dirs.backups, dirs.key, settle_seconds=0.3) as api:
        saved = dirs.config.read_bytes()
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        newer = dirs.write(users=8)
        dirs.write(users=7)
        os.utime(dirs.config, (1.7e9, 1.7e9))
        with dirs.config.open("r+b", buffering=0) as file:
            thread = _once(lambda: dirs.config.read_bytes() == saved, lambda: (file.truncate(0), file.write(newer)))
            done = assert_ok(api.post(RESTORE, json={"input_file": "a.json", "request_id": "r"}))
            thread.join()
        assert holds(dirs, newer)
        assert done["safety_backup"]["kind"] == "backup"
        assert_ok(api.post(f"{RESTORES}/r/rollback"))
        assert dirs.config.read_bytes() == newer


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_torn_write_to_the_replaced_file_is_kept_and_not_activated(
    end: str, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        before = dirs.write(users=7)
        done = assert_ok(api.post(RESTORE, json={"input_file": "a.json", "request_id": "r"}))
        (kept,) = previous_files(dirs)
        torn = before[:200]
        kept.write_bytes(torn)
        ended = assert_ok(api.post(f"{RESTORES}/r/{end}"))
        assert ended["safety_backup"]["path"] == done["safety_backup"]["path"]
        if end == "rollback":
            assert dirs.config.read_bytes() == before
        assert holds(dirs, before)
        assert holds(dirs, torn)
        assert_ok(api.post(BACKUP, json={"path": "b.json"}))
        assert not previous_files(dirs)
        assert holds(dirs, torn)


@pytest.mark.parametrize("damage", ["torn", "removed", "empty"])
def test_rollback_without_an_intact_copy_is_impossible_and_changes_nothing(
    damage: str, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        dirs.write(users=7)
        done = assert_ok(api.post(RESTORE, json={"input_file": "a.json", "request_id": "r"}))
        live = dirs.config.read_bytes()
        (dirs.backups / done["safety_backup"]["path"]).unlink()
        (kept,) = previous_files(dirs)
        if damage == "removed":
            kept.unlink()
        else:
            kept.write_bytes(kept.read_bytes()[:200] if damage == "torn" else b"")
        for body in ({}, {"force": True}):
            assert_error(api.post(f"{RESTORES}/r/rollback", json=body), "RollbackImpossible")
        assert dirs.config.read_bytes() == live
        assert assert_ok(api.get(f"{RESTORES}/r"))["state"] == "applied"
        assert_ok(api.post(f"{RESTORES}/r/commit"))


def test_rollback_of_a_reformatted_config_needs_no_force(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    """The gateway writes the restored config again with another indentation."""
    import json

    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        before = dirs.write(users=7)
        assert_ok(api.post(RESTORE, json={"input_file": "a.json", "request_id": "r"}))
        reformatted = json.dumps(json.loads(dirs.config.read_bytes()), indent=7).encode()
        dirs.config.write_bytes(reformatted)
        assert_ok(api.post(f"{RESTORES}/r/rollback"))
        assert dirs.config.read_bytes() == before


def test_config_changed_after_a_restore_is_kept_by_a_forced_rollback(
    dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        dirs.write(users=7)
        assert_ok(api.post(RESTORE, json={"input_file": "a.json", "request_id": "r"}))
        changed = dirs.write(users=9)
        assert_error(api.post(f"{RESTORES}/r/rollback"), "ConfigChanged")
        assert_ok(api.post(f"{RESTORES}/r/rollback", json={"force": True}))
        for number in range(2):
            assert holds(dirs, changed)
            assert_ok(api.post(RESET, json={"confirm": True, "request_id": f"reset-{number}", "supersede": True}))
        assert not [file for file in previous_files(dirs) if file.read_bytes() == changed]
        assert holds(dirs, changed)
