"""Looking up a file of the backup directory by its path and inspecting its content."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

import httpx
import pyrage
import pytest

from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUPS = "/api/v1/system/backups"


def _inspect(api: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    return assert_ok(api.post(f"{BACKUPS}/inspect", json={"path": path, **body}))


def _find(api: httpx.Client, path: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = assert_ok(api.get(BACKUPS, params={"path": path}))["items"]
    return result


def test_file_is_looked_up_by_its_exact_path(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post("/api/v1/system/backup", json={"path": "daily/a.json.zst"}))
        assert_ok(api.post("/api/v1/system/backup", json={"path": "daily/a.json.zst.json"}))
        (result,) = _find(api, "daily/a.json.zst")
        assert (result["kind"], result["backup_id"]) == ("backup", created["backup_id"])
        assert result["record"]["content_sha256"] == created["content_sha256"]
        for absent in ("daily", "daily/b.json", "daily/a.json.zst/x", "other/a.json.zst"):
            assert _find(api, absent) == []
            assert_error(api.post(f"{BACKUPS}/inspect", json={"path": absent}), "BackupNotFound")
        for forbidden in ("../config/config.json", "/etc/passwd", ".gateway/lock", "daily/a.json.zst.manifest"):
            assert_error(api.get(BACKUPS, params={"path": forbidden}), "PathNotAllowed")
            assert_error(api.post(f"{BACKUPS}/inspect", json={"path": forbidden}), "PathNotAllowed")


def test_inspection_reports_the_content_of_own_and_foreign_files(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post("/api/v1/system/backup", json={"path": "ours.json.zst"}))
        health = assert_ok(api.get("/api/v1/system/health"))
        plain = dirs.config.read_bytes()
        (dirs.backups / "theirs.json.gz").write_bytes(gzip.compress(plain))
        envelope = {"backup_version": "1.0", "timestamp": "x", "config": json.loads(plain)}
        (dirs.backups / "envelope.json").write_text(json.dumps(envelope))
        for name, kind in (("ours.json.zst", "backup"), ("theirs.json.gz", "foreign"), ("envelope.json", "foreign")):
            result, stored = _inspect(api, name), (dirs.backups / name).read_bytes()
            assert (result["kind"], result["level"], result["problems"]) == (kind, "Verified", [])
            assert result["stored_sha256"] == hashlib.sha256(stored).hexdigest()
            assert result["stored_bytes"] == len(stored)
            assert result["counts"] == created["counts"]
            assert (result["volume_id"], result["gateway_id"]) == (health["volume_id"], health["gateway_id"])
        assert _inspect(api, "theirs.json.gz")["content_sha256"] == created["content_sha256"]
        assert not list(dirs.backups.glob("*.verification"))


def test_inspection_reports_problems_and_no_key(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post("/api/v1/system/backup", json={"path": "changed.json"}))
        file = dirs.backups / "changed.json"
        file.write_bytes(file.read_bytes().replace(b"user-0@", b"user-9@"))
        (dirs.backups / "torn.json").write_bytes(dirs.config.read_bytes()[:-20])
        (dirs.backups / "no.json.zst").write_bytes(b"no zstd")
        (dirs.backups / "brick.json").write_text('{"config": "projects users apikeys"}')
        for name, code in (
            ("changed.json", "BackupCorrupt"),
            ("torn.json", "BackupInvalid"),
            ("no.json.zst", "BackupInvalid"),
            ("brick.json", "BackupInvalid"),
        ):
            response = api.post(f"{BACKUPS}/inspect", json={"path": name})
            result = assert_ok(response)
            assert (result["level"], [one["code"] for one in result["problems"]]) == (None, [code]), name
            assert dirs.key not in response.text


def test_encrypted_file_is_not_opened_without_its_identity(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    identity, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        sealed = pyrage.encrypt(dirs.config.read_bytes(), [identity.to_public()])
        (dirs.backups / "sealed.json.age").write_bytes(sealed)
        result = _inspect(api, "sealed.json.age")
        assert (result["level"], result["counts"], result["content_sha256"]) == ("Stored", None, None)
        assert _inspect(api, "sealed.json.age", identity=str(identity))["level"] == "Verified"
        body = {"path": "sealed.json.age", "identity": str(other)}
        assert_error(api.post(f"{BACKUPS}/inspect", json=body), "WrongIdentity")
