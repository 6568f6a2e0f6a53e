"""What a day does to backups: they are made, replaced, listed, looked into and taken away."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import Any, ClassVar

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.api.conftest import failed, ok
from tests.api.stateful.configs import SHAPES, SIZES, Config, config_of, invalid_config
from tests.api.stateful.system_under_test import ALL, PREFIX, Backup, Foreign, SystemUnderTest, sha
from tests.api.support.fork_server import ForkServer

SUFFIXES = (".json", ".json.gz", ".json.zst", ".json.current", ".json.age", ".json.gz.age", ".json.zst.age")
PATHS = [f"{folder}{name}{suffix}" for folder in ("", "g/", "g/h/") for name in "ab" for suffix in SUFFIXES]
REQUESTS = [None, *(f"request-{number}" for number in range(5))]
slots = st.sampled_from([0, 0, 1])
picks = st.integers(0, 1000)
sizes = st.sampled_from(SIZES)


class BackupRules(RuleBasedStateMachine):
    """The rules about backups. ``nursery`` is given by whoever runs it."""

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
        self.parcels: dict[str, tuple[bytes, bytes, str, Config]] = {}
        self.fresh = 0
        for path, size, seed, request in first:
            self._write(self.config(size, seed, seed, noise=seed % 2 == 0), rename=False)
            self._backup(0, path, "overwrite", request, "", None)
        # Each day begins with one form at one size that hardly packs: a dozen days meet much of what depends on both.
        self._write(self.config(large, 1, 0, noise=True), rename=False)
        self._backup(0, f"large{suffix}", "overwrite", None, "", None)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.system.all_opens()
                self.system.audit_is_whole(by_command=True)
            finally:
                self.system.close()

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.system.list_is_the_model_s(self.slot)
            self.system.live_is_the_model_s()
            self.system.audit_is_whole()

    def call(self, slot: int, method: str, url: str, route: str | None = None, **words: Any) -> httpx.Response:
        self.slot = slot
        return self.system.call(slot, method, url, route, **words)

    def one(self, slot: int, method: str, backup_id: str, rest: str = "", **words: Any) -> httpx.Response:
        return self.call(slot, method, f"{ALL}/{backup_id}{rest}", f"{ALL}/{{backup_id}}{rest}", **words)

    def pick(self, number: int, *states: str) -> Backup | None:
        found = [one for one in self.model.backups.values() if one.state in states]
        return found[number % len(found)] if found else None

    def config(self, size: int, seed: int, shape: int, *, noise: bool) -> Config:
        return config_of(self.system.dirs.key, min(size, self.most_bytes), seed, shape, noise=noise)

    # The gateway writes its config, or somebody breaks it.

    @rule(size=sizes, seed=picks, shape=st.integers(0, len(SHAPES) - 1), noise=st.booleans(), rename=st.booleans())
    def gateway_writes(self, size: int, seed: int, shape: int, noise: bool, rename: bool) -> None:
        self._write(self.config(size, seed, shape, noise=noise), rename=rename)

    @precondition(lambda self: self.model.live is not None and self.model.live.valid)
    @rule(kind=st.integers(-2, 20), rename=st.booleans())
    def config_breaks(self, kind: int, rename: bool) -> None:
        if kind >= 0:
            self._write(invalid_config(self.system.dirs.key, kind), rename=rename)
        else:
            self.system.dirs.config.unlink()
            self.model.live = None

    @precondition(lambda self: self.model.live is None or not self.model.live.valid)
    @rule(size=sizes, seed=picks)
    def config_is_mended(self, size: int, seed: int) -> None:
        self._write(self.config(size, seed, 0, noise=True), rename=True)

    def _write(self, config: Config, *, rename: bool) -> None:
        target = self.system.dirs.config
        if rename:
            (target.parent / "next").write_bytes(config.data)
            (target.parent / "next").rename(target)
        else:
            target.write_bytes(config.data)
        self.model.live = config

    # Servers come and go.

    @rule(slot=slots, number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def server_ends(self, slot: int, number: signal.Signals) -> None:
        self.system.end(slot, number)

    # Backups are made.

    @rule(
        slot=slots,
        path=st.sampled_from(PATHS),
        how=st.sampled_from(["path", "overwrite", "output_file"]),
        request=st.sampled_from(REQUESTS),
        note=st.sampled_from(["", "", "note"]),
        killed=st.sampled_from([None, None, None, 0, 5, 20]),
    )
    def backup(self, slot: int, path: str, how: str, request: str | None, note: str, killed: int | None) -> None:
        self._backup(slot, path, how, request, note, killed)

    @rule(slot=slots, path=st.sampled_from(PATHS), size=sizes, seed=picks, noise=st.booleans())
    def gateway_writes_and_is_backed_up(self, slot: int, path: str, size: int, seed: int, noise: bool) -> None:
        self._write(self.config(size, seed, 0, noise=noise), rename=False)
        self._backup(slot, path, "output_file", None, "", None)

    def _backup(self, slot: int, path: str, how: str, request: str | None, note: str, killed: int | None) -> None:
        body: dict[str, Any] = {"path": path}
        if how == "output_file":
            body = {"output_file": str(self.system.dirs.backups / path)}
        elif how == "overwrite":
            body["overwrite"] = True
        body |= {"request_id": request} if request else {}
        body |= {"metadata": {"note": note}} if note else {}
        if killed is not None and request is not None:
            self._killed(slot, body, killed)
        expected = self._refusal(path, body, replace=how != "path")
        answer = self.call(slot, "POST", f"{PREFIX}/backup", json=body)
        if expected is not None and expected != "replay":
            failed(answer, expected)
            return
        made = ok(answer)
        if expected == "replay":
            assert request is not None
            known = self.model.backups[self.model.asked[request][1]]
            assert made["replayed"]
            assert (made["backup_id"], made["content_sha256"]) == (known.id, sha(known.content.data))
            return
        assert self.model.live is not None
        assert killed is not None or not made["replayed"]
        assert (made["path"], made["level"], made["proof"]) == (path, "Verified", "payload")
        assert made["content_bytes"] == len(self.model.live.data)
        self._came(made["backup_id"], path, self.model.live, request)
        if request:
            self.model.asked[request] = (json.dumps(body, sort_keys=True), made["backup_id"])

    def _killed(self, slot: int, body: dict[str, Any], milliseconds: int) -> None:
        """The server dies while it is asked; what became of it is told by asking again, which the rule then does."""
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

    def _refusal(self, path: str, body: dict[str, Any], *, replace: bool) -> str | None:
        model, request = self.model, body.get("request_id")
        if request in model.asked:
            asked, backup_id = model.asked[request]
            known = model.backups.get(backup_id)
            if known is not None or backup_id in model.buried:
                if asked != json.dumps(body, sort_keys=True):
                    return "RequestIdReused"
                return "Deleted" if known is None or not known.listed else "replay"
        if model.live is None:
            return "ConfigMissing"
        if not model.live.valid:
            return "ConfigInvalid"
        return "BackupExists" if model.taken(path) and not replace else None

    def _came(self, backup_id: str, path: str, content: Config, request: str | None) -> None:
        """A backup has its name now, and what had it before has not."""
        model = self.model
        if (old := model.owner_of(path)) is not None:
            if old.request_id is not None:
                model.buried.add(old.id)
            if old.state == "compressed":
                model.foreign[old.path] = Foreign(old.stored, old.content)
            del model.backups[old.id]
        if (under := model.at(path)) is not None:
            under.state = "gone"
        model.foreign.pop(path, None)
        manifest = (self.system.dirs.backups / f"{path}.manifest.json").read_bytes()
        stored = (self.system.dirs.backups / path).read_bytes()
        model.backups[backup_id] = Backup(backup_id, path, path, content, request, manifest, stored)
        self.system.opens(model.backups[backup_id])

    # Backups are looked at.

    @rule(slot=slots, path=st.sampled_from([*PATHS, "f0.json", "f1.json.gz"]))
    def list_one(self, slot: int, path: str) -> None:
        items = ok(self.call(slot, "GET", ALL, params={"path": path}))["items"]
        assert [item["path"] for item in items] == ([path] if self.model.taken(path) else [])

    @rule(slot=slots, number=picks)
    def show(self, slot: int, number: int) -> None:
        if (found := self.pick(number, "whole", "flipped", "compressed", "gone")) is None:
            failed(self.one(slot, "GET", "none"), "BackupNotFound")
        elif not found.listed:
            failed(self.one(slot, "GET", found.id), "BackupNotFound")
        else:
            shown = ok(self.one(slot, "GET", found.id))
            assert (shown["path"], shown["stored_sha256"] == sha(found.stored)) == (
                found.path,
                found.state != "flipped",
            )

    @precondition(lambda self: self.model.backups)
    @rule(slot=slots, number=picks, key=st.sampled_from([None, "right", "wrong"]))
    def verify(self, slot: int, number: int, key: str | None) -> None:
        if (found := self.pick(number, "whole", "flipped", "compressed", "gone")) is None:
            return
        answer = self.one(slot, "POST", found.id, "/verify", json=self.identity(key))
        if not found.listed:
            failed(answer, "BackupNotFound")
        elif found.state == "flipped":
            told = ok(answer)
            assert (told["level"], [one["code"] for one in told["problems"]]) == (None, ["BackupCorrupt"])
            assert ok(self.one(slot, "GET", found.id))["level"] is None
        elif found.encrypted and key == "wrong":
            failed(answer, "WrongIdentity")
        else:
            told = ok(answer)
            assert (told["level"], told["problems"]) == ("Verified", [])
            assert told["proof"] == ("recipient" if found.encrypted and key else "payload")

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
            failed(answer, "BackupNotFound")
            return
        told, found = ok(answer), self.model.at(path)
        codes = [one["code"] for one in told["problems"]]
        if found is not None:
            assert codes == (["BackupCorrupt"] if found.state == "flipped" else [])
            assert found.state == "flipped" or told["content_sha256"] == sha(found.content.data)
        else:
            assert codes == ([] if self.model.foreign[path].content.valid else ["BackupInvalid"])

    @precondition(lambda self: self.model.backups)
    @rule(slot=slots, number=picks, first=picks, length=st.sampled_from([1, 4096, 256 * 1024, 256 * 1024 + 1, 10**9]))
    def take_away(self, slot: int, number: int, first: int, length: int) -> None:
        if (found := self.pick(number, "whole", "flipped", "compressed", "gone")) is None:
            return
        answer = self.one(slot, "GET", found.id, "/content")
        if not found.listed:
            failed(answer, "BackupNotFound")
            return
        assert answer.content == found.stored
        first %= len(found.stored)
        part = self.one(slot, "GET", found.id, "/content", headers={"Range": f"bytes={first}-{first + length - 1}"})
        assert part.content == found.stored[first : first + length]
        manifest = self.one(slot, "GET", found.id, "/content", params={"part": "manifest"}).content
        assert manifest == found.manifest
        if found.state == "whole":
            self.parcels[found.id] = (manifest, answer.content, json.loads(manifest)["path"], found.content)
