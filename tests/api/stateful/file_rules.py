"""What else a day does to backups: they are brought from elsewhere, deleted, and touched by people."""

from __future__ import annotations

import gzip
import json
import os

import zstandard
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.api.conftest import failed, ok
from tests.api.stateful.backup_rules import PATHS, BackupRules, picks, sizes, slots
from tests.api.stateful.system_under_test import Foreign
from tests.api.support.backup_files import manifest_of


def packed(data: bytes, path: str) -> bytes:
    """A file of that name as other programs write it."""
    if path.endswith(".gz"):
        return gzip.compress(data, 1)
    return zstandard.compress(data) if path.endswith(".zst") else data


class FileRules(BackupRules):
    """The rules about backups that come and go."""

    # Backups come from elsewhere, and go.

    @rule(number=picks, path=st.sampled_from(PATHS), size=sizes)
    def parcel(self, number: int, path: str, size: int) -> None:
        if path.endswith(".age"):
            return
        self.fresh += 1
        content = self.config(size, number, 0, noise=number % 2 == 0)
        stored, backup_id = packed(content.data, path), f"parcel-{self.fresh}"
        compression = {".gz": "gzip", ".zst": "zstd"}.get(path[path.rindex(".") :], "none")
        counts = dict(zip(("configs", "projects", "users", "api_keys"), content.counts, strict=True))
        manifest = manifest_of(content.data, stored, id=backup_id, path=path, compression=compression, counts=counts)
        self.parcels[backup_id] = (json.dumps(manifest).encode(), stored, path, content)

    @precondition(lambda self: self.parcels)
    @rule(slot=slots, other=slots, number=picks, how=st.sampled_from(["whole", "pieces", "wrong", "long", "early"]))
    def bring(self, slot: int, other: int, number: int, how: str) -> None:
        backup_id = list(self.parcels)[number % len(self.parcels)]
        manifest, stored, path, content = self.parcels[backup_id]
        known = self.model.backups.get(backup_id)
        if known is not None and not known.listed and known.owner != path:
            return
        rest = "/content"
        begun = self.one(slot, "PUT", backup_id, rest, params={"part": "manifest"}, content=manifest)
        if known is not None and known.listed:
            assert ok(begun)["state"] == "stored"
            assert ok(self.one(slot, "PUT", backup_id, rest, content=stored))["replayed"]
            return
        if backup_id in self.model.buried:
            failed(begun, "Deleted")
            return
        half = len(stored) // 2
        assert ok(begun)["expected_bytes"] == len(stored)
        if how == "wrong":
            wrong = stored[:half] + bytes([stored[half] ^ 1]) + stored[half + 1 :]
            failed(self.one(slot, "PUT", backup_id, rest, content=wrong), "DigestMismatch")
            return
        if how == "long":
            failed(self.one(slot, "PUT", backup_id, rest, content=stored + b" "), "DigestMismatch")
            return
        headers = {}
        if how != "whole":
            part = ok(self.one(slot, "PUT", backup_id, rest, content=stored[:half]))
            assert (part["state"], part["received_bytes"]) == ("partial", half)
            if how == "early":
                return
            headers = {"Content-Range": f"bytes {half}-{len(stored) - 1}/{len(stored)}"}
        answer = self.one(other, "PUT", backup_id, rest, content=stored[half:] if headers else stored, headers=headers)
        if self.model.taken(path):
            failed(answer, "BackupExists")
            return
        assert ok(answer)["state"] == "stored"
        self._came(backup_id, path, content, json.loads(manifest).get("request_id"))

    @rule(slot=slots, number=picks)
    def delete(self, slot: int, number: int) -> None:
        if (found := self.pick(number, "whole", "flipped", "compressed", "gone")) is None:
            assert not ok(self.one(slot, "DELETE", "none"))["existed"]
            return
        answer = self.one(slot, "DELETE", found.id)
        if found.state == "flipped":
            failed(answer, "BackupChanged")
            return
        assert ok(answer)["existed"] == found.listed
        del self.model.backups[found.id]
        self.model.buried.add(found.id)
        assert not ok(self.one(slot, "DELETE", found.id))["existed"]

    # People touch files.

    @precondition(lambda self: self.model.backups)
    @rule(number=picks, what=st.sampled_from(["gzip", "gunzip", "move", "remove", "vanish", "flip"]))
    def person(self, number: int, what: str) -> None:
        states = {"gunzip": ("compressed",), "flip": ("whole",), "gzip": ("whole",), "move": ("whole", "flipped")}
        found = self.pick(number, *states.get(what, ("whole", "flipped", "compressed")))
        if found is None:
            return
        root = self.system.dirs.backups
        file, owner = root / found.path, root / f"{found.owner}.manifest.json"
        if what == "gzip":
            target = f"{found.path}.gz"
            plain = not found.path.endswith((".gz", ".zst", ".age"))
            if not plain or self.model.taken(target) or self.model.owner_of(target) is not None:
                return
            found.stored = gzip.compress(found.stored, 1)
            (root / target).write_bytes(found.stored)
            file.unlink()
            found.path, found.state = target, "compressed"
        elif what == "gunzip":
            found.path, found.stored, found.state = found.owner, found.content.data, "whole"
            (root / found.path).write_bytes(found.stored)
            file.unlink()
        elif what == "move":
            self.fresh += 1
            target = f"m{self.fresh}/{found.path.rpartition('/')[2]}"
            (root / target).parent.mkdir()
            file.rename(root / target)
            owner.rename(root / f"{target}.manifest.json")
            found.path = found.owner = target
        elif what == "flip":
            at = number * 7919 % len(found.stored)
            found.stored = found.stored[:at] + bytes([found.stored[at] ^ 1]) + found.stored[at + 1 :]
            found.state = "flipped"
            with file.open("r+b") as stream:
                os.pwrite(stream.fileno(), found.stored[at : at + 1], at)
        else:
            file.unlink()
            found.state = "gone"
            if what == "vanish":
                owner.unlink()
                del self.model.backups[found.id]

    @rule(
        path=st.sampled_from(["f0.json", "f1.json.gz", "g/f2.json.zst"]), size=sizes, seed=picks, wrapped=st.booleans()
    )
    def stranger(self, path: str, size: int, seed: int, wrapped: bool) -> None:
        content = self.config(size, seed, seed, noise=seed % 2 == 0)
        data = content.data
        if wrapped:
            data = b'{"backup_version": "1.0", "timestamp": "now", "config": ' + data + b"}"
        stored = packed(data, path)
        (self.system.dirs.backups / path).parent.mkdir(exist_ok=True)
        (self.system.dirs.backups / path).write_bytes(stored)
        self.model.foreign[path] = Foreign(stored, content, wrapped)
