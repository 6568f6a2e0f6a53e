"""Encrypted backups: the server that writes them cannot read them, and the age identity opens them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyrage
import pytest

from gateway_api.codec import compression
from gateway_api.codec.encryption import recipient_fingerprint
from tests.api.support.admin_process import AdminProcess
from tests.api.support.backup_files import compress_bytes, decompress_bytes
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import require_programs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESTORE = "/api/v1/system/restore"


class Keys:
    """Two age key pairs: the configured one and another."""

    def __init__(self) -> None:
        created = [pyrage.x25519.Identity.generate() for _ in range(2)]
        self.identity, self.other_identity = map(str, created)
        self.recipient, self.other_recipient = (str(one.to_public()) for one in created)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@contextmanager
def _server(dirs: GatewayDirs, fork_server: ForkServer, *recipients: str, **settings: Any) -> Iterator[httpx.Client]:
    settings = {"age_recipients": recipients, "encryption": "require", **settings}
    with fork_server.server(dirs.config, dirs.backups, dirs.key, **settings) as client:
        yield client


@pytest.mark.parametrize("name", ["a.json.age", "a.json.gz.age", "d/a.json.zst.age"])
def test_encrypted_backup_is_restored_with_its_identity_only(
    name: str, dirs: GatewayDirs, fork_server: ForkServer, keys: Keys
) -> None:
    data = dirs.config.read_bytes()
    with _server(dirs, fork_server, keys.recipient) as api:
        created = assert_ok(api.post(BACKUP, json={"path": name, "request_id": "b"}))
        assert (created["level"], created["proof"]) == ("Verified", "payload")
        health = assert_ok(api.get("/api/v1/system/health"))
        assert (health["encryption"], health["recipients"]) == ("require", [recipient_fingerprint(keys.recipient)])
        assert created["recipients"] == [recipient_fingerprint(keys.recipient)]
        stored = (dirs.backups / name).read_bytes()
        assert stored.startswith(b"age-encryption.org/v1\n")
        opened = pyrage.decrypt(stored, [pyrage.x25519.Identity.from_str(keys.identity)])
        assert decompress_bytes(opened, compression.format_for_name(name).compression, len(data)) == data
        dirs.write(users=5)
        body = {"backup_id": created["backup_id"], "request_id": "r"}
        assert_error(api.post(RESTORE, json=body), "IdentityRequired")
        assert_error(api.post(RESTORE, json={**body, "identity": keys.other_identity}), "WrongIdentity")
        detail = assert_error(api.post(RESTORE, json={**body, "identity": "AGE-SECRET-KEY-1NONSENSE"}), "WrongIdentity")
        assert "NONSENSE" not in detail
        done = assert_ok(api.post(RESTORE, json={**body, "identity": keys.identity}))
        assert dirs.config.read_bytes() == data
        # The identity is not part of the request digest, so a repeat does not need it.
        assert assert_ok(api.post(RESTORE, json=body))["replayed"]
        assert done["signature"] == "valid"


def test_plain_name_with_required_encryption_writes_nothing(
    dirs: GatewayDirs, fork_server: ForkServer, keys: Keys
) -> None:
    with _server(dirs, fork_server, keys.recipient) as api:
        assert_error(api.post(BACKUP, json={"path": "x/a.json.zst"}), "EncryptionRequired")
        assert_error(api.post(BACKUP, json={"output_file": str(dirs.backups / "daily.json")}), "EncryptionRequired")
        assert not (dirs.backups / "x").exists()
    with _server(dirs, fork_server, keys.recipient, encryption="allow") as api:
        assert assert_ok(api.post(BACKUP, json={"path": "a.json"}))["recipients"] == []
        assert assert_ok(api.post(BACKUP, json={"path": "a.json.age"}))["recipients"] == [
            recipient_fingerprint(keys.recipient)
        ]


def test_revoked_recipient_cannot_open_new_backups(dirs: GatewayDirs, fork_server: ForkServer, keys: Keys) -> None:
    with _server(dirs, fork_server, keys.recipient) as api:
        old = assert_ok(api.post(BACKUP, json={"path": "old.json.age"}))
    with _server(dirs, fork_server, keys.recipient, keys.other_recipient) as api:
        both = assert_ok(api.post(BACKUP, json={"path": "both.json.age"}))
    with _server(dirs, fork_server, keys.other_recipient) as api:
        new = assert_ok(api.post(BACKUP, json={"path": "new.json.age"}))
        for created, opening in (
            (old, [keys.identity]),
            (both, [keys.identity, keys.other_identity]),
            (new, [keys.other_identity]),
        ):
            for identity in (keys.identity, keys.other_identity):
                answer = api.post(RESTORE, json={"backup_id": created["backup_id"], "identity": identity})
                if identity in opening:
                    assert_ok(answer)
                else:
                    assert_error(answer, "WrongIdentity")
        assert_ok(
            api.post(
                RESTORE, json={"backup_id": old["backup_id"], "identity": f"{keys.other_identity}\n{keys.identity}"}
            )
        )


def test_no_plain_bytes_reach_the_volume_not_even_in_safety_backups(
    dirs: GatewayDirs, fork_server: ForkServer, keys: Keys
) -> None:
    secret = f"gateway-key-{'k' * 36}"
    with _server(dirs, fork_server, keys.recipient) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json.age"}))
        body = {"backup_id": created["backup_id"], "identity": keys.identity}
        safe = assert_ok(api.post(RESTORE, json=body))["safety_backup"]
        assert safe["kind"] == "backup"
        assert safe["path"].endswith(".json.zst.age")
        broken = dirs.config.read_bytes()[:-20]
        dirs.config.write_bytes(broken)
        raw = assert_ok(api.post(RESTORE, json=body))["safety_backup"]
        assert raw["kind"] == "raw"
        assert raw["path"].endswith(".json.invalid.age")
        opened = pyrage.decrypt(
            (dirs.backups / raw["path"]).read_bytes(), [pyrage.x25519.Identity.from_str(keys.identity)]
        )
        assert opened == broken
        assert_ok(api.post(RESTORE, json={"input_file": safe["path"], "identity": keys.identity}))
    for file in dirs.backups.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert secret.encode() not in content
            assert dirs.key.encode() not in content


def test_plain_file_must_be_signed_when_encryption_is_required(
    dirs: GatewayDirs, fork_server: ForkServer, keys: Keys
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        signed = assert_ok(api.post(BACKUP, json={"path": "signed.json"}))
    shutil.copy(dirs.config, dirs.backups / "planted.json")
    with _server(dirs, fork_server, keys.recipient) as api:
        assert_ok(api.post(RESTORE, json={"backup_id": signed["backup_id"]}))
        assert_error(api.post(RESTORE, json={"input_file": "planted.json"}), "SignatureRequired")
        assert_error(
            api.post(RESTORE, json={"input_file": "planted.json", "accept_unsigned": True}), "SignatureRequired"
        )
    with _server(dirs, fork_server, keys.recipient, allow_unsigned_override=True) as api:
        assert_ok(api.post(RESTORE, json={"input_file": "planted.json", "accept_unsigned": True}))


def test_damaged_and_foreign_age_files_have_distinct_errors(
    dirs: GatewayDirs, fork_server: ForkServer, keys: Keys
) -> None:
    with _server(dirs, fork_server, keys.recipient) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json.zst.age"}))
        file = dirs.backups / "a.json.zst.age"
        good = file.read_bytes()
        body = {"input_file": "a.json.zst.age", "identity": keys.identity}
        file.write_bytes(good[:-1])
        assert_error(api.post(RESTORE, json=body), "BackupCorrupt")
        for content in (b"", b"junk", good[:-1], good[:300]):
            (dirs.backups / "foreign.json.zst.age").write_bytes(content)
            assert_error(api.post(RESTORE, json={**body, "input_file": "foreign.json.zst.age"}), "BackupInvalid")
        recipient = pyrage.x25519.Recipient.from_str(keys.recipient)
        bomb = pyrage.encrypt(compress_bytes(b" " * 70_000_000, "zstd"), [recipient])
        (dirs.backups / "foreign.json.zst.age").write_bytes(bomb)
        assert_error(api.post(RESTORE, json={**body, "input_file": "foreign.json.zst.age"}), "BackupTooLarge")
        (dirs.backups / "foreign.json.age").write_bytes(pyrage.passphrase.encrypt(b"{}", "password"))
        assert_error(api.post(RESTORE, json={**body, "input_file": "foreign.json.age"}), "WrongIdentity")


def test_identities_and_keys_are_in_no_log_record_or_file(dirs: GatewayDirs, keys: Keys) -> None:
    settings: dict[str, Any] = {"age_recipient": keys.recipient, "signature_policy": "require"}
    with AdminProcess(dirs.config, dirs.backups, **settings) as process, process.client(dirs.key) as client:
        created = assert_ok(client.post(BACKUP, json={"path": "a.json.age"}))
        body = {"backup_id": created["backup_id"], "identity": keys.identity, "request_id": "r"}
        assert_ok(client.post(RESTORE, json=body))
        assert_error(
            client.post(RESTORE, json={**body, "request_id": "s", "identity": keys.identity * 200}), "InvalidRequest"
        )
        assert_error(
            client.post(RESTORE, json={**body, "request_id": "s", "identity": [keys.identity]}), "InvalidRequest"
        )
        verify = f"/api/v1/system/backups/{created['backup_id']}/verify"
        assert_ok(client.post(verify, json={"identity": keys.identity}))
        assert_error(client.post(verify, json={"identity": keys.other_identity}), "WrongIdentity")
        assert_ok(client.post("/api/v1/system/restores/r/commit"))
        for secret in (keys.identity, keys.other_identity, dirs.key):
            assert secret not in process.log
            for folder in (dirs.backups, dirs.state):
                assert not [
                    file for file in folder.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()
                ]


def test_age_zstd_and_jq_open_an_encrypted_backup(
    dirs: GatewayDirs, fork_server: ForkServer, keys: Keys, tmp_path: Path
) -> None:
    require_programs("age", "age-keygen", "zstd", "jq")
    key = tmp_path / "key"
    key.write_text(f"# made by age-keygen\n{keys.other_identity}\n")
    with _server(dirs, fork_server, keys.recipient, keys.other_recipient) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "NAME.json.zst.age"}))
    command = f"age -d -i {key} {dirs.backups}/NAME.json.zst.age | zstd -d | jq ."
    shown = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=True)
    assert json.loads(shown.stdout) == json.loads(dirs.config.read_text())
    command = f"age-keygen -y {key} | tr -d '\\n' | sha256sum | cut -c1-32"
    shown = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=True)
    assert shown.stdout.decode().strip() == created["recipients"][1]


@pytest.mark.parametrize("armor", [[], ["-a"]])
def test_restore_opens_files_written_by_age(
    armor: list[str], dirs: GatewayDirs, fork_server: ForkServer, keys: Keys
) -> None:
    require_programs("age", "zstd")
    data = dirs.config.read_bytes()
    packed = subprocess.run(["zstd", "-q", "-19"], input=data, capture_output=True, check=True).stdout
    words = ["age", *armor, "-r", keys.recipient, "-o", str(dirs.backups / "theirs.json.zst.age")]
    subprocess.run(words, input=packed, check=True)
    with _server(dirs, fork_server, keys.other_recipient) as api:
        dirs.write(users=5)
        assert_ok(api.post(RESTORE, json={"input_file": "theirs.json.zst.age", "identity": keys.identity}))
        assert dirs.config.read_bytes() == data


def test_idle_server_with_keys_uses_less_than_46_mebibytes(dirs: GatewayDirs, keys: Keys) -> None:
    """A server without keys uses less: it never imports the libraries for them."""
    with AdminProcess(dirs.config, dirs.backups, age_recipient=keys.recipient) as process:
        with process.client(dirs.key) as client:
            assert_ok(client.post(BACKUP, json={"path": "a.json.zst.age"}))
            assert_ok(client.get("/ready"))
        assert process.own_memory_kib() < 46 * 1024


@pytest.mark.parametrize("wrong", ["age_recipient", "age_recipients_file", "signing_key_file", "trusted_keys_file"])
def test_server_does_not_start_with_an_unusable_key(wrong: str, dirs: GatewayDirs, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("# nobody\nhunter2\n")
    settings: dict[str, Any] = {wrong: "hunter2" if wrong == "age_recipient" else bad}
    process = AdminProcess(dirs.config, dirs.backups, **settings)
    process.start(wait=False)
    assert process.process is not None
    assert process.process.wait(20) == 2
    assert process.log.startswith("gateway-admin: ")
    assert process.log.count("\n") == 1
    assert "hunter2" not in process.log
    process.log_file.unlink()
