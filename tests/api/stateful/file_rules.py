"""Rules of the stateful test that upload and delete backups, and changes that users make to files on the volume."""

from __future__ import annotations

import gzip
import json
import os

import zstandard
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.api.stateful.backup_rules import PATHS, BackupRules, picks, sizes, slots
from tests.api.stateful.system_under_test import Foreign
from tests.api.support.backup_files import build_manifest
from tests.api.support.responses import assert_error, assert_ok


def compress_for_name(data: bytes, path: str) -> bytes:
    """Compresses as the suffix of ``path`` requires, with other libraries than the server's code."""
    if path.endswith(".gz"):
        return gzip.compress(data, 1)
    return zstandard.compress(data) if path.endswith(".zst") else data


class FileRules(BackupRules):
    """The rules about uploads, deletions and changes of files by users."""

    # Uploads and deletions.

    @rule(number=picks, path=st.sampled_from(PATHS), size=sizes)
    def backup_from_another_volume(self, number: int, path: str, size: int) -> None:
        if path.endswith(".age"):
            return
        self.counter += 1
        content = self.config(size, number, 0, noise=number % 2 == 0)
        stored, backup_id = compress_for_name(content.data, path), f"uploaded-{self.counter}"
        compression = {".gz": "gzip", ".zst": "zstd"}.get(path[path.rindex(".") :], "none")
        counts = dict(zip(("configs", "projects", "users", "api_keys"), content.counts, strict=True))
        manifest = build_manifest(content.data, stored, id=backup_id, path=path, compression=compression, counts=counts)
        self.uploadable[backup_id] = (json.dumps(manifest).encode(), stored, path, content)

    @precondition(lambda self: self.uploadable)
    @rule(
        slot=slots,
        other=slots,
        number=picks,
        mode=st.sampled_from(["complete", "in_parts", "wrong", "too_long", "interrupted"]),
    )
    def upload(self, slot: int, other: int, number: int, mode: str) -> None:
        backup_id = list(self.uploadable)[number % len(self.uploadable)]
        manifest, stored, path, content = self.uploadable[backup_id]
        existing = self.model.backups.get(backup_id)
        if existing is not None and not existing.listed and existing.owner != path:
            return
        rest = "/content"
        accepted = self.call_backup(slot, "PUT", backup_id, rest, params={"part": "manifest"}, content=manifest)
        if existing is not None and existing.state == "corrupt":
            assert_error(accepted, "BackupChanged")
            return
        if existing is not None and existing.listed:
            assert assert_ok(accepted)["state"] == "stored"
            assert assert_ok(self.call_backup(slot, "PUT", backup_id, rest, content=stored))["replayed"]
            return
        if backup_id in self.model.deleted_ids:
            assert_error(accepted, "Deleted")
            return
        half = len(stored) // 2
        assert assert_ok(accepted)["expected_bytes"] == len(stored)
        if mode == "wrong":
            wrong = stored[:half] + bytes([stored[half] ^ 1]) + stored[half + 1 :]
            assert_error(self.call_backup(slot, "PUT", backup_id, rest, content=wrong), "DigestMismatch")
            return
        if mode == "too_long":
            assert_error(self.call_backup(slot, "PUT", backup_id, rest, content=stored + b" "), "DigestMismatch")
            return
        headers = {}
        if mode != "complete":
            part = assert_ok(self.call_backup(slot, "PUT", backup_id, rest, content=stored[:half]))
            assert (part["state"], part["received_bytes"]) == ("partial", half)
            if mode == "interrupted":
                return
            headers = {"Content-Range": f"bytes {half}-{len(stored) - 1}/{len(stored)}"}
        answer = self.call_backup(
            other, "PUT", backup_id, rest, content=stored[half:] if headers else stored, headers=headers
        )
        if self.model.taken(path):
            assert_error(answer, "BackupExists")
            return
        assert assert_ok(answer)["state"] == "stored"
        self._record_new_backup(backup_id, path, content, json.loads(manifest).get("request_id"))

    @rule(slot=slots, number=picks)
    def delete(self, slot: int, number: int) -> None:
        if (backup := self.pick_backup(number, "intact", "corrupt", "compressed", "removed")) is None:
            assert not assert_ok(self.call_backup(slot, "DELETE", "none"))["existed"]
            return
        answer = self.call_backup(slot, "DELETE", backup.id)
        if backup.state == "corrupt" or (backup.moved and backup.listed):
            assert_error(answer, "BackupChanged")
            return
        if backup.moved:
            assert not assert_ok(answer)["existed"]
            return
        assert assert_ok(answer)["existed"] == backup.listed
        del self.model.backups[backup.id]
        self.model.deleted_ids.add(backup.id)
        assert not assert_ok(self.call_backup(slot, "DELETE", backup.id))["existed"]

    # Users change files on the volume.

    @precondition(lambda self: self.model.backups)
    @rule(number=picks, action=st.sampled_from(["gzip", "gunzip", "move", "remove_file", "remove_both", "corrupt"]))
    def user_changes_file(self, number: int, action: str) -> None:
        states = {"gunzip": ("compressed",), "corrupt": ("intact",), "gzip": ("intact",), "move": ("intact", "corrupt")}
        backup = self.pick_backup(number, *states.get(action, ("intact", "corrupt", "compressed")))
        if backup is None:
            return
        root = self.system.dirs.backups
        file, manifest_file = root / backup.path, root / f"{backup.owner}.manifest"
        if action == "gzip":
            target = f"{backup.path}.gz"
            plain = not backup.path.endswith((".gz", ".zst", ".age"))
            if not plain or self.model.taken(target) or self.model.owner_of(target) is not None:
                return
            backup.stored = gzip.compress(backup.stored, 1)
            (root / target).write_bytes(backup.stored)
            file.unlink()
            backup.path, backup.state = target, "compressed"
        elif action == "gunzip":
            backup.path, backup.stored, backup.state = backup.owner, backup.content.data, "intact"
            (root / backup.path).write_bytes(backup.stored)
            file.unlink()
        elif action == "move":
            self.counter += 1
            target = f"m{self.counter}/{backup.path.rpartition('/')[2]}"
            (root / target).parent.mkdir()
            file.rename(root / target)
            manifest_file.rename(root / f"{target}.manifest")
            backup.path = backup.owner = target
        elif action == "corrupt":
            offset = number * 7919 % len(backup.stored)
            backup.stored = backup.stored[:offset] + bytes([backup.stored[offset] ^ 1]) + backup.stored[offset + 1 :]
            backup.state = "corrupt"
            with file.open("r+b") as stream:
                os.pwrite(stream.fileno(), backup.stored[offset : offset + 1], offset)
        else:
            file.unlink()
            backup.state = "removed"
            if action == "remove_both":
                manifest_file.unlink()
                del self.model.backups[backup.id]

    @rule(
        path=st.sampled_from(["f0.json", "f1.json.gz", "g/f2.json.zst"]), size=sizes, seed=picks, wrapped=st.booleans()
    )
    def foreign_file_appears(self, path: str, size: int, seed: int, wrapped: bool) -> None:
        content = self.config(size, seed, seed, noise=seed % 2 == 0)
        data = content.data
        if wrapped:
            data = b'{"backup_version": "1.0", "timestamp": "now", "config": ' + data + b"}"
        stored = compress_for_name(data, path)
        (self.system.dirs.backups / path).parent.mkdir(exist_ok=True)
        (self.system.dirs.backups / path).write_bytes(stored)
        self.model.foreign[path] = Foreign(stored, content, wrapped)
