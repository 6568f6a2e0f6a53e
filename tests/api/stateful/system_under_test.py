"""The servers and directories under test, the model of their expected state, and the checks that compare the two.

Two slots hold up to two servers that share one config directory and one backup directory. A server starts with the
first request to its slot.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyrage
import zstandard

from gateway_api.audit import verify
from gateway_api.contract import ERRORS, ErrorCode
from tests.api.stateful.configs import Config
from tests.api.support.fork_server import ForkServer, RunningServer
from tests.api.support.gateway_dirs import GatewayDirs

PREFIX = "/api/v1/system"
ALL = f"{PREFIX}/backups"
PAGE = 3


def sha(data: bytes) -> str:
    """The SHA-256 digest in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Backup:
    """A backup in the model. ``path`` is the path of its file, ``owner`` its manifest's path without the suffix.

    ``state``: ``intact``, ``corrupt`` (one byte was changed), ``compressed`` (a user ran gzip, so ``path`` has another
    suffix than ``owner``) or ``removed`` (a user removed the file; the manifest is still there).
    """

    id: str
    path: str
    owner: str
    content: Config
    request_id: str | None
    manifest: bytes
    stored: bytes
    state: str = "intact"

    @property
    def encrypted(self) -> bool:
        """Whether an age identity is needed to open the file."""
        return self.owner.endswith(".age")

    @property
    def listed(self) -> bool:
        """Whether the file exists and the API lists it."""
        return self.state != "removed"

    @property
    def moved(self) -> bool:
        """Whether a user has moved the file and its manifest away from where the backup was created."""
        return bool(self.owner != json.loads(self.manifest)["path"])


@dataclass
class Foreign:
    """A file without a manifest. ``content`` is its config. ``wrapped``: it is in the public gateway's envelope."""

    stored: bytes
    content: Config
    wrapped: bool = False


@dataclass
class Pending:
    """A restore or reset that is not committed: the request, and the live config before and after it.

    ``source`` is the digest of the restored file, empty for a reset.
    """

    request_id: str
    request: tuple[str, str]
    before: Config | None
    after: Config
    source: str = ""

    def ended(self, state: str) -> EndedRestore:
        """The record of this restore after its end."""
        return EndedRestore(self.request, state, self.source)


@dataclass(frozen=True)
class EndedRestore:
    """The request, final state and digest of the restored file of a restore or reset."""

    request: tuple[str, str]
    state: str
    source: str


@dataclass
class Model:
    """The expected state of the system.

    ``requests``: body and backup id of each request id. ``deleted_ids``: ids of deleted or replaced backups.
    ``ended_restores``: the record of each request id. ``replaced``: configs that a restore or rollback replaced, and
    that are in no backup yet.
    """

    live: Config | None = None
    backups: dict[str, Backup] = field(default_factory=dict)
    foreign: dict[str, Foreign] = field(default_factory=dict)
    deleted_ids: set[str] = field(default_factory=set)
    requests: dict[str, tuple[str, str]] = field(default_factory=dict)
    pending: Pending | None = None
    ended_restores: dict[str, EndedRestore] = field(default_factory=dict)
    replaced: list[Config] = field(default_factory=list)

    def backup_at(self, path: str) -> Backup | None:
        """The backup whose file is at ``path``."""
        return next((one for one in self.backups.values() if one.listed and one.path == path), None)

    def owner_of(self, path: str) -> Backup | None:
        """The backup whose manifest belongs to ``path``, whether its file exists or not."""
        return next((one for one in self.backups.values() if one.owner == path), None)

    def taken(self, path: str) -> bool:
        """Whether a file exists at ``path``."""
        return self.backup_at(path) is not None or path in self.foreign


