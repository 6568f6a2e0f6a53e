"""Verifying backups: the result, its record on the volume, and its effect on list, show and inspect."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import pyrage
import pytest

from gateway_api.repository import manifest as manifests
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESTORE = "/api/v1/system/restore"


def _verify(api: httpx.Client, backup_id: str, **body: Any) -> dict[str, Any]:
    return assert_ok(api.post(f"/api/v1/system/backups/{backup_id}/verify", json=body))


def test_verification_is_shown_until_the_backup_is_deleted(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json.zst"}))
        one = f"/api/v1/system/backups/{created['backup_id']}"
        assert assert_ok(api.get(one))["verification"] is None
        result = assert_ok(api.post(f"{one}/verify"))
        assert (result["level"], result["proof"], result["signature"]) == ("Verified", "payload", "valid")
        assert result["counts"] == created["counts"]
        assert result["problems"] == []
        shown = assert_ok(api.get(one))["verification"]
        assert shown == {key: value for key, value in result.items() if key != "recorded"}
        assert (dirs.backups / "a.json.zst.verification").stat().st_mode & 0o777 == 0o600
        assert_ok(api.post(BACKUP, json={"path": "a.json.zst", "overwrite": True}))
        assert_error(api.get(one), "BackupNotFound")
        assert_error(api.post(f"{one}/verify"), "BackupNotFound")
        new = manifests.validate(manifests.parse_json((dirs.backups / "a.json.zst.manifest").read_bytes())).id
        assert assert_ok(api.get(f"/api/v1/system/backups/{new}"))["verification"] is None
        _verify(api, new)
        assert_ok(api.delete(f"/api/v1/system/backups/{new}"))
        assert not list(dirs.backups.glob("a.json*"))


def _shown(api: httpx.Client, backup_id: str, path: str) -> list[tuple[str | None, str | None]]:
    """Level and proof of the backup and of its last verification; checks that list, show and inspect agree."""
    (entry,) = assert_ok(api.get("/api/v1/system/backups", params={"path": path}))["items"]
    one = assert_ok(api.get(f"/api/v1/system/backups/{backup_id}"))
    assert entry["record"] == one
    inspected = assert_ok(api.post("/api/v1/system/backups/inspect", json={"path": path}))
    assert inspected["verification"] == one["verification"]
    assert inspected["level"] == one["level"]
    last = one["verification"]
    return [(one["level"], one["proof"]), (last["level"], last["proof"])]


def test_list_show_inspect_and_verify_agree_also_after_a_restart(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    identity = pyrage.x25519.Identity.generate()
    settings: dict[str, Any] = {"age_recipients": [str(identity.to_public())], "encryption": "allow"}
    with fork_server.server(dirs.config, dirs.backups, dirs.key, **settings) as api:
        plain = assert_ok(api.post(BACKUP, json={"path": "d/a.json"}))["backup_id"]
        sealed = assert_ok(api.post(BACKUP, json={"path": "d/b.json.age"}))["backup_id"]
        unsigned = assert_ok(api.post(BACKUP, json={"path": "d/c.json.age"}))["backup_id"]
        manifest = dirs.backups / "d/c.json.age.manifest"
        described = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({key: value for key, value in described.items() if key != "signatures"}))
        _verify(api, plain)
        _verify(api, unsigned)
        assert _shown(api, plain, "d/a.json") == [("Verified", "payload")] * 2
        assert _shown(api, unsigned, "d/c.json.age") == [("Stored", None)] * 2
        _verify(api, sealed, identity=str(identity))
    with fork_server.server(dirs.config, dirs.backups, dirs.key, **settings) as api:
        assert _shown(api, sealed, "d/b.json.age") == [("Verified", "recipient")] * 2
        assert _shown(api, unsigned, "d/c.json.age") == [("Stored", None)] * 2
        _verify(api, unsigned, identity=str(identity))
        assert _shown(api, unsigned, "d/c.json.age") == [("Verified", "recipient")] * 2


def test_corrupt_file_is_not_verified_until_verified_again(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))["backup_id"]
        _verify(api, created)
        file = dirs.backups / "a.json"
        good = file.read_bytes()
        file.write_bytes(good.replace(b"user-0@", b"user-9@"))
        _verify(api, created)
        assert _shown(api, created, "a.json") == [(None, None)] * 2
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert _shown(api, created, "a.json") == [(None, None)] * 2
        file.write_bytes(good)
        assert assert_ok(api.get(f"/api/v1/system/backups/{created}"))["level"] is None, (
            "it must be verified again first"
        )
        _verify(api, created)
        assert _shown(api, created, "a.json") == [("Verified", "payload")] * 2
        file.write_bytes(good[:-1])
        one = assert_ok(api.get(f"/api/v1/system/backups/{created}"))
        assert (one["level"], one["proof"]) == (None, None), "a changed size must be detected without a verification"


def test_verify_reports_problems(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, signature_policy="require") as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        file, manifest = dirs.backups / "a.json", dirs.backups / "a.json.manifest"
        good, described = file.read_bytes(), json.loads(manifest.read_text())
        file.write_bytes(good.replace(b"user-0@", b"user-9@"))
        result = _verify(api, created["backup_id"])
        assert (result["level"], [problem["code"] for problem in result["problems"]]) == (None, ["BackupCorrupt"])
        file.write_bytes(good)
        manifest.write_text(json.dumps({**described, "counts": {**described["counts"], "users": 9}}))
        result = _verify(api, created["backup_id"])
        codes = [problem["code"] for problem in result["problems"]]
        assert (result["level"], codes) == (None, ["SignatureInvalid", "BackupInvalid"])
        manifest.write_text(json.dumps({key: value for key, value in described.items() if key != "signatures"}))
        result = _verify(api, created["backup_id"])
        assert (result["level"], result["problems"][0]["code"]) == ("Verified", "SignatureRequired")


def test_verify_with_an_identity_proves_the_recipient(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    identity = pyrage.x25519.Identity.generate()
    settings: dict[str, Any] = {"age_recipients": [str(identity.to_public())], "encryption": "require"}
    with fork_server.server(dirs.config, dirs.backups, dirs.key, **settings) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json.zst.age"}))
        without = _verify(api, created["backup_id"])
        assert (without["level"], without["proof"], without["counts"]) == ("Verified", "payload", None)
        result = _verify(api, created["backup_id"], identity=str(identity))
        assert (result["level"], result["proof"], result["counts"]) == ("Verified", "recipient", created["counts"])
        assert assert_ok(api.get(f"/api/v1/system/backups/{created['backup_id']}"))["proof"] == "recipient"


def test_unsigned_manifest_of_an_encrypted_file_proves_nothing(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    identity = pyrage.x25519.Identity.generate()
    settings: dict[str, Any] = {"age_recipients": [str(identity.to_public())], "encryption": "require"}
    with fork_server.server(dirs.config, dirs.backups, dirs.key, **settings) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json.age"}))
        manifest = dirs.backups / "a.json.age.manifest"
        described = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({key: value for key, value in described.items() if key != "signatures"}))
        result = _verify(api, created["backup_id"])
        assert (result["level"], result["proof"], result["signature"]) == ("Stored", None, "unsigned")
        assert _verify(api, created["backup_id"], identity=str(identity))["level"] == "Verified"


def test_verification_file_of_a_gzipped_backup_is_deleted_with_it(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        _verify(api, created["backup_id"])
        subprocess.run(["gzip", str(dirs.backups / "a.json")], check=True)
        result = _verify(api, created["backup_id"])
        assert (result["level"], result["signature"], result["problems"]) == ("Verified", "valid", [])
        assert assert_ok(api.get(f"/api/v1/system/backups/{created['backup_id']}"))["verification"]["problems"] == []
        assert assert_ok(api.delete(f"/api/v1/system/backups/{created['backup_id']}"))["existed"]
        assert not list(dirs.backups.glob("a.json*"))


def test_forged_verification_file_is_ignored(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, signature_policy="require") as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        _verify(api, created["backup_id"])
        note = dirs.backups / "a.json.verification"
        forged = json.loads(note.read_text())
        for content in ("", "{", json.dumps({**forged, "stored_sha256": "0" * 64}), "x" * 100_000):
            note.write_text(content)
            assert assert_ok(api.get(f"/api/v1/system/backups/{created['backup_id']}"))["verification"] is None
        (dirs.backups / "a.json").write_bytes(dirs.write(users=9))
        note.write_text(json.dumps(forged))
        assert_error(api.post(RESTORE, json={"backup_id": created["backup_id"]}), "BackupCorrupt")
