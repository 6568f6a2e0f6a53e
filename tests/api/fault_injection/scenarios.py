"""The ground of the crash tests: prepared pairs of directories, a request for each mutation, and what must hold after.

Whatever befalls the server at whatever call, the same promises are checked by the same function.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyrage

from gateway_api.audit import verify
from gateway_api.codec import compression
from gateway_api.gateway_config.defaults import default_config
from gateway_api.gateway_config.schema import digest
from tests.api.support.admin_process import admin_key, gateway_config
from tests.api.support.backup_files import pack, unseal
from tests.api.support.fork_server import Nursery, copy

PREFIX = "/api/v1/system"
KEY = admin_key()
IDENTITY = pyrage.x25519.Identity.generate()
OLD = json.dumps(gateway_config(KEY, users=3), indent=2).encode()
NEW = json.dumps(gateway_config(KEY, users=5), indent=2).encode()
EMPTY = json.dumps(default_config(KEY), indent=2).encode()
MUTATIONS = (
    "backup",
    "replace",
    "delete",
    "restore",
    "cure",
    "reset",
    "upload",
    "commit",
    "rollback",
    "sealed",
    "verify",
    "rotate",
)


@dataclass(frozen=True)
class Ground:
    """A prepared pair of directories, and the request whose every step is to fail.

    ``original`` is the config from before the request, where the directories are those of a request begun or done.
    """

    folder: Path
    method: str
    path: str
    body: dict[str, Any] | None
    settings: dict[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    original: bytes | None = None

    @property
    def now(self) -> bytes:
        """The config that lies in the prepared directory."""
        return (self.folder / "config" / "config.json").read_bytes()

    @property
    def by_workers(self) -> bool:
        """Whether a process of its own does every reading of a config."""
        return self.settings.get("worker_above_bytes") == 0

    @property
    def before(self) -> bytes:
        """The config before the request was sent for the first time."""
        return self.now if self.original is None else self.original

    def send(self, client: httpx.Client) -> httpx.Response:
        return client.request(self.method, PREFIX + self.path, json=self.body, content=self.content)


def prepare(nursery: Nursery, folder: Path) -> dict[str, Ground]:
    """One prepared state for each mutation, made by a server that nothing happens to."""
    base = folder / "base"
    base.mkdir()
    (base / "config").mkdir()
    (base / "backups").mkdir()
    config, backups = base / "config" / "config.json", base / "backups"
    config.write_bytes(NEW)
    made: dict[str, Ground] = {}
    with nursery.server(config, backups, KEY) as client:
        new = _ok(client.post(f"{PREFIX}/backup", json={"path": "manual/new.json.zst", "request_id": "new"}))
        config.write_bytes(OLD)
        _ok(client.post(f"{PREFIX}/backup", json={"path": "manual/old.json.gz", "request_id": "old"}))
        _ok(client.post(f"{PREFIX}/backup", json={"path": "manual/spare.json", "request_id": "spare"}))
        _ok(client.post(f"{PREFIX}/backup", json={"output_file": str(backups / "daily.json")}))
    spare = json.loads((backups / "manual/spare.json.manifest.json").read_text())["id"]
    restore = {"backup_id": new["backup_id"], "request_id": "restore"}
    body = {"path": "manual/fresh.json.zst", "request_id": "fresh"}
    made["backup"] = Ground(base, "POST", "/backup", body)
    replace = {"path": "manual/spare.json", "overwrite": True, "request_id": "again", "metadata": {"n": "2"}}
    made["replace"] = Ground(base, "POST", "/backup", replace)
    made["delete"] = Ground(base, "DELETE", f"/backups/{spare}", None)
    made["restore"] = Ground(base, "POST", "/restore", restore)
    sick = folder / "sick"
    config, _ = copy(base, sick)
    config.write_bytes(OLD[:100])
    recipients = {"age_recipients": [str(IDENTITY.to_public())], "encryption": "require"}
    made["cure"] = Ground(sick, "POST", "/restore", restore, recipients)
    made["reset"] = Ground(
        base, "POST", "/reset", {"confirm": True, "rotate_admin_key": False, "request_id": "restore"}
    )
    made["upload"] = _half_uploaded(nursery, base, backups, folder / "upload")
    applied = folder / "applied"
    config, backups = copy(base, applied)
    with nursery.server(config, backups, KEY) as client:
        _ok(client.post(f"{PREFIX}/restore", json=restore))
    made["commit"] = Ground(applied, "POST", "/restores/restore/commit", None)
    made["rollback"] = Ground(applied, "POST", "/restores/restore/rollback", None)
    keyless = folder / "keyless"
    copy(base, keyless)
    (keyless / "config" / ".gateway" / "signing_key.pem").unlink()
    sealed = {"path": "manual/fresh.json.zst.age", "request_id": "fresh"}
    made["sealed"] = Ground(keyless, "POST", "/backup", sealed, recipients)
    made["verify"] = Ground(base, "POST", f"/backups/{new['backup_id']}/verify", None)
    # A backup whose audit line begins a new segment.
    made["rotate"] = Ground(base, "POST", "/backup", body, {"audit_bytes": 1000})
    assert (base / "backups" / ".gateway" / "audit.jsonl").stat().st_size > 1000
    age(folder)
    return made


def age(folder: Path) -> None:
    """Makes the configs of prepared grounds look long written: a young one is read again until it can be believed, and
    how often depends on the day."""
    for config in folder.rglob("config.json"):
        os.utime(config, (1.7e9, 1.7e9))


def _half_uploaded(nursery: Nursery, base: Path, backups: Path, folder: Path) -> Ground:
    """A ground on which the manifest of a backup from elsewhere has arrived; its file is to follow."""
    stored = pack(NEW, "zstd")
    manifest = json.loads((backups / "manual/new.json.zst.manifest.json").read_text())
    del manifest["signatures"]
    manifest |= {
        "id": "elsewhere",
        "volume_id": "0" * 32,
        "path": "brought/it.json.zst",
        "stored_sha256": digest(stored),
    }
    config, there = copy(base, folder)
    path = "/backups/elsewhere/content"
    with nursery.server(config, there, KEY) as client:
        _ok(client.put(f"{PREFIX}{path}?part=manifest", content=json.dumps(manifest)))
    return Ground(folder, "PUT", path, None, content=stored)


def _ok(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def check_backups(backups: Path, ground: Ground, *, but: str = "") -> None:
    """Whatever is listed is whole, what was there still is, and nothing half-made is left.

    What could not be read as a config was saved as it is: the broken one, and any that no worker lived to read.
    """
    unread, sealed = (ground.before, "age_recipients" in ground.settings) if ground.by_workers else (OLD[:100], True)
    for manifest_file in backups.rglob("*.manifest.json"):
        manifest = json.loads(manifest_file.read_text())
        stored = manifest_file.with_name(manifest_file.name.removesuffix(".manifest.json")).read_bytes()
        assert digest(stored) == manifest["stored_sha256"]
        form = compression.format_for_name(manifest["path"])
        assert form.encrypted == bool(manifest["recipients"])
        content = unseal(stored, form, str(IDENTITY), 1 << 20)
        assert digest(content) == manifest["content_sha256"]
    for name in ("manual/new.json.zst", "manual/old.json.gz", "manual/spare.json", "daily.json"):
        if name != but:
            assert (backups / name).is_file()
            assert (backups / f"{name}.manifest.json").is_file()
    for raw in backups.rglob("*.invalid*"):
        assert unseal(raw.read_bytes(), compression.format_for_name(raw.name), str(IDENTITY), 1 << 20) == unread
        assert raw.name.endswith(".age") is sealed
    assert not list(backups.rglob(".gateway-*"))
    whole, why = verify.verify(backups)
    assert whole, why


def check_after(
    name: str, ground: Ground, client: httpx.Client, config: Path, backups: Path, answer: httpx.Response | None = None
) -> None:
    """The promises, after the blow and perhaps a restart. ``answer`` is what the struck request got."""
    succeeded = answer is not None and answer.status_code == 200
    before = ground.before
    live = config.read_bytes()
    assert live in {before, NEW, OLD, EMPTY}
    if name in ("backup", "replace", "delete", "sealed", "upload", "rotate"):
        assert live == before
    if succeeded and name == "delete":
        assert not (backups / "manual/spare.json").exists(), "said to be deleted, and there"
    done = _ok(ground.send(client))
    assert not succeeded or name in ("delete", "verify") or done["replayed"], "succeeded twice"
    again = _ok(ground.send(client))
    if name == "delete":
        assert not again["existed"]
        assert client.get(f"{PREFIX}{ground.path}").status_code == 404
        assert not (backups / "manual/spare.json").exists()
        check_backups(backups, ground, but="manual/spare.json")
        return
    if name == "verify":
        assert live == before
        assert (done["level"], done["problems"]) == (again["level"], again["problems"]) == ("Verified", [])
        (listed,) = _ok(client.get(f"{PREFIX}/backups", params={"path": "manual/new.json.zst"}))["items"]
        assert again["recorded"]
        assert listed["record"]["verification"]["checked"] == again["checked"]
        check_backups(backups, ground)
        return
    assert again["replayed"]
    assert {**again, "replayed": done["replayed"]} == done
    check_backups(backups, ground)
    if name == "upload":
        assert (done["state"], done["record"]["path"]) == ("stored", "brought/it.json.zst")
        assert (backups / "brought/it.json.zst").read_bytes() == ground.content
        assert not list((backups / ".gateway" / "uploads").iterdir())
        return
    if name == "sealed":
        proven = _ok(client.post(f"{PREFIX}/backups/{done['backup_id']}/verify", json={"identity": str(IDENTITY)}))
        assert (proven["proof"], proven["signature"], proven["problems"]) == ("recipient", "valid", [])
    if name in ("backup", "replace", "sealed", "rotate"):
        named = [
            manifest
            for manifest in map(json.loads, (file.read_text() for file in backups.rglob("*.manifest.json")))
            if manifest["request_id"] == done["request_id"]
        ]
        assert len(named) == 1
    elif name in ("restore", "cure", "reset"):
        assert config.read_bytes() == (EMPTY if name == "reset" else NEW)
        assert config.stat().st_nlink == 1
        _ok(client.post(f"{PREFIX}/restores/restore/rollback"))
        assert config.read_bytes() == before
    else:
        assert config.read_bytes() == (NEW if name == "commit" else OLD)
        assert done["state"] == ("committed" if name == "commit" else "rolled_back")
