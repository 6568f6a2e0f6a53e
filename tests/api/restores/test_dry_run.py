"""A dry run makes the same checks as a restore or reset and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.api.support.admin_process import gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
URL = "/api/v1/system/restore"
RESET = "/api/v1/system/reset"


def _all_files(dirs: GatewayDirs) -> dict[str, tuple[bytes, int]]:
    roots: tuple[Path, ...] = (dirs.config.parent, dirs.backups)
    files = [file for root in roots for file in root.rglob("*")]
    return {str(file): (file.read_bytes() if file.is_file() else b"", file.stat().st_mtime_ns) for file in files}


def test_dry_run_reports_the_difference_and_changes_nothing(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post("/api/v1/system/backup", json={"path": "a.json.zst"}))
    live = dirs.write(users=5)
    before = _all_files(dirs)
    plan = assert_ok(api.post(URL, json={"backup_id": created["backup_id"], "dry_run": True, "request_id": "r"}))
    assert plan["dry_run"] is True
    assert plan["diff"]["users"] == {
        "added": 0,
        "removed": 3,
        "changed": 0,
        "added_names": [],
        "removed_names": ["user-2@example.com", "user-3@example.com", "user-4@example.com"],
        "changed_names": [],
    }
    assert not plan["diff"]["admin_key_changes"]
    assert plan["restored_sha256"] == created["content_sha256"]
    health = assert_ok(api.get("/api/v1/system/health"))
    assert (plan["source_gateway_id"], plan["key_remains_accepted"]) == (health["gateway_id"], True)
    assert _all_files(dirs) == before
    assert dirs.config.read_bytes() == live
    assert assert_ok(api.post(URL, json={"backup_id": created["backup_id"], "request_id": "r"}))["state"] == "applied"
    assert_error(api.post(URL, json={"backup_id": created["backup_id"], "dry_run": True}), "RestorePending")
    assert assert_ok(api.post(URL, json={"backup_id": created["backup_id"], "dry_run": True, "supersede": True}))[
        "dry_run"
    ]


@pytest.mark.parametrize("invalid", [None, b"{"])
def test_dry_run_against_an_invalid_config_reports_all_as_added(
    invalid: bytes | None, api: httpx.Client, dirs: GatewayDirs
) -> None:
    created = assert_ok(api.post("/api/v1/system/backup", json={"path": "a.json"}))
    if invalid is None:
        dirs.config.unlink()
    else:
        dirs.config.write_bytes(invalid)
    plan = assert_ok(api.post(URL, json={"backup_id": created["backup_id"], "dry_run": True}))
    assert (plan["compared_with"], plan["diff"]["users"]["added"]) == ("nothing", 2)


def test_dry_run_rejects_what_a_restore_rejects(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_error(api.post(URL, json={"input_file": "none.json", "dry_run": True}), "BackupNotFound")
    (dirs.backups / "bad.json").write_text("{")
    assert_error(api.post(URL, json={"input_file": "bad.json", "dry_run": True}), "BackupInvalid")
    config = gateway_config("another-key-" + "x" * 40)
    config["projects"]["p-0"]["mcp_config_id"] = "gone"
    (dirs.backups / "dangling.json").write_text(json.dumps(config))
    assert_error(api.post(URL, json={"input_file": "dangling.json", "dry_run": True}), "BackupHasIssues")
    answer = api.post(URL, json={"input_file": "dangling.json", "dry_run": True, "allow_issues": True})
    assert assert_ok(answer)["diff"]["admin_key_changes"]
    assert config["admin_apikey"] not in answer.text
    assert dirs.key not in answer.text


@pytest.mark.parametrize("rotate", [False, True])
def test_dry_run_of_a_reset_changes_nothing(rotate: bool, api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post("/api/v1/system/backup", json={"path": "a.json.zst"}))
    before = _all_files(dirs)
    answer = api.post(RESET, json={"confirm": True, "rotate_admin_key": rotate, "dry_run": True})
    plan = assert_ok(answer)
    assert (plan["operation"], plan["source_path"], plan["diff"]["users"]["removed"]) == ("reset", "", 2)
    # The caller's key is that of the config: after a rotation nobody but the gateway's owner knows the new one.
    assert (plan["diff"]["admin_key_changes"], plan["key_remains_accepted"]) == (rotate, not rotate)
    assert dirs.key not in answer.text
    assert _all_files(dirs) == before
    assert_error(api.post(RESET, json={"dry_run": True}), "ResetNotConfirmed")


@pytest.mark.parametrize(("caller", "remains"), [("config", False), ("key file", True)])
def test_dry_run_tells_whether_the_callers_key_is_accepted_afterwards(
    caller: str, remains: bool, dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path
) -> None:
    file_key = "f" * 40
    key_file = tmp_path / "admin-key"
    key_file.write_text(f"{file_key}\n")
    (dirs.backups / "other.json").write_text(json.dumps(gateway_config("another-key-" + "x" * 40)))
    key = dirs.key if caller == "config" else file_key
    with fork_server.server(dirs.config, dirs.backups, key, admin_key_file=str(key_file)) as api:
        for url, body in ((URL, {"input_file": "other.json"}), (RESET, {"confirm": True, "rotate_admin_key": True})):
            plan = assert_ok(api.post(url, json={**body, "dry_run": True}))
            assert plan["key_remains_accepted"] is remains
