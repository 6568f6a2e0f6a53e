"""Signatures of manifests: every change is detected, and only keys in the server's settings are trusted."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway_api.gateway_config.schema import digest
from gateway_api.repository import signing
from tests.api.support.admin_process import AdminProcess
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import require_programs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESTORE = "/api/v1/system/restore"


def _public(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(pem, None)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form)


def test_signing_key_is_generated_once_next_to_the_config(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    key = dirs.state / "signing_key.pem"
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        first = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        generated = key.read_bytes()
        assert key.stat().st_mode & 0o777 == 0o600
        assert not list(dirs.backups.rglob("*.pem"))
    with fork_server.server(dirs.config, dirs.backups, dirs.key, signature_policy="require") as api:
        second = assert_ok(api.post(BACKUP, json={"path": "b.json"}))
        assert key.read_bytes() == generated
        assert first["signed_by"] == second["signed_by"] == [signing.load_signer(generated).key_id]
        assert assert_ok(api.post(RESTORE, json={"backup_id": first["backup_id"]}))["signature"] == "valid"
        key.write_bytes(b"broken")
    # No backup holds these bytes yet, so the previous config is kept.
    dirs.config.write_bytes(dirs.config.read_bytes() + b"\n")
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_error(api.post(BACKUP, json={"path": "c.json"}), "SigningKeyUnusable")
        done = assert_ok(api.post(RESTORE, json={"backup_id": first["backup_id"]}))
        assert (done["signature"], done["safety_backup"]["kind"]) == ("unknown", "kept")
        assert key.read_bytes() == b"broken"


def test_any_changed_byte_in_manifest_or_file_is_detected(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, signature_policy="require") as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json.gz"}))
        body = {"input_file": "a.json.gz", "safety_backup": False, "expected_sha256": "0" * 64}
        assert_error(api.post(RESTORE, json=body), "DigestMismatch")
        expected = {"BackupCorrupt", "SignatureInvalid", "SignatureRequired", "KeyNotTrusted"}
        # One digest covers all bytes of the file alike, so a share of them is enough.
        for target, step in ((dirs.backups / "a.json.gz.manifest", 1), (dirs.backups / "a.json.gz", 16)):
            good = target.read_bytes()
            for offset in range(0, len(good), step):
                target.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
                answer = api.post(RESTORE, json=body)
                assert answer.json()["code"] in expected, (target.name, offset, answer.text)
            target.write_bytes(good)
        assert_error(api.post(RESTORE, json=body), "DigestMismatch")


def test_rewritten_manifest_is_invalid_under_every_policy(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        planted = dirs.config.read_bytes().replace(b"user-0@", b"evil-0@")
        manifest = dirs.backups / "a.json.manifest"
        value = json.loads(manifest.read_text())
        value["content_sha256"] = value["stored_sha256"] = digest(planted)
        (dirs.backups / "a.json").write_bytes(planted)
        manifest.write_text(json.dumps(value))
        body = {"input_file": "a.json"}
        assert_error(api.post(RESTORE, json=body), "SignatureInvalid")
        assert_error(api.post(RESTORE, json={**body, "accept_unsigned": True}), "SignatureInvalid")
        del value["signatures"]
        manifest.write_text(json.dumps(value))
        assert assert_ok(api.post(RESTORE, json=body))["signature"] == "unsigned"
    with fork_server.server(
        dirs.config, dirs.backups, dirs.key, signature_policy="require", allow_unsigned_override=False
    ) as api:
        assert_error(api.post(RESTORE, json=body), "SignatureRequired")
        assert_error(api.post(RESTORE, json={**body, "accept_unsigned": True}), "SignatureRequired")
        manifest.unlink()
        assert_error(api.post(RESTORE, json=body), "SignatureRequired")
    with fork_server.server(
        dirs.config, dirs.backups, dirs.key, signature_policy="require", allow_unsigned_override=True
    ) as api:
        assert_error(api.post(RESTORE, json=body), "SignatureRequired")
        assert_ok(api.post(RESTORE, json={**body, "accept_unsigned": True}))


def test_new_cluster_restores_only_backups_signed_by_a_trusted_key(
    dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path
) -> None:
    old, stranger = signing.new_key(), signing.new_key()
    old_id = signing.load_signer(old).key_id
    (tmp_path / "old.pem").write_bytes(old)
    (tmp_path / "stranger.pem").write_bytes(stranger)
    (tmp_path / "trusted.pem").write_bytes(b"the old cluster\n" + _public(old))
    created: dict[str, str] = {}
    for name in ("old", "stranger"):
        with fork_server.server(
            dirs.config, dirs.backups, dirs.key, signing_key_file=str(tmp_path / f"{name}.pem")
        ) as api:
            created[name] = assert_ok(api.post(BACKUP, json={"path": f"{name}.json"}))["backup_id"]
    assert not (dirs.state / "signing_key.pem").exists()
    settings: dict[str, Any] = {"trusted_keys_file": str(tmp_path / "trusted.pem"), "signature_policy": "require"}
    with fork_server.server(dirs.config, dirs.backups, dirs.key, **settings) as api:
        own = assert_ok(api.post(BACKUP, json={"path": "own.json"}))
        assert_ok(api.post(RESTORE, json={"backup_id": created["old"]}))
        detail = assert_error(api.post(RESTORE, json={"backup_id": created["stranger"]}), "KeyNotTrusted")
        assert signing.load_signer(stranger).key_id in detail
        assert_ok(api.post(RESTORE, json={"backup_id": created["old"], "trust_key_id": old_id}))
        assert_error(api.post(RESTORE, json={"backup_id": own["backup_id"], "trust_key_id": old_id}), "KeyNotTrusted")
        stranger_id = signing.load_signer(stranger).key_id
        pinned = {"backup_id": created["stranger"], "trust_key_id": stranger_id}
        assert_error(api.post(RESTORE, json=pinned), "KeyNotTrusted")


def test_backup_gzipped_by_hand_is_still_signed(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, signature_policy="require") as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        subprocess.run(["gzip", str(dirs.backups / "a.json")], check=True)
        assert assert_ok(api.post(RESTORE, json={"input_file": "a.json.gz"}))["signature"] == "valid"


def test_jq_and_openssl_verify_a_signature_as_documented(
    dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path
) -> None:
    require_programs("jq", "openssl")
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json", "metadata": {"why": "ünï"}}))
    script = f"""
    openssl pkey -in {dirs.state}/signing_key.pem -pubout -out {tmp_path}/public.pem
    {{ echo mcpgateway-manifest-v1; jq -cjS 'del(.signatures)' a.json.manifest; }} > {tmp_path}/message
    jq -r '.signatures[0].sig' a.json.manifest | base64 -d > {tmp_path}/sig
    openssl pkeyutl -verify -pubin -inkey {tmp_path}/public.pem -rawin -in {tmp_path}/message -sigfile {tmp_path}/sig
    openssl pkey -pubin -in {tmp_path}/public.pem -outform DER | tail -c 32 | sha256sum | cut -c1-32
    """
    shown = subprocess.run(["bash", "-euc", script], cwd=dirs.backups, capture_output=True, text=True, check=True)
    assert "Signature Verified Successfully" in shown.stdout
    assert shown.stdout.splitlines()[-1] == created["signed_by"][0]


def test_keys_are_configured_by_flags(dirs: GatewayDirs, tmp_path: Path) -> None:
    pem = signing.new_key()
    (tmp_path / "key.pem").write_bytes(pem)
    settings: dict[str, Any] = {"signing_key_file": tmp_path / "key.pem", "signature_policy": "require"}
    with AdminProcess(dirs.config, dirs.backups, **settings) as process, process.client(dirs.key) as client:
        created = assert_ok(client.post(BACKUP, json={"path": "a.json"}))
        assert created["signed_by"] == [signing.load_signer(pem).key_id]
        assert_ok(
            client.post(RESTORE, json={"backup_id": created["backup_id"], "trust_key_id": created["signed_by"][0]})
        )
        assert_error(
            client.post(RESTORE, json={"backup_id": created["backup_id"], "trust_key_id": "x"}), "InvalidRequest"
        )
