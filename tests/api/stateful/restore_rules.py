"""What a day does to the live config: restores, resets, their ends, and the same asked twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.api.conftest import failed, ok
from tests.api.stateful.backup_rules import picks, slots
from tests.api.stateful.configs import Config, key_in
from tests.api.stateful.file_rules import FileRules
from tests.api.stateful.system_under_test import PREFIX, Backup, Foreign, Pending, sha

RESTORES = [None, *(f"restore-{number}" for number in range(4))]
requests = st.sampled_from(RESTORES)


@dataclass
class Source:
    """What a restore is asked for: an error, or what the config must become. ``wrapped``: only as JSON."""

    body: dict[str, Any]
    code: str | None = None
    content: Config | None = None
    stored: bytes = b""
    wrapped: bool = False


class AdminApiStateMachine(FileRules):
    """All rules."""

    def _source(self, number: int, by: str, key: str | None) -> Source:
        # In the order in which they came: ids are another every time.
        chosen: list[Backup | str] = [*self.model.backups.values(), *self.model.foreign]
        found = chosen[number % len(chosen)] if chosen else "none.json"
        if isinstance(found, str):
            body: dict[str, Any] = {"input_file": found if by == "id" else str(self.system.dirs.backups / found)}
            file = self.model.foreign.get(found)
            if file is None:
                return Source(body, "BackupNotFound")
            body["allow_issues"] = file.content.issues
            return Source(
                body, None if file.content.valid else "BackupInvalid", file.content, file.stored, file.wrapped
            )
        body = {"backup_id": found.id} if by == "id" else {"input_file": found.path}
        body |= self.identity(key)
        code = {"gone": "BackupNotFound", "flipped": "BackupCorrupt"}.get(found.state)
        if code is None and found.encrypted and key != "right":
            code = "IdentityRequired" if key is None else "WrongIdentity"
        return Source(body, code, found.content, found.stored)

    def _repeats(self, request: str | None, asked: tuple[str, str]) -> str | None:
        """``replay`` or the refusal of a request id that is known."""
        pending = self.model.pending
        known = None if request is None else self.model.ended.get(request)
        if pending is not None and pending.request_id == request:
            known = (pending.asked, "applied")
        if known is None:
            return None
        return "replay" if known[0] == asked else "RequestIdReused"

    @precondition(lambda self: self.model.backups or self.model.foreign)
    @rule(slot=slots, number=picks, by=st.sampled_from(["id", "path"]), key=st.sampled_from(["right", None, "wrong"]))
    def dry_run(self, slot: int, number: int, by: str, key: str | None) -> None:
        source = self._source(number, by, key)
        answer = self.call(slot, "POST", f"{PREFIX}/restore", json={**source.body, "dry_run": True})
        code = "RestorePending" if self.model.pending is not None else source.code
        if code is not None:
            failed(answer, code)
            return
        told, live = ok(answer), self.model.live
        assert source.content is not None
        counts = tuple(told["counts"][name] for name in ("configs", "projects", "users", "api_keys"))
        assert counts == source.content.counts
        assert told["compared_with"] == ("config" if live is not None and live.valid else "nothing")
        if live is not None and live.data == source.content.data:
            assert not any(told["diff"][part][what] for part in ("users", "projects") for what in ("added", "changed"))
            assert told["diff"]["settings_changed"] == []

    @precondition(lambda self: self.model.backups or self.model.foreign)
    @rule(
        slot=slots,
        number=picks,
        by=st.sampled_from(["id", "path"]),
        key=st.sampled_from(["right", "right", None, "wrong"]),
        request=requests,
        digest=st.sampled_from([None, None, "content", "stored", "wrong"]),
        supersede=st.booleans(),
        safety=st.sampled_from([True, True, False, "required"]),
    )
    def restore(
        self,
        slot: int,
        number: int,
        by: str,
        key: str | None,
        request: str | None,
        digest: str | None,
        supersede: bool,
        safety: bool | str,
    ) -> None:
        source = self._source(number, by, key)
        body = {**source.body, "supersede": supersede, "safety_backup": safety}
        if digest is not None and source.content is not None:
            right = sha(source.content.data) if digest == "content" and not source.wrapped else sha(source.stored)
            body["expected_sha256"] = "0" * 64 if digest == "wrong" else right
            source.code = source.code or ("DigestMismatch" if digest == "wrong" else None)
            if digest == "wrong" and source.code == "BackupInvalid":
                source.code = "DigestMismatch"
        if request:
            body["request_id"] = request
        self._replace(slot, f"{PREFIX}/restore", body, request, source)

    @rule(
        slot=slots,
        request=requests,
        rotate=st.booleans(),
        supersede=st.booleans(),
        sure=st.sampled_from([True, True, 1]),
    )
    def reset(self, slot: int, request: str | None, rotate: bool, supersede: bool, sure: Any) -> None:
        body = {"confirm": sure, "rotate_admin_key": rotate, "supersede": supersede}
        if request:
            body["request_id"] = request
        if sure is not True:
            failed(self.call(slot, "POST", f"{PREFIX}/reset", json=body), "ResetNotConfirmed")
            return
        live = self.model.live
        before = None if live is None else key_in(live.data)
        unknown = before is None and not rotate
        after = self._replace(
            slot, f"{PREFIX}/reset", body, request, Source(body, "AdminKeyUnknown" if unknown else None)
        )
        if after is not None:
            assert after.counts == (0, 0, 0, 0)
            assert (key_in(after.data) == before) != rotate

    def _replace(self, slot: int, url: str, body: dict[str, Any], request: str | None, source: Source) -> Config | None:
        """Sends a restore or a reset and moves the model; returns what is live now if it has changed."""
        model = self.model
        shown = {name: value for name, value in body.items() if name != "identity"}
        asked = (url, json.dumps(shown, sort_keys=True))
        repeats = self._repeats(request, asked)
        answer = self.call(slot, "POST", url, json=body)
        if repeats == "replay":
            assert ok(answer)["replayed"]
            return None
        code = repeats or ("RestorePending" if model.pending and not body["supersede"] else source.code)
        if code is not None:
            failed(answer, code)
            return None
        done, before = ok(answer), model.live
        assert not done["replayed"]
        assert done["previous_sha256"] == (None if before is None else sha(before.data))
        self._saved(done["safety_backup"], body.get("safety_backup", True))
        if model.pending is not None:
            model.ended[model.pending.request_id] = (model.pending.asked, "committed")
            model.pending = None
        now = self.system.dirs.config.read_bytes()
        assert sha(now) == done["restored_sha256"]
        wanted = source.content
        if wanted is None or source.wrapped:
            assert wanted is None or json.loads(now) == json.loads(wanted.data)
            wanted = Config(now, issues=wanted is not None and wanted.issues)
        assert now == wanted.data
        model.live = wanted
        if request:
            model.pending = Pending(request, asked, before, wanted)
        assert done["state"] == ("applied" if request else "committed")
        return wanted

    def _saved(self, saved: dict[str, Any], wanted: Any) -> None:
        """What was live before is kept as well as it can be."""
        live = self.model.live
        if wanted is False:
            kind = "none"
        elif live is None:
            kind = "missing"
        else:
            kind = "backup" if live.valid else "raw"
        assert saved["kind"] == kind
        path = saved["path"]
        if kind == "backup" and saved["backup_id"] not in self.model.backups:
            assert live is not None
            root = self.system.dirs.backups
            manifest, stored = (root / f"{path}.manifest.json").read_bytes(), (root / path).read_bytes()
            made = Backup(saved["backup_id"], path, path, live, None, manifest, stored)
            self.model.backups[made.id] = made
            self.system.opens(made)
        elif kind == "raw":
            assert live is not None
            self.model.foreign[path] = Foreign(live.data, live)

    @rule(slot=slots, request=st.sampled_from(RESTORES[1:]))
    def commit(self, slot: int, request: str) -> None:
        answer = self.call(
            slot, "POST", f"{PREFIX}/restores/{request}/commit", f"{PREFIX}/restores/{{request_id}}/commit"
        )
        pending = self.model.pending
        if pending is not None and pending.request_id == request:
            assert ok(answer)["state"] == "committed"
            self.model.ended[request] = (pending.asked, "committed")
            self.model.pending = None
        elif (known := self.model.ended.get(request)) is None:
            failed(answer, "RestoreNotFound")
        elif known[1] == "committed":
            assert ok(answer)["replayed"]
        else:
            failed(answer, "RestoreEnded")

    @rule(slot=slots, request=st.sampled_from(RESTORES[1:]), force=st.booleans())
    def rollback(self, slot: int, request: str, force: bool) -> None:
        route = f"{PREFIX}/restores/{{request_id}}/rollback"
        answer = self.call(slot, "POST", route.format(request_id=request), route, json={"force": force})
        pending = self.model.pending
        if pending is not None and pending.request_id == request:
            if not force and self.model.live != pending.after:
                failed(answer, "ConfigChanged")
                return
            assert ok(answer)["state"] == "rolled_back"
            self.model.ended[request] = (pending.asked, "rolled_back")
            self.model.live = pending.before
            self.model.pending = None
        elif (known := self.model.ended.get(request)) is None:
            failed(answer, "RestoreNotFound")
        elif known[1] == "rolled_back":
            assert ok(answer)["replayed"]
        else:
            failed(answer, "RestoreEnded")

    @rule(slot=slots, request=st.sampled_from(RESTORES[1:]))
    def show_restore(self, slot: int, request: str) -> None:
        answer = self.call(slot, "GET", f"{PREFIX}/restores/{request}", f"{PREFIX}/restores/{{request_id}}")
        pending, known = self.model.pending, self.model.ended.get(request)
        if pending is not None and pending.request_id == request:
            assert ok(answer)["state"] == "applied"
        elif known is not None:
            assert ok(answer)["state"] == known[1]
        else:
            failed(answer, "RestoreNotFound")