class SystemUnderTest:
    """Directories, servers and the model. All requests go through ``call``, which checks each answer."""

    def __init__(self, fork_server: ForkServer) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stateful-"))
        self.dirs = GatewayDirs(self.folder)
        identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
        self.identity, self.wrong_identity = map(str, identities)
        self.model = Model(live=Config(self.dirs.config.read_bytes()))
        self._fork_server = fork_server
        keys = self.folder / "keys"
        keys.write_text(self.dirs.key)
        self._settings: dict[str, Any] = {
            "admin_key_file": str(keys),
            "age_recipients": [str(identities[0].to_public())],
            # Recipients alone would make encryption mandatory; the rules create plain backups as well.
            "encryption": "allow",
            "audit_bytes": 16_384,
        }
        self._slots: list[tuple[RunningServer, ExitStack] | None] = [None, None]
        self._declared: dict[str, Any] = self.server(0).client.get("/openapi.json").json()["paths"]

    def server(self, slot: int) -> RunningServer:
        """The server of a slot, started if there is none."""
        running = self._slots[slot]
        if running is None:
            stack = ExitStack()
            server = stack.enter_context(
                self._fork_server.running(self.dirs.config, self.dirs.backups, self.dirs.key, **self._settings)
            )
            running = self._slots[slot] = (server, stack)
        return running[0]

    def end(self, slot: int, number: signal.Signals) -> None:
        """Stops or kills the server of a slot, if there is one."""
        running, self._slots[slot] = self._slots[slot], None
        if running is None:
            return
        server, stack = running
        os.kill(server.pid, number)
        limit = time.monotonic() + 30
        while server.alive:
            assert time.monotonic() < limit, "the server does not stop"
            time.sleep(0.002)
        stack.close()

    def close(self) -> None:
        """Ends everything and removes the directories."""
        for slot in (0, 1):
            self.end(slot, signal.SIGKILL)
        shutil.rmtree(self.folder)

    def call(self, slot: int, method: str, url: str, route: str | None = None, **words: Any) -> httpx.Response:
        """Sends a request and checks that the endpoint declares the answer; returns the answer."""
        answer = self.server(slot).client.request(method, url, **words)
        self.find_saved_configs()
        self.check_declared(answer, method, route or url)
        return answer

    def check_declared(self, answer: httpx.Response, method: str, route: str) -> None:
        """Checks that the OpenAPI document declares this status and error code for the route."""
        declared = self._declared[route][method.lower()]["responses"]
        assert str(answer.status_code) in declared, (answer.status_code, answer.text[:500])
        if answer.status_code >= 400:
            body = answer.json()
            assert set(body) == {"error", "detail", "code", "timestamp"}
            examples = declared[str(answer.status_code)]["content"]["application/json"]["examples"]
            assert body["code"] in examples, body
            assert ERRORS[ErrorCode(body["code"])].status == answer.status_code
            assert answer.status_code != 500, body

    def open(self, stored: bytes, name: str) -> bytes:
        """Decrypts and decompresses a file with other libraries than the server's code."""
        if name.endswith(".age"):
            stored = pyrage.decrypt(stored, [pyrage.x25519.Identity.from_str(self.identity)])
            name = name.removesuffix(".age")
        if name.endswith(".gz"):
            return gzip.decompress(stored)
        if name.endswith(".zst"):
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stored)) as reader:
                return reader.read()
        return stored

    # Checks after every step.

    def check_live_config(self) -> None:
        """The live config has the bytes of the model, and detailed health reports its digest, counts and issues."""
        live, config = self.model.live, self.dirs.config
        assert (config.read_bytes() if config.exists() else None) == (None if live is None else live.data)
        slot = next((n for n, one in enumerate(self._slots) if one is not None), 0)
        health = self.call(slot, "GET", f"{PREFIX}/health").json()["data"]
        valid = live is not None and live.valid
        assert health["config_valid"] == valid, health["issues"]
        assert health["config_digest"] == (None if live is None else sha(live.data))
        counts = tuple(health[f"total_{name}"] for name in ("configs", "projects", "users", "api_keys"))
        assert counts == (live.counts if live is not None and valid else (0, 0, 0, 0))
        issues = live is not None and live.issues
        assert (health["status"] == "unhealthy") == (not valid)
        assert not valid or bool(health["issues"]) == issues
        pending = self.model.pending
        waits = health["pending_restore"]
        assert (waits and waits["request_id"]) == (pending and pending.request_id)
        self.check_previous_configs()

    def find_saved_configs(self) -> None:
        """Adds the backups that the server has made of previous configs to the model."""
        root = self.dirs.backups
        for file in sorted((root / "safety").glob("previous-*")):
            path = f"safety/{file.name}"
            content = next((one for one in self.model.replaced if self._is_copy(file, one)), None)
            if content is None:
                continue
            manifest_file = next(
                (one for one in root.glob(f"{path}.*") if b'"stored_sha256"' in one.read_bytes()), None
            )
            if manifest_file is None:
                self.model.foreign.setdefault(path, Foreign(content.data, content))
                continue
            manifest = manifest_file.read_bytes()
            backup_id = json.loads(manifest)["id"]
            if backup_id not in self.model.backups:
                self.model.backups[backup_id] = Backup(
                    backup_id, path, path, content, None, manifest, file.read_bytes()
                )

    def _is_copy(self, file: Path, config: Config) -> bool:
        if file.suffix not in (".zst", ".invalid"):
            return False
        return self.open(file.read_bytes(), file.name) == config.data

    def check_previous_configs(self) -> None:
        """Each config that was replaced is in a file. A config in a backup of the model is not checked again."""
        previous = [file.read_bytes() for file in self.dirs.state.glob("previous-*")]
        assert len(previous) <= 4
        live = self.model.live
        saved = [one.content.data for one in self.model.backups.values()]
        saved += [one.content.data for one in self.model.foreign.values()]
        self.model.replaced = [one for one in self.model.replaced if one.data not in saved]
        for one in self.model.replaced:
            assert one.data in previous or (live is not None and one.data == live.data), "a replaced config is lost"

    def check_list(self, slot: int) -> None:
        """Every file is listed exactly once with its kind, and no partial file is left."""
        items: list[dict[str, Any]] = []
        params: dict[str, Any] = {"limit": PAGE}
        while True:
            page = self.call(slot, "GET", ALL, params=params).json()["data"]
            items += page["items"]
            if page["continue"] is None:
                break
            assert len(page["items"]) == PAGE
            params["continue"] = page["continue"]
        assert [item["path"].split("/") for item in items] == sorted(item["path"].split("/") for item in items)
        expected: dict[str, tuple[str, str | None, str | None]] = dict.fromkeys(
            self.model.foreign, ("foreign", None, None)
        )
        for one in self.model.backups.values():
            if one.listed:
                kind = "compressed" if one.state == "compressed" else "backup"
                expected[one.path] = (kind, one.id, sha(one.content.data))
        listed = {
            item["path"]: (item["kind"], item["backup_id"], item["record"] and item["record"]["content_sha256"])
            for item in items
        }
        assert len(items) == len(listed)
        assert listed == expected
        for folder, _, names in os.walk(self.dirs.backups):
            assert not [name for name in names if name.startswith(".gateway-")], folder
        assert not os.listdir(self.dirs.backups / ".gateway" / "pending")

    def check_file(self, one: Backup) -> None:
        """The file has the bytes of the model and opens to the exact bytes of its config."""
        stored = (self.dirs.backups / one.path).read_bytes()
        assert stored == one.stored
        if one.state != "corrupt":
            assert self.open(stored, one.path) == one.content.data
        manifest = json.loads(one.manifest)
        assert (manifest["content_sha256"], manifest["content_bytes"]) == (sha(one.content.data), len(one.content.data))
        assert (self.dirs.backups / f"{one.owner}.manifest").read_bytes() == one.manifest

    def check_all_files(self) -> None:
        """Checks every backup, and that foreign files are unchanged."""
        for one in self.model.backups.values():
            if one.listed:
                self.check_file(one)
        for path, file in self.model.foreign.items():
            assert (self.dirs.backups / path).read_bytes() == file.stored

    def check_audit_log(self, *, by_command: bool = False) -> None:
        """Verifies the hash chain of the audit log across its segments; ``by_command``: also with the CLI."""
        if (self.dirs.backups / ".gateway" / "audit.jsonl").exists():
            intact, report = verify.verify_audit_log(self.dirs.backups, self.dirs.config.parent)
            assert intact, report
        if by_command:
            words = ["--backups", str(self.dirs.backups), "--config", str(self.dirs.config)]
            command = [sys.executable, "-m", "gateway_api", "audit", "verify", *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
