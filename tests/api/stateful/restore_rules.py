"""Rules that restore and reset the live config, and that commit, roll back or repeat these requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.api.stateful.backup_rules import picks, slots
from tests.api.stateful.configs import Config, key_in
from tests.api.stateful.file_rules import FileRules
from tests.api.stateful.system_under_test import PREFIX, Backup, Foreign, Pending, sha
from tests.api.support.responses import assert_error, assert_ok

RESTORES = [None, *(f"restore-{number}" for number in range(4))]
requests = st.sampled_from(RESTORES)


@dataclass
class RestoreAttempt:
    """The body of a restore request and its expected outcome.

    ``code``: the expected error, None for success. ``content``: the expected config, None for default settings.
    ``wrapped``: the file is an envelope, so only the JSON value of the config is known, not its bytes.
    ``compressed``: a user compressed the backup, and the request names it by its id.
    """

    body: dict[str, Any]
    code: str | None = None
    content: Config | None = None
    stored: bytes = b""
    wrapped: bool = False
    compressed: bool = False


class AdminApiStateMachine(FileRules):
    """The state machine with all rules."""

    def _make_attempt(self, number: int, by: str, key: str | None) -> RestoreAttempt:
        # In order of creation, because ids differ in every run.
        candidates: list[Backup | str] = [*self.model.backups.values(), *self.model.foreign]
        chosen = candidates[number % len(candidates)] if candidates else "none.json"
        if isinstance(chosen, str):
            body: dict[str, Any] = {"input_file": chosen if by == "id" else str(self.system.dirs.backups / chosen)}
            file = self.model.foreign.get(chosen)
            if file is None:
                return RestoreAttempt(body, "BackupNotFound")
            body["allow_issues"] = file.content.issues
            return RestoreAttempt(
                body, None if file.content.valid else "BackupInvalid", file.content, file.stored, file.wrapped
            )
        body = {"backup_id": chosen.id} if by == "id" else {"input_file": chosen.path}
        body |= self.identity(key)
        code = {"removed": "BackupNotFound", "corrupt": "BackupCorrupt"}.get(chosen.state)
        if code is None and chosen.encrypted and key != "right":
            code = "IdentityRequired" if key is None else "WrongIdentity"
        compressed = by == "id" and chosen.state == "compressed"
        return RestoreAttempt(body, code, chosen.content, chosen.stored, compressed=compressed)

    def _expected_replay(self, request: str | None, sent: tuple[str, str], attempt: RestoreAttempt) -> str | None:
        """``replay`` or the error code for a request id that was used before; None for a new one."""
        pending = self.model.pending
        earlier = None if request is None else self.model.ended_restores.get(request)
        if pending is not None and pending.request_id == request:
            earlier = pending.ended("applied")
        if earlier is None:
            return None
        if earlier.request != sent:
            return "RequestIdReused"
        if earlier.source and attempt.code == "BackupNotFound":
            return "BackupNotFound"
        same = not earlier.source or sha(attempt.stored) == earlier.source or attempt.compressed
        return "replay" if same else "DigestMismatch"

    @precondition(lambda self: self.model.backups or self.model.foreign)
    @rule(slot=slots, number=picks, by=st.sampled_from(["id", "path"]), key=st.sampled_from(["right", None, "wrong"]))
    def dry_run(self, slot: int, number: int, by: str, key: str | None) -> None:
        attempt = self._make_attempt(number, by, key)
        answer = self.call(slot, "POST", f"{PREFIX}/restore", json={**attempt.body, "dry_run": True})
        code = "RestorePending" if self.model.pending is not None else attempt.code
        if code is not None:
            assert_error(answer, code)
            return
        result, live = assert_ok(answer), self.model.live
        assert attempt.content is not None
        counts = tuple(result["counts"][name] for name in ("configs", "projects", "users", "api_keys"))
        assert counts == attempt.content.counts
        assert result["compared_with"] == ("config" if live is not None and live.valid else "nothing")
        if live is not None and live.data == attempt.content.data:
            assert not any(
                result["diff"][part][what] for part in ("users", "projects") for what in ("added", "changed")
            )
            assert result["diff"]["settings_changed"] == []

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
        attempt = self._make_attempt(number, by, key)
        body = {**attempt.body, "supersede": supersede, "safety_backup": safety}
        if digest is not None and attempt.content is not None:
            right = sha(attempt.content.data) if digest == "content" and not attempt.wrapped else sha(attempt.stored)
            body["expected_sha256"] = "0" * 64 if digest == "wrong" else right
            attempt.code = attempt.code or ("DigestMismatch" if digest == "wrong" else None)
            if digest == "wrong" and attempt.code == "BackupInvalid":
                attempt.code = "DigestMismatch"
        if request:
            body["request_id"] = request
        self._replace(slot, f"{PREFIX}/restore", body, request, attempt)

    @rule(
        slot=slots,
        request=requests,
        rotate=st.booleans(),
        supersede=st.booleans(),
        confirm=st.sampled_from([True, True, 1]),
    )
    def reset(self, slot: int, request: str | None, rotate: bool, supersede: bool, confirm: Any) -> None:
        body = {"confirm": confirm, "rotate_admin_key": rotate, "supersede": supersede}
        if request:
            body["request_id"] = request
        if confirm is not True:
            assert_error(self.call(slot, "POST", f"{PREFIX}/reset", json=body), "ResetNotConfirmed")
            return
        live = self.model.live
        before = None if live is None else key_in(live.data)
        no_key = before is None and not rotate
        after = self._replace(
            slot, f"{PREFIX}/reset", body, request, RestoreAttempt(body, "AdminKeyUnknown" if no_key else None)
        )
        if after is not None:
            assert after.counts == (0, 0, 0, 0)
            assert (key_in(after.data) == before) != rotate

    def _replace(
        self, slot: int, url: str, body: dict[str, Any], request: str | None, attempt: RestoreAttempt
    ) -> Config | None:
        """Sends a restore or a reset and updates the model; returns the new live config, None if it did not change."""
        model = self.model
        shown = {name: value for name, value in body.items() if name != "identity"}
        sent = (url, json.dumps(shown, sort_keys=True))
        repeats = self._expected_replay(request, sent, attempt)
        answer = self.call(slot, "POST", url, json=body)
        if repeats == "replay":
            assert assert_ok(answer)["replayed"]
            return None
        code = repeats or ("RestorePending" if model.pending and not body["supersede"] else attempt.code)
        if code is not None:
            assert_error(answer, code)
            return None
        done, before = assert_ok(answer), model.live
        assert not done["replayed"]
        assert done["previous_sha256"] == (None if before is None else sha(before.data))
        self._check_safety_backup(done["safety_backup"], body.get("safety_backup", True))
        if before is not None:
            model.replaced.append(before)
        if model.pending is not None:
            model.ended_restores[model.pending.request_id] = model.pending.ended("committed")
            model.pending = None
        now = self.system.dirs.config.read_bytes()
        assert sha(now) == done["restored_sha256"]
        expected = attempt.content
        if expected is None or attempt.wrapped:
            assert expected is None or json.loads(now) == json.loads(expected.data)
            expected = Config(now, issues=expected is not None and expected.issues)
        assert now == expected.data
        model.live = expected
        if request:
            model.pending = Pending(request, sent, before, expected, sha(attempt.stored) if attempt.stored else "")
        assert done["state"] == ("applied" if request else "committed")
        return expected

    def _check_safety_backup(self, saved: dict[str, Any], expected: Any) -> None:
        """Checks the safety backup of the config that was live before: a backup, or its raw bytes if it is invalid."""
        live = self.model.live
        if live is None:
            kind = "missing"
        elif expected is False:
            same = [one for one in self.model.backups.values() if one.content.data == live.data]
            intact = [one for one in same if one.state in ("intact", "compressed")]
            kind = saved["kind"]
            assert kind in ("kept", "backup")
            assert kind == "kept" or saved["backup_id"] in [one.id for one in intact]
            assert kind == "backup" or all(one.encrypted for one in intact)
            return
        else:
            kind = "backup" if live.valid else "raw"
        assert saved["kind"] == kind
        path = saved["path"]
        if kind == "backup" and saved["backup_id"] not in self.model.backups:
            assert live is not None
            root = self.system.dirs.backups
            manifest, stored = (root / f"{path}.manifest").read_bytes(), (root / path).read_bytes()
            backup = Backup(saved["backup_id"], path, path, live, None, manifest, stored)
            self.model.backups[backup.id] = backup
            self.system.check_file(backup)
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
            assert assert_ok(answer)["state"] == "committed"
            self.model.ended_restores[request] = pending.ended("committed")
            self.model.pending = None
        elif (earlier := self.model.ended_restores.get(request)) is None:
            assert_error(answer, "RestoreNotFound")
        elif earlier.state == "committed":
            assert assert_ok(answer)["replayed"]
        else:
            assert_error(answer, "RestoreEnded")

    @rule(slot=slots, request=st.sampled_from(RESTORES[1:]), force=st.booleans())
    def rollback(self, slot: int, request: str, force: bool) -> None:
        route = f"{PREFIX}/restores/{{request_id}}/rollback"
        answer = self.call(slot, "POST", route.format(request_id=request), route, json={"force": force})
        pending = self.model.pending
        if pending is not None and pending.request_id == request:
            if not force and self.model.live != pending.after:
                assert_error(answer, "ConfigChanged")
                return
            assert assert_ok(answer)["state"] == "rolled_back"
            self.model.ended_restores[request] = pending.ended("rolled_back")
            if self.model.live is not None and self.model.live != pending.after:
                self.model.replaced.append(self.model.live)
            self.model.live = pending.before
            self.model.pending = None
        elif (earlier := self.model.ended_restores.get(request)) is None:
            assert_error(answer, "RestoreNotFound")
        elif earlier.state == "rolled_back":
            assert assert_ok(answer)["replayed"]
        else:
            assert_error(answer, "RestoreEnded")

    @rule(slot=slots, request=st.sampled_from(RESTORES[1:]))
    def show_restore(self, slot: int, request: str) -> None:
        answer = self.call(slot, "GET", f"{PREFIX}/restores/{request}", f"{PREFIX}/restores/{{request_id}}")
        pending, earlier = self.model.pending, self.model.ended_restores.get(request)
        if pending is not None and pending.request_id == request:
            assert assert_ok(answer)["state"] == "applied"
        elif earlier is not None:
            assert assert_ok(answer)["state"] == earlier.state
        else:
            assert_error(answer, "RestoreNotFound")
