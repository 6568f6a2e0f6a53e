"""Restores: they work over an invalid config, reject unusable files, and commit and rollback are durable."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest
import zstandard

from tests.api.support.admin_process import gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
URL = "/api/v1/system/restore"
ALL = "/api/v1/system/restores"


def _saved(api: httpx.Client, path: str = "good.json.zst") -> str:
    backup_id: str = assert_ok(api.post(BACKUP, json={"path": path}))["backup_id"]
    return backup_id


def test_restore_without_a_request_id_is_committed_at_once(api: httpx.Client, dirs: GatewayDirs) -> None:
    before = dirs.config.read_bytes()
    assert_ok(api.post(BACKUP, json={"output_file": str(dirs.backups / "a.json")}))
    dirs.write(users=5)
    done = assert_ok(api.post(URL, json={"input_file": str(dirs.backups / "a.json")}))
    assert done["state"] == "committed"
    assert done["safety_backup"]["kind"] == "backup"
    assert dirs.config.read_bytes() == before
    again = assert_ok(api.post(URL, json={"input_file": done["safety_backup"]["path"]}))
    assert again["counts"]["users"] == 5
    assert assert_ok(api.get(f"{ALL}/{done['request_id']}"))["state"] == "committed"


@pytest.mark.parametrize("kind", ["truncated", "empty", "missing", "wrong shape", "binary"])
def test_restore_over_an_invalid_config_accepts_the_last_valid_key(
    kind: str, api: httpx.Client, dirs: GatewayDirs
) -> None:
    good = dirs.config.read_bytes()
    backup_id = _saved(api)
    invalid = {
        "truncated": good[: len(good) // 2],
        "empty": b"",
        "wrong shape": b'{"users": 5}',
        "binary": b"\x00\xff" * 99,
    }
    if kind == "missing":
        dirs.config.unlink()
    else:
        dirs.config.write_bytes(invalid[kind])
    health = assert_ok(api.get("/api/v1/system/health"))
    assert health["status"] == "unhealthy"
    done = assert_ok(api.post(URL, json={"backup_id": backup_id, "request_id": "r"}))
    assert done["safety_backup"]["kind"] == ("missing" if kind == "missing" else "raw")
    assert dirs.config.read_bytes() == good
    pending = assert_ok(api.get("/api/v1/system/health"))["pending_restore"]
    # The restored config has the same key, so the commit ends none.
    assert pending == {"request_id": "r", "state": "applied", "key_ends_with_commit": False}
    assert_ok(api.post(f"{ALL}/r/rollback"))
    assert dirs.config.exists() == (kind != "missing")
    if kind != "missing":
        assert dirs.config.read_bytes() == invalid[kind]
        assert (dirs.backups / done["safety_backup"]["path"]).read_bytes() == invalid[kind]


def test_commit_ends_a_restore_and_is_repeatable(api: httpx.Client, dirs: GatewayDirs) -> None:
    backup_id = _saved(api)
    dirs.write(users=6)
    applied = assert_ok(api.post(URL, json={"backup_id": backup_id, "request_id": "r"}))
    assert applied["state"] == "applied"
    assert assert_ok(api.post(URL, json={"backup_id": backup_id, "request_id": "r"}))["replayed"]
    assert_error(api.post(URL, json={"backup_id": backup_id, "request_id": "other"}), "RestorePending")
    assert assert_ok(api.post(f"{ALL}/r/commit"))["state"] == "committed"
    assert assert_ok(api.post(f"{ALL}/r/commit"))["replayed"]
    assert_error(api.post(f"{ALL}/r/rollback"), "RestoreEnded")
    replayed = assert_ok(api.post(URL, json={"backup_id": backup_id, "request_id": "r"}))
    assert (replayed["state"], replayed["replayed"]) == ("committed", True)
    assert_error(
        api.post(URL, json={"backup_id": backup_id, "request_id": "r", "allow_issues": True}), "RequestIdReused"
    )
    assert not [name for name in dirs.state.iterdir() if name.name.startswith(("previous-", "staged-"))]


def test_rollback_restores_the_previous_config_and_is_repeatable(api: httpx.Client, dirs: GatewayDirs) -> None:
    backup_id = _saved(api)
    before = dirs.write(users=6)
    assert_ok(api.post(URL, json={"backup_id": backup_id, "request_id": "r"}))
    assert assert_ok(api.post(f"{ALL}/r/rollback"))["state"] == "rolled_back"
    assert dirs.config.read_bytes() == before
    assert assert_ok(api.post(f"{ALL}/r/rollback"))["replayed"]
    assert_error(api.post(f"{ALL}/r/commit"), "RestoreEnded")
    assert assert_ok(api.get(f"{ALL}/r"))["state"] == "rolled_back"


def test_rollback_over_a_changed_config_needs_force(api: httpx.Client, dirs: GatewayDirs) -> None:
    backup_id = _saved(api)
    before = dirs.write(users=6)
    assert_ok(api.post(URL, json={"backup_id": backup_id, "request_id": "r"}))
    dirs.write(users=11)
    assert_error(api.post(f"{ALL}/r/rollback"), "ConfigChanged")
    assert_ok(api.post(f"{ALL}/r/rollback", json={"force": True}))
    assert dirs.config.read_bytes() == before


def test_supersede_commits_the_previous_restore(api: httpx.Client, dirs: GatewayDirs) -> None:
    backup_id = _saved(api)
    assert_ok(api.post(URL, json={"backup_id": backup_id, "request_id": "one"}))
    assert_ok(api.post(URL, json={"backup_id": backup_id, "request_id": "two", "supersede": True}))
    assert assert_ok(api.get(f"{ALL}/one"))["state"] == "committed"
    assert assert_ok(api.get(f"{ALL}/two"))["state"] == "applied"


def test_unknown_restore_is_not_found(api: httpx.Client) -> None:
    for answer in (api.get(f"{ALL}/x"), api.post(f"{ALL}/x/commit"), api.post(f"{ALL}/x/rollback")):
        assert_error(answer, "RestoreNotFound")
    assert_error(api.post(URL, json={"backup_id": "none"}), "BackupNotFound")
    assert_error(api.post(URL, json={"input_file": "none/here.json"}), "BackupNotFound")


def _foreign(config: dict[str, Any]) -> dict[str, bytes]:
    plain = json.dumps(config).encode()
    envelope = json.dumps({"backup_version": "1.0", "timestamp": "2026-01-01", "config": config}, indent=2).encode()
    return {
        "plain.json": plain,
        "envelope.json": envelope,
        "envelope.json.gz": gzip.compress(envelope),
        "plain.json.zst": zstandard.compress(plain),
    }


@pytest.mark.parametrize("name", ["plain.json", "envelope.json", "envelope.json.gz", "plain.json.zst"])
def test_foreign_files_are_accepted_by_content(name: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    config = gateway_config(dirs.key, users=12)
    (dirs.backups / name).write_bytes(_foreign(config)[name])
    done = assert_ok(api.post(URL, json={"input_file": name}))
    assert done["counts"]["users"] == 12
    assert json.loads(dirs.config.read_bytes()) == config


BAD: dict[str, Any] = {
    "not json": b"{",
    "not utf-8": b'{"a": "\xff"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "empty": b"",
    "a list": b"[]",
    "string envelope": b'{"backup_version": "1.0", "config": "common_mcp_gateway_config projects users apikeys"}',
    "null envelope": b'{"backup_version": "1.0", "config": null}',
    "deep": b"[" * 200_000,
    "huge number": b'{"n": ' + b"9" * 6000 + b"}",
    "infinity": b'{"n": 1e999}',
}


@pytest.mark.parametrize("name", BAD)
def test_config_the_gateway_cannot_load_is_rejected_without_change(
    name: str, api: httpx.Client, dirs: GatewayDirs
) -> None:
    before = dirs.config.read_bytes()
    (dirs.backups / "bad.json").write_bytes(BAD[name])
    assert_error(api.post(URL, json={"input_file": "bad.json"}), "BackupInvalid")
    assert dirs.config.read_bytes() == before
    assert not (dirs.backups / "safety").exists()


@pytest.mark.parametrize("change", ["no users", "null users", "duplicate", "nan"])
def test_config_of_the_wrong_shape_is_rejected(change: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    config = gateway_config(dirs.key)
    if change == "no users":
        del config["users"]
    elif change == "null users":
        config["users"] = None
    text = json.dumps(config)
    if change == "duplicate":
        text = text[:-1] + ', "users": {}}'
    elif change == "nan":
        text = text[:-1] + ', "_doc": NaN}'
    (dirs.backups / "bad.json").write_text(text)
    # A missing section is an issue, because the gateway treats it as empty.
    expected = "BackupHasIssues" if change == "no users" else "BackupInvalid"
    assert_error(api.post(URL, json={"input_file": "bad.json"}), expected)


def test_config_with_a_remote_provider_may_omit_the_sections(api: httpx.Client, dirs: GatewayDirs) -> None:
    config = gateway_config(dirs.key)
    config["plugins"]["auth"]["provider"] = "enkrypt"
    for section in ("mcp_configs", "projects", "users", "apikeys"):
        del config[section]
    (dirs.backups / "remote.json").write_text(json.dumps(config))
    assert_ok(api.post(URL, json={"input_file": "remote.json"}))
    assert assert_ok(api.get("/api/v1/system/health"))["status"] == "healthy"
    assert_ok(api.post(BACKUP, json={"path": "again.json"}))


def test_new_dangling_references_need_allow_issues(api: httpx.Client, dirs: GatewayDirs) -> None:
    config = gateway_config(dirs.key)
    config["projects"]["p-0"]["mcp_config_id"] = "gone"
    (dirs.backups / "dangling.json").write_text(json.dumps(config))
    assert_error(api.post(URL, json={"input_file": "dangling.json"}), "BackupHasIssues")
    assert_ok(api.post(URL, json={"input_file": "dangling.json", "allow_issues": True}))
    assert assert_ok(api.get("/api/v1/system/health"))["status"] == "degraded"
    assert_ok(api.post(URL, json={"input_file": "dangling.json"}))


def test_decompression_bombs_are_rejected(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, max_config_bytes=100_000) as api:
        (dirs.backups / "b.json.gz").write_bytes(gzip.compress(b" " * 50_000_000))
        (dirs.backups / "b.json.zst").write_bytes(zstandard.compress(b" " * 50_000_000))
        (dirs.backups / "b.json").write_bytes(b" " * 200_000)
        for name in ("b.json.gz", "b.json.zst", "b.json"):
            assert_error(api.post(URL, json={"input_file": name}), "BackupTooLarge")


def test_corrupt_or_unexpected_backup_is_rejected(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json.zst"}))
    for digest in (created["stored_sha256"], created["content_sha256"]):
        assert_ok(api.post(URL, json={"backup_id": created["backup_id"], "expected_sha256": digest}))
    assert_error(api.post(URL, json={"backup_id": created["backup_id"], "expected_sha256": "0" * 64}), "DigestMismatch")
    data = bytearray((dirs.backups / "a.json.zst").read_bytes())
    data[len(data) // 2] ^= 1
    (dirs.backups / "a.json.zst").write_bytes(data)
    assert_error(api.post(URL, json={"backup_id": created["backup_id"]}), "BackupCorrupt")


def test_live_config_keeps_its_mode_without_permissions_for_others(api: httpx.Client, dirs: GatewayDirs) -> None:
    backup_id = _saved(api)
    dirs.config.chmod(0o664)
    assert_ok(api.post(URL, json={"backup_id": backup_id}))
    assert dirs.config.stat().st_mode & 0o777 == 0o660
    dirs.config.unlink()
    assert_ok(api.post(URL, json={"backup_id": backup_id}))
    assert dirs.config.stat().st_mode & 0o777 == 0o600


def test_config_that_is_a_symlink_is_not_replaced(api: httpx.Client, dirs: GatewayDirs) -> None:
    backup_id = _saved(api)
    real = dirs.config.with_name("real.json")
    dirs.config.rename(real)
    dirs.config.symlink_to(real)
    assert_error(api.post(URL, json={"backup_id": backup_id}), "ConfigNotReplaceable")
    assert dirs.config.is_symlink()
