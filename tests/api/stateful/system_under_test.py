"""One or two real servers on one pair of directories, and what must hold of every answer they give."""

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
from tests.api.conftest import GatewayDirs
from tests.api.stateful.configs import Config
from tests.api.support.fork_server import ForkServer, RunningServer

PREFIX = "/api/v1/system"
ALL = f"{PREFIX}/backups"
PAGE = 3


def sha(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Backup:
    """What the model knows of a backup. ``path``: where its file lies; ``owner``: the name its manifest stands beside.

    ``state``: ``whole``, ``flipped`` (a byte is another), ``compressed`` (by a person), ``gone`` (its file alone).
    """

    id: str
    path: str
    owner: str
    content: Config
    request_id: str | None
    manifest: bytes
    stored: bytes
    state: str = "whole"

    @property
    def encrypted(self) -> bool:
        """Whether it takes an identity to open it."""
        return self.owner.endswith(".age")

    @property
    def listed(self) -> bool:
        """Whether its file is there."""
        return self.state != "gone"


@dataclass
class Foreign:
    """Somebody's file. ``content`` is the config it holds; ``wrapped``: in the public gateway's envelope."""

    stored: bytes
    content: Config
    wrapped: bool = False


@dataclass
class Pending:
    """A restore or reset that waits for its end: what was asked, what was live before, and what it put there."""

    request_id: str
    asked: tuple[str, str]
    before: Config | None
    after: Config


@dataclass
class Model:
    """All that must hold. ``asked``: body and backup of each request; ``ended``: what was asked, and how it ended."""

    live: Config | None = None
    backups: dict[str, Backup] = field(default_factory=dict)
    foreign: dict[str, Foreign] = field(default_factory=dict)
    buried: set[str] = field(default_factory=set)
    asked: dict[str, tuple[str, str]] = field(default_factory=dict)
    pending: Pending | None = None
    ended: dict[str, tuple[tuple[str, str], str]] = field(default_factory=dict)

    def at(self, path: str) -> Backup | None:
        """The backup whose file lies at ``path``."""
        return next((one for one in self.backups.values() if one.listed and one.path == path), None)

    def owner_of(self, path: str) -> Backup | None:
        """The backup whose manifest stands beside ``path``, whether its file is there or not."""
        return next((one for one in self.backups.values() if one.owner == path), None)

    def taken(self, path: str) -> bool:
        """Whether a file lies at ``path``."""
        return self.at(path) is not None or path in self.foreign


class SystemUnderTest:
    """Directories, servers and the model. ``call`` is the one way to a server."""

    def __init__(self, fork_server: ForkServer) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.dirs = GatewayDirs(self.folder)
        made = [pyrage.x25519.Identity.generate() for _ in range(2)]
        self.identity, self.wrong_identity = map(str, made)
        self.model = Model(live=Config(self.dirs.config.read_bytes()))
        self._fork_server = fork_server
        keys = self.folder / "keys"
        keys.write_text(self.dirs.key)
        self._settings: dict[str, Any] = {
            "admin_key_file": str(keys),
            "age_recipients": [str(made[0].to_public())],
            "audit_bytes": 16_384,
        }
        self._slots: list[tuple[RunningServer, ExitStack] | None] = [None, None]
        self._declared: dict[str, Any] = self.server(0).client.get("/openapi.json").json()["paths"]

    def server(self, slot: int) -> RunningServer:
        """The server of a slot, started if there is none."""
        found = self._slots[slot]
        if found is None:
            stack = ExitStack()
            served = stack.enter_context(
                self._fork_server.running(self.dirs.config, self.dirs.backups, self.dirs.key, **self._settings)
            )
            found = self._slots[slot] = (served, stack)
        return found[0]

    def end(self, slot: int, number: signal.Signals) -> None:
        """Stops or kills the server of a slot, if there is one."""
        found, self._slots[slot] = self._slots[slot], None
        if found is None:
            return
        served, stack = found
        os.kill(served.pid, number)
        limit = time.monotonic() + 30
        while served.alive:
            assert time.monotonic() < limit, "the server does not stop"
            time.sleep(0.002)
        stack.close()

    def close(self) -> None:
        """Ends everything and removes the directories."""
        for slot in (0, 1):
            self.end(slot, signal.SIGKILL)
        shutil.rmtree(self.folder)

    def call(self, slot: int, method: str, url: str, route: str | None = None, **words: Any) -> httpx.Response:
        """An answer, which is a success or a failure that the endpoint declares, never an unknown one."""
        answer = self.server(slot).client.request(method, url, **words)
        self.check(answer, method, route or url)
        return answer

    def check(self, answer: httpx.Response, method: str, route: str) -> None:
        """Whether an answer is one that the OpenAPI document knows."""
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
        """What a file holds, by other means than the server's."""
        if name.endswith(".age"):
            stored = pyrage.decrypt(stored, [pyrage.x25519.Identity.from_str(self.identity)])
            name = name.removesuffix(".age")
        if name.endswith(".gz"):
            return gzip.decompress(stored)
        if name.endswith(".zst"):
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stored)) as reader:
                return reader.read()
        return stored

    # What must hold after every step.

    def live_is_the_model_s(self) -> None:
        """The live config is exactly what was put there last; detailed health counts what a person would count."""
        live, config = self.model.live, self.dirs.config
        assert (config.read_bytes() if config.exists() else None) == (None if live is None else live.data)
        slot = next((n for n, one in enumerate(self._slots) if one is not None), 0)
        found = self.call(slot, "GET", f"{PREFIX}/health").json()["data"]
        valid = live is not None and live.valid
        assert found["config_valid"] == valid, found["issues"]
        assert found["config_digest"] == (None if live is None else sha(live.data))
        counts = tuple(found[f"total_{name}"] for name in ("configs", "projects", "users", "api_keys"))
        assert counts == (live.counts if live is not None and valid else (0, 0, 0, 0))
        issues = live is not None and live.issues
        assert (found["status"] == "unhealthy") == (not valid)
        assert not valid or bool(found["issues"]) == issues
        pending = self.model.pending
        waits = found["pending_restore"]
        assert (waits and waits["request_id"]) == (pending and pending.request_id)
        state = {name for name in os.listdir(self.dirs.state) if name.startswith(("staged-", "kept-", "replaced-"))}
        allowed = set() if pending is None else {f"kept-{pending.request_id}"}
        assert {name for name in state if not name.startswith("replaced-")} <= allowed

    def list_is_the_model_s(self, slot: int) -> None:
        """Every file is listed exactly once, as what it is, and nothing half is there."""
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

    def opens(self, one: Backup) -> None:
        """The file is what it was made as, and opens to the exact bytes of its config."""
        stored = (self.dirs.backups / one.path).read_bytes()
        assert stored == one.stored
        if one.state != "flipped":
            assert self.open(stored, one.path) == one.content.data
        manifest = json.loads(one.manifest)
        assert (manifest["content_sha256"], manifest["content_bytes"]) == (sha(one.content.data), len(one.content.data))
        assert (self.dirs.backups / f"{one.owner}.manifest.json").read_bytes() == one.manifest

    def all_opens(self) -> None:
        """As :meth:`opens`, of all; and other people's files are what they were."""
        for one in self.model.backups.values():
            if one.listed:
                self.opens(one)
        for path, file in self.model.foreign.items():
            assert (self.dirs.backups / path).read_bytes() == file.stored

    def audit_is_whole(self, *, by_command: bool = False) -> None:
        """The chain of the audit log, across its segments."""
        if (self.dirs.backups / ".gateway" / "audit.jsonl").exists():
            whole, words = verify.verify(self.dirs.backups)
            assert whole, words
        if by_command:
            command = [sys.executable, "-m", "gateway_api", "audit", "verify", "--backups", str(self.dirs.backups)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
