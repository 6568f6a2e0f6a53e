"""Rules of the stateful test that create, replace, list, read, verify and download backups.

Each rule sends a request, compares the answer with the model and updates the model. Other rules change the live config
and stop or kill servers.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import Any, ClassVar

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.api.stateful.configs import SHAPES, SIZES, Config, config_of, invalid_config
from tests.api.stateful.system_under_test import ALL, PREFIX, Backup, Foreign, SystemUnderTest, sha
from tests.api.support.fork_server import ForkServer
from tests.api.support.responses import assert_error, assert_ok

SUFFIXES = (".json", ".json.gz", ".json.zst", ".json.current", ".json.age", ".json.gz.age", ".json.zst.age")
PATHS = [f"{folder}{name}{suffix}" for folder in ("", "g/", "g/h/") for name in "ab" for suffix in SUFFIXES]
REQUESTS = [None, *(f"request-{number}" for number in range(5))]
slots = st.sampled_from([0, 0, 1])
picks = st.integers(0, 1000)
sizes = st.sampled_from(SIZES)


class BackupRules(RuleBasedStateMachine):
    """The rules about backups. Set ``fork_server`` on the class before the test runs."""

    fork_server: ClassVar[ForkServer]
    most_bytes: ClassVar[int] = SIZES[-1]

    @initialize(
        first=st.lists(st.tuples(st.sampled_from(PATHS), sizes, picks, st.sampled_from(REQUESTS)), max_size=5),
        large=st.sampled_from(SIZES[4:]),
        suffix=st.sampled_from([".json.zst", ".json.zst", *SUFFIXES]),
    )
    def begin(self, first: list[tuple[str, int, int, str | None]], large: int, suffix: str) -> None:
        self.system = SystemUnderTest(self.fork_server)
        self.model = self.system.model
        self.slot = 0
        self.uploadable: dict[str, tuple[bytes, bytes, str, Config]] = {}
        self.counter = 0
        for path, size, seed, request in first:
            self._write(self.config(size, seed, seed, noise=seed % 2 == 0), rename=False)
            self._backup(0, path, "overwrite", request, "", None)
        # Each sequence starts with one file format and one size that compresses badly, so that a few sequences cover
        # most combinations of both.
        self._write(self.config(large, 1, 0, noise=True), rename=False)
        self._backup(0, f"large{suffix}", "overwrite", None, "", None)

    def teardown(self) -> None:
        if hasattr(self, "system"):
            try:
                self.system.check_all_files()
                self.system.check_audit_log(by_command=True)
            finally:
                self.system.close()

    @invariant()
    def check_system(self) -> None:
        if hasattr(self, "system"):
            self.system.check_list(self.slot)
            self.system.check_live_config()
            self.system.check_audit_log()

    def call(self, slot: int, method: str, url: str, route: str | None = None, **words: Any) -> httpx.Response:
        self.slot = slot
        return self.system.call(slot, method, url, route, **words)

    def call_backup(self, slot: int, method: str, backup_id: str, rest: str = "", **words: Any) -> httpx.Response:
        return self.call(slot, method, f"{ALL}/{backup_id}{rest}", f"{ALL}/{{backup_id}}{rest}", **words)

    def pick_backup(self, number: int, *states: str) -> Backup | None:
        candidates = [backup for backup in self.model.backups.values() if backup.state in states]
        return candidates[number % len(candidates)] if candidates else None

    def config(self, size: int, seed: int, shape: int, *, noise: bool) -> Config:
        return config_of(self.system.dirs.key, min(size, self.most_bytes), seed, shape, noise=noise)

    # The gateway writes its config, or the config becomes invalid.

    @rule(size=sizes, seed=picks, shape=st.integers(0, len(SHAPES) - 1), noise=st.booleans(), rename=st.booleans())
    def gateway_writes(self, size: int, seed: int, shape: int, noise: bool, rename: bool) -> None:
        self._write(self.config(size, seed, shape, noise=noise), rename=rename)

    @precondition(lambda self: self.model.live is not None and self.model.live.valid)
    @rule(kind=st.integers(-2, 20), rename=st.booleans())
    def config_becomes_invalid(self, kind: int, rename: bool) -> None:
        if kind >= 0:
            self._write(invalid_config(self.system.dirs.key, kind), rename=rename)
        else:
            self.system.dirs.config.unlink()
            self.model.live = None

    @precondition(lambda self: self.model.live is None or not self.model.live.valid)
    @rule(size=sizes, seed=picks)
    def config_is_fixed(self, size: int, seed: int) -> None:
        self._write(self.config(size, seed, 0, noise=True), rename=True)

    def _write(self, config: Config, *, rename: bool) -> None:
        target = self.system.dirs.config
        if rename:
            (target.parent / "next").write_bytes(config.data)
            (target.parent / "next").rename(target)
        else:
            target.write_bytes(config.data)
        self.model.live = config

    # Servers stop or are killed; the next request starts them again.

    @rule(slot=slots, number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def server_ends(self, slot: int, number: signal.Signals) -> None:
        self.system.end(slot, number)

    # Backups are created.

    @rule(
        slot=slots,
        path=st.sampled_from(PATHS),
        mode=st.sampled_from(["path", "overwrite", "output_file"]),
        request=st.sampled_from(REQUESTS),
        note=st.sampled_from(["", "", "note"]),
        killed=st.sampled_from([None, None, None, 0, 5, 20]),
    )
    def backup(self, slot: int, path: str, mode: str, request: str | None, note: str, killed: int | None) -> None:
        self._backup(slot, path, mode, request, note, killed)

    @rule(slot=slots, path=st.sampled_from(PATHS), size=sizes, seed=picks, noise=st.booleans())
    def gateway_writes_and_is_backed_up(self, slot: int, path: str, size: int, seed: int, noise: bool) -> None:
        self._write(self.config(size, seed, 0, noise=noise), rename=False)
        self._backup(slot, path, "output_file", None, "", None)

    def _backup(self, slot: int, path: str, mode: str, request: str | None, note: str, killed: int | None) -> None:
        body: dict[str, Any] = {"path": path}
        if mode == "output_file":
            body = {"output_file": str(self.system.dirs.backups / path)}
        elif mode == "overwrite":
            body["overwrite"] = True
        body |= {"request_id": request} if request else {}
        body |= {"metadata": {"note": note}} if note else {}
        if killed is not None and request is not None:
            self._kill_during_backup(slot, body, killed)
        expected = self._expected_error(path, body, replace=mode != "path")
        answer = self.call(slot, "POST", f"{PREFIX}/backup", json=body)
        if expected is not None and expected != "replay":
            assert_error(answer, expected)
            return
        created = assert_ok(answer)
        if expected == "replay":
            assert request is not None
            earlier = self.model.backups[self.model.requests[request][1]]
            assert created["replayed"]
            assert (created["backup_id"], created["content_sha256"]) == (earlier.id, sha(earlier.content.data))
            return
        assert self.model.live is not None
        assert killed is not None or not created["replayed"]
        assert (created["path"], created["level"], created["proof"]) == (path, "Verified", "payload")
        assert created["content_bytes"] == len(self.model.live.data)
        self._record_new_backup(created["backup_id"], path, self.model.live, request)
        if request:
            self.model.requests[request] = (json.dumps(body, sort_keys=True), created["backup_id"])

    def _kill_during_backup(self, slot: int, body: dict[str, Any], milliseconds: int) -> None:
        """Kills the server during a backup request. The calling rule then repeats the request."""
        client = self.system.server(slot).client

        def ask() -> None:
            try:
                client.post(f"{PREFIX}/backup", json=body)
            except httpx.TransportError:
                return

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(milliseconds / 1000)
        self.system.end(slot, signal.SIGKILL)
        thread.join(30)

    def _expected_error(self, path: str, body: dict[str, Any], *, replace: bool) -> str | None:
        model, request = self.model, body.get("request_id")
        if request in model.requests:
            sent, backup_id = model.requests[request]
            earlier = model.backups.get(backup_id)
            if earlier is not None or backup_id in model.deleted_ids:
                if sent != json.dumps(body, sort_keys=True):
                    return "RequestIdReused"
                if earlier is None or not earlier.listed:
                    return "Deleted"
                return "BackupChanged" if earlier.state == "corrupt" else "replay"
        if model.live is None:
            return "ConfigMissing"
        if not model.live.valid:
            return "ConfigInvalid"
        if "output_file" in body and self._is_managed(path):
            return "BackupManaged"
        return "BackupExists" if model.taken(path) and not replace else None

    def _is_managed(self, path: str) -> bool:
        """Whether a backup of a request with an id has this path, or was gzipped by a user to it or from it."""
        for owner in {path, path.removesuffix(".gz")}:
            backup = self.model.owner_of(owner)
            if backup is not None and backup.request_id is not None:
                is_its_file = backup.state == "compressed" or (owner == path and self.model.taken(path))
                if is_its_file and path in (owner, backup.path):
                    return True
        return False

    def _record_new_backup(self, backup_id: str, path: str, content: Config, request: str | None) -> None:
        """Adds a new backup to the model and removes the file that had the same path before."""
        model = self.model
        if (old := model.owner_of(path)) is not None:
            if old.request_id is not None:
                model.deleted_ids.add(old.id)
            if old.state == "compressed":
                model.foreign[old.path] = Foreign(old.stored, old.content)
            del model.backups[old.id]
        if (overwritten := model.backup_at(path)) is not None:
            overwritten.state = "removed"
        model.foreign.pop(path, None)
        manifest = (self.system.dirs.backups / f"{path}.manifest").read_bytes()
        stored = (self.system.dirs.backups / path).read_bytes()
        model.backups[backup_id] = Backup(backup_id, path, path, content, request, manifest, stored)
        self.system.check_file(model.backups[backup_id])

    # Backups are listed, read and verified.

    @rule(slot=slots, path=st.sampled_from([*PATHS, "f0.json", "f1.json.gz"]))
    def list_one(self, slot: int, path: str) -> None:
        items = assert_ok(self.call(slot, "GET", ALL, params={"path": path}))["items"]
        assert [item["path"] for item in items] == ([path] if self.model.taken(path) else [])

    @rule(slot=slots, number=picks)
    def show(self, slot: int, number: int) -> None:
        if (backup := self.pick_backup(number, "intact", "corrupt", "compressed", "removed")) is None:
            assert_error(self.call_backup(slot, "GET", "none"), "BackupNotFound")
        elif not backup.listed:
            assert_error(self.call_backup(slot, "GET", backup.id), "BackupNotFound")
        else:
            shown = assert_ok(self.call_backup(slot, "GET", backup.id))
            assert (shown["path"], shown["stored_sha256"] == sha(backup.stored)) == (
                backup.path,
                backup.state != "corrupt",
            )

    @precondition(lambda self: self.model.backups)
    @rule(slot=slots, number=picks, key=st.sampled_from([None, "right", "wrong"]))
    def verify(self, slot: int, number: int, key: str | None) -> None:
        if (backup := self.pick_backup(number, "intact", "corrupt", "compressed", "removed")) is None:
            return
        answer = self.call_backup(slot, "POST", backup.id, "/verify", json=self.identity(key))
        if not backup.listed:
            assert_error(answer, "BackupNotFound")
        elif backup.state == "corrupt":
            result = assert_ok(answer)
            assert (result["level"], [one["code"] for one in result["problems"]]) == (None, ["BackupCorrupt"])
            assert assert_ok(self.call_backup(slot, "GET", backup.id))["level"] is None
        elif backup.encrypted and key == "wrong":
            assert_error(answer, "WrongIdentity")
        else:
            result = assert_ok(answer)
            assert (result["level"], result["problems"]) == ("Verified", [])
            assert result["proof"] == ("recipient" if backup.encrypted and key else "payload")

    def identity(self, key: str | None) -> dict[str, str]:
        if key is None:
            return {}
        return {"identity": self.system.identity if key == "right" else self.system.wrong_identity}

    @rule(slot=slots, number=picks)
    def inspect(self, slot: int, number: int) -> None:
        backups = [one for one in self.model.backups.values() if one.listed]
        names = [*(one.path for one in backups), *self.model.foreign]
        path = names[number % len(names)] if names else "none.json"
        answer = self.call(slot, "POST", f"{ALL}/inspect", json={"path": path, **self.identity("right")})
        if not names:
            assert_error(answer, "BackupNotFound")
            return
        result, backup = assert_ok(answer), self.model.backup_at(path)
        codes = [one["code"] for one in result["problems"]]
        if backup is not None:
            assert codes == (["BackupCorrupt"] if backup.state == "corrupt" else [])
            assert backup.state == "corrupt" or result["content_sha256"] == sha(backup.content.data)
        else:
            assert codes == ([] if self.model.foreign[path].content.valid else ["BackupInvalid"])

    @precondition(lambda self: self.model.backups)
    @rule(slot=slots, number=picks, first=picks, length=st.sampled_from([1, 4096, 256 * 1024, 256 * 1024 + 1, 10**9]))
    def download(self, slot: int, number: int, first: int, length: int) -> None:
        if (backup := self.pick_backup(number, "intact", "corrupt", "compressed", "removed")) is None:
            return
        answer = self.call_backup(slot, "GET", backup.id, "/content")
        if not backup.listed:
            assert_error(answer, "BackupNotFound")
            return
        assert answer.content == backup.stored
        first %= len(backup.stored)
        part = self.call_backup(
            slot, "GET", backup.id, "/content", headers={"Range": f"bytes={first}-{first + length - 1}"}
        )
        assert part.content == backup.stored[first : first + length]
        manifest = self.call_backup(slot, "GET", backup.id, "/content", params={"part": "manifest"}).content
        assert manifest == backup.manifest
        if backup.state == "intact":
            self.uploadable[backup.id] = (manifest, answer.content, json.loads(manifest)["path"], backup.content)
