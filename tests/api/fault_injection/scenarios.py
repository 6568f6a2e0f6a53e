"""The scenarios of the fault injection tests: prepared directories, and a request for each operation.

`prepare_scenarios` builds the directories with a server that is not disturbed. `promises.py` checks the results.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyrage

from gateway_api.gateway_config.defaults import default_config
from gateway_api.gateway_config.schema import digest
from tests.api.fault_injection import missing_manifests
from tests.api.support.admin_process import admin_key, gateway_config
from tests.api.support.backup_files import compress_bytes
from tests.api.support.fork_server import ForkServer, copy

PREFIX = "/api/v1/system"
KEY = admin_key()
IDENTITY = pyrage.x25519.Identity.generate()
OLD = json.dumps(gateway_config(KEY, users=3), indent=2).encode()
NEW = json.dumps(gateway_config(KEY, users=5), indent=2).encode()
UNSAVED = json.dumps(gateway_config(KEY, users=7), indent=2).encode()
"""A config that is in no backup of the prepared directories."""
EMPTY = json.dumps(default_config(KEY), indent=2).encode()
OPERATIONS = (
    "backup",
    "replace",
    "delete",
    "restore",
    "restore_over_invalid",
    "reset",
    "upload",
    "commit",
    "rollback",
    "encrypted",
    "verify",
    "rotate_audit_log",
    "restore_unsaved",
    "commit_unsaved",
    "rollback_changed",
    "save_previous",
    "lost_ids",
    "missing_manifests",
)


@dataclass(frozen=True)
class Scenario:
    """Prepared directories and the request during which faults are injected.

    ``original`` is the config before the request was sent for the first time; None if it was not sent before.
    ``unsaved`` is a config that must be in a file at any time; None if there is none.
    """

    folder: Path
    method: str
    path: str
    body: dict[str, Any] | None
    settings: dict[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    original: bytes | None = None
    unsaved: bytes | None = None

    @property
    def live_config(self) -> bytes:
        """The config file of the prepared directories."""
        return (self.folder / "config" / "config.json").read_bytes()

    @property
    def parses_in_worker(self) -> bool:
        """Whether a separate worker process parses every config."""
        return self.settings.get("worker_above_bytes") == 0

    @property
    def original_config(self) -> bytes:
        """The config before the request was sent for the first time."""
        return self.live_config if self.original is None else self.original

    def send(self, client: httpx.Client) -> httpx.Response:
        return client.request(self.method, PREFIX + self.path, json=self.body, content=self.content)


def prepare_scenarios(fork_server: ForkServer, folder: Path) -> dict[str, Scenario]:
    """Prepares the directories of each operation with an undisturbed server; returns the scenarios by name."""
    base = folder / "base"
    base.mkdir()
    (base / "config").mkdir()
    (base / "backups").mkdir()
    config, backups = base / "config" / "config.json", base / "backups"
    config.write_bytes(NEW)
    scenarios: dict[str, Scenario] = {}
    with fork_server.server(config, backups, KEY) as client:
        new = ok(client.post(f"{PREFIX}/backup", json={"path": "manual/new.json.zst", "request_id": "new"}))
        config.write_bytes(OLD)
        ok(client.post(f"{PREFIX}/backup", json={"path": "manual/old.json.gz", "request_id": "old"}))
        ok(client.post(f"{PREFIX}/backup", json={"path": "manual/spare.json", "request_id": "spare"}))
        ok(client.post(f"{PREFIX}/backup", json={"output_file": str(backups / "daily.json")}))
    spare = json.loads((backups / "manual/spare.json.manifest").read_text())["id"]
    restore = {"backup_id": new["backup_id"], "request_id": "restore"}
    body = {"path": "manual/fresh.json.zst", "request_id": "fresh"}
    scenarios["backup"] = Scenario(base, "POST", "/backup", body)
    replace = {"path": "manual/spare.json", "overwrite": True, "request_id": "again", "metadata": {"n": "2"}}
    scenarios["replace"] = Scenario(base, "POST", "/backup", replace)
    scenarios["delete"] = Scenario(base, "DELETE", f"/backups/{spare}", None)
    scenarios["restore"] = Scenario(base, "POST", "/restore", restore)
    invalid = folder / "invalid"
    config, _ = copy(base, invalid)
    config.write_bytes(OLD[:100])
    recipients = {"age_recipients": [str(IDENTITY.to_public())], "encryption": "require"}
    scenarios["restore_over_invalid"] = Scenario(invalid, "POST", "/restore", restore, recipients)
    scenarios["reset"] = Scenario(
        base, "POST", "/reset", {"confirm": True, "rotate_admin_key": False, "request_id": "restore"}
    )
    scenarios["upload"] = _prepare_upload(fork_server, base, backups, folder / "upload")
    applied = folder / "applied"
    config, backups = copy(base, applied)
    with fork_server.server(config, backups, KEY) as client:
        ok(client.post(f"{PREFIX}/restore", json=restore))
    scenarios["commit"] = Scenario(applied, "POST", "/restores/restore/commit", None)
    scenarios["rollback"] = Scenario(applied, "POST", "/restores/restore/rollback", None)
    without_signing_key = folder / "without_signing_key"
    copy(base, without_signing_key)
    (without_signing_key / "config" / ".gateway" / "signing_key.pem").unlink()
    encrypted = {"path": "manual/fresh.json.zst.age", "request_id": "fresh"}
    scenarios["encrypted"] = Scenario(without_signing_key, "POST", "/backup", encrypted, recipients)
    scenarios["verify"] = Scenario(base, "POST", f"/backups/{new['backup_id']}/verify", None)
    # The audit record of this backup starts a new segment: the log already exceeds the limit.
    scenarios["rotate_audit_log"] = Scenario(base, "POST", "/backup", body, {"audit_bytes": 1000})
    assert (base / "backups" / ".gateway" / "audit.jsonl").stat().st_size > 1000
    scenarios |= _prepare_unsaved(fork_server, base, folder, restore)
    # Recovery writes both ids again before the backup, which names them.
    lost_ids = folder / "lost_ids"
    copy(base, lost_ids)
    (lost_ids / "config" / ".gateway" / "gateway_id").unlink()
    (lost_ids / "backups" / ".gateway" / "volume_id").write_bytes(b"")
    scenarios["lost_ids"] = Scenario(lost_ids, "POST", "/backup", body)
    scenarios["missing_manifests"] = Scenario(
        missing_manifests.prepare(base, folder / "missing"), "POST", "/backup", body
    )
    backdate_configs(folder)
    return scenarios


def _prepare_unsaved(fork_server: ForkServer, base: Path, folder: Path, restore: dict[str, Any]) -> dict[str, Scenario]:
    """Scenarios with a config that is in no backup: the server cannot write one, or has not made it yet."""
    unsaved = folder / "unsaved"
    config, backups = copy(base, unsaved)
    config.write_bytes(UNSAVED)
    (backups / "safety").write_text("a file in the place of the folder")
    committing = folder / "unsaved_applied"
    config, backups = copy(unsaved, committing)
    with fork_server.server(config, backups, KEY) as client:
        assert ok(client.post(f"{PREFIX}/restore", json=restore))["safety_backup"]["kind"] == "kept"
    changed = folder / "changed"
    config, backups = copy(base, changed)
    with fork_server.server(config, backups, KEY) as client:
        ok(client.post(f"{PREFIX}/restore", json=restore))
    config.write_bytes(UNSAVED)
    leftover = folder / "leftover"
    config, _ = copy(base, leftover)
    (config.parent / ".gateway" / "previous-20260101T000000.000001Z").write_bytes(UNSAVED)
    backup = {"path": "manual/fresh.json.zst", "request_id": "fresh"}
    return {
        "restore_unsaved": Scenario(unsaved, "POST", "/restore", restore, unsaved=UNSAVED),
        "commit_unsaved": Scenario(committing, "POST", "/restores/restore/commit", None, unsaved=UNSAVED),
        "rollback_changed": Scenario(changed, "POST", "/restores/restore/rollback", {"force": True}, unsaved=UNSAVED),
        "save_previous": Scenario(leftover, "POST", "/backup", backup, unsaved=UNSAVED),
    }


def backdate_configs(folder: Path) -> None:
    """Sets an old modification time on prepared configs, so that each run makes the same system calls.

    The server reads a recently changed config several times until it is stable; how often depends on timing.
    """
    for config in folder.rglob("config.json"):
        os.utime(config, (1.7e9, 1.7e9))


def _prepare_upload(fork_server: ForkServer, base: Path, backups: Path, folder: Path) -> Scenario:
    """A scenario in which a manifest from another volume was uploaded; the request uploads its file."""
    stored = compress_bytes(NEW, "zstd")
    manifest = json.loads((backups / "manual/new.json.zst.manifest").read_text())
    del manifest["signatures"]
    manifest |= {
        "id": "elsewhere",
        "volume_id": "0" * 32,
        "path": "uploaded/backup.json.zst",
        "stored_sha256": digest(stored),
    }
    config, there = copy(base, folder)
    path = "/backups/elsewhere/content"
    with fork_server.server(config, there, KEY) as client:
        ok(client.put(f"{PREFIX}{path}?part=manifest", content=json.dumps(manifest)))
    return Scenario(folder, "PUT", path, None, content=stored)


def ok(answer: httpx.Response) -> dict[str, Any]:
    """Checks that a request succeeded; returns the data of its body."""
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data
