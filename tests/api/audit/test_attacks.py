"""An attacker edits the backup volume: the audit log, the manifests, or both. `audit verify` names the first line.

The attacker computes a valid chain after each change. The config directory and the signing key are out of reach.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_api.audit.chain import GENESIS_DIGEST, line_digest
from gateway_api.audit.verify import UnreadableLog, verify_audit_log
from gateway_api.repository import signing
from tests.api.support.admin_process import admin_key
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_ok

pytestmark = pytest.mark.api
SYSTEM = "/api/v1/system"
KEY = admin_key()


def _backup(api: httpx.Client, path: str, **more: Any) -> str:
    return str(assert_ok(api.post(f"{SYSTEM}/backup", json={"path": path, "request_id": path[0], **more}))["backup_id"])


class Volume:
    """A copy of both directories, with the attacks on the backup directory."""

    def __init__(self, folder: Path) -> None:
        self.config_dir = folder / "config"
        self.backups = folder / "backups"
        self.log = self.backups / ".gateway" / "audit.jsonl"

    def lines(self) -> list[bytes]:
        return self.log.read_bytes().splitlines()

    def manifests(self) -> Iterator[Path]:
        return self.backups.glob("*.manifest*")

    def rewrite(self, keep: Callable[[int], bool], *, edit_manifests: bool = False) -> None:
        """Removes the lines that ``keep`` refuses, counted from one, and computes a valid chain for the rest."""
        moved: dict[str, tuple[str, int]] = {}
        kept: list[bytes] = []
        head = GENESIS_DIGEST
        for number, line in enumerate(self.lines(), 1):
            if keep(number):
                record = {**json.loads(line), "seq": len(kept) + 1, "prev": head}
                kept.append(json.dumps(record, separators=(",", ":")).encode())
                head = line_digest(kept[-1])
            moved[line_digest(line)] = (head, len(kept))
        self.log.write_bytes(b"".join(line + b"\n" for line in kept))
        if edit_manifests:
            for path in self.manifests():
                manifest = json.loads(path.read_text())
                manifest["audit_head"], manifest["audit_lines"] = moved[manifest["audit_head"]]
                path.write_text(json.dumps(manifest))

    def change_manifests(self, change: Callable[[dict[str, Any]], None]) -> None:
        for path in self.manifests():
            manifest = json.loads(path.read_text())
            change(manifest)
            path.write_text(json.dumps(manifest))

    def verify(self) -> tuple[bool, str]:
        return verify_audit_log(self.backups, self.config_dir)

    def verify_elsewhere(self) -> tuple[bool, str]:
        """As an auditor who has the volume and the public key, and not the config directory."""
        signer = signing.load_signer((self.config_dir / ".gateway" / "signing_key.pem").read_bytes())
        return verify_audit_log(self.backups, None, {signer.key_id: signer.public})


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Path:
    """Backups, a replaced one, a restore with a request id, and a deletion as the last operation."""
    folder = tmp_path_factory.mktemp("original")
    dirs = GatewayDirs(folder)
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        deleted = _backup(api, "a.json")
        source = _backup(api, "b.json")
        assert_ok(api.post(f"{SYSTEM}/backup", json={"path": "a.json", "overwrite": True, "request_id": "again"}))
        assert_ok(api.post(f"{SYSTEM}/restore", json={"backup_id": source, "request_id": "r", "safety_backup": False}))
        assert_ok(api.post(f"{SYSTEM}/restores/r/commit"))
        last = _backup(api, "c.json")
        assert deleted != last
        assert_ok(api.delete(f"{SYSTEM}/backups/{last}"))
    (folder / "key").write_text(dirs.key)
    return folder


@pytest.fixture
def volume(original: Path, tmp_path: Path) -> Volume:
    shutil.copytree(original, tmp_path / "attacked")
    return Volume(tmp_path / "attacked")


def _restart(volume: Volume, fork_server: ForkServer) -> None:
    """The server runs again and does some work, so that it writes new lines and keeps a new end of the log."""
    key = (volume.backups.parent / "key").read_text()
    with fork_server.server(volume.config_dir / "config.json", volume.backups, key) as api:
        for name in "xyz":
            _backup(api, f"{name}.json")


def _first_line(text: str) -> int:
    file, _, line = text.partition(":")[0].partition(", line ")
    assert file == "audit.jsonl", text
    return int(line)


def test_untouched_volume_is_intact_for_everyone(volume: Volume, fork_server: ForkServer) -> None:
    for intact, text in (volume.verify(), volume.verify_elsewhere()):
        assert intact, text
        assert "2 manifests agree" in text
    _restart(volume, fork_server)
    assert volume.verify() == (True, f"intact: {len(volume.lines())} records, 5 manifests agree")


@pytest.mark.parametrize("restarted", [False, True])
def test_each_cut_of_the_tail_is_found(restarted: bool, volume: Volume, fork_server: ForkServer) -> None:
    whole = volume.log.read_bytes()
    total = len(volume.lines())
    # After a restart a server is started for each cut, so only a few cuts are tried.
    for left in (total - 1, total // 2, 1) if restarted else range(total):
        volume.log.write_bytes(b"".join(whole.splitlines(keepends=True)[:left]))
        if restarted:
            shutil.copytree(volume.backups.parent, copy := volume.backups.parents[1] / f"cut-{left}")
            cut = Volume(copy)
            _restart(cut, fork_server)
            intact, text = cut.verify()
        else:
            intact, text = volume.verify()
        assert not intact, left
        # An operation writes two lines and keeps the end after the second one.
        assert left <= _first_line(text) <= left + 1, text


@pytest.mark.parametrize("edit_manifests", [False, True])
def test_each_removed_line_is_found_with_a_new_chain(edit_manifests: bool, volume: Volume, tmp_path: Path) -> None:
    for removed in range(1, len(volume.lines()) + 1):
        shutil.copytree(volume.backups.parent, copy := tmp_path / f"removed-{removed}")
        attacked = Volume(copy)
        attacked.rewrite(lambda number, removed=removed: number != removed, edit_manifests=edit_manifests)  # type: ignore[misc]
        intact, text = attacked.verify()
        assert not intact, removed
        assert removed - 1 <= _first_line(text) <= removed, text
        if edit_manifests and removed < 5:
            assert "was changed after it was signed" in text


@pytest.mark.parametrize("way", ["own key", "no signature", "another volume", "empty signatures"])
def test_manifests_edited_to_fit_a_new_chain_are_found_by_signature(way: str, volume: Volume) -> None:
    # The attacker keeps the lines that tombstones and request records need.
    start = next(number for number, line in enumerate(volume.lines(), 1) if b'"operation":"start"' in line)
    volume.rewrite(lambda number: number != start, edit_manifests=True)
    signer = signing.load_signer(signing.new_key())

    def change(manifest: dict[str, Any]) -> None:
        manifest["signatures"] = []
        if way == "own key":
            del manifest["signatures"]
            manifest["signatures"] = [signer.signature(manifest)]
        elif way == "no signature":
            del manifest["signatures"]
        elif way == "another volume":
            manifest["volume_id"] = "0" * 32

    volume.change_manifests(change)
    intact, text = volume.verify_elsewhere()
    assert not intact
    assert "manifest of" in text
    assert not volume.verify()[0]


def test_edited_manifest_is_found_although_the_log_is_whole(volume: Volume) -> None:
    volume.change_manifests(lambda manifest: manifest.update(gateway_version="9.9"))
    for intact, text in (volume.verify(), volume.verify_elsewhere()):
        assert not intact
        assert "a.json was changed after it was signed" in text


@pytest.mark.parametrize("operation", ["delete", "restore"])
def test_removed_deletion_or_restore_is_found_by_its_record(operation: str, volume: Volume) -> None:
    ends = {"delete": ("delete",), "restore": ("restore", "commit")}[operation]
    lines = volume.lines()
    volume.rewrite(lambda number: json.loads(lines[number - 1])["operation"] not in ends, edit_manifests=True)
    for path in volume.manifests():
        path.unlink()
    intact, text = volume.verify_elsewhere()
    assert not intact
    assert ("tombstone" if operation == "delete" else "restore-r.json") in text


def test_new_log_after_the_removal_of_the_old_one_is_found(volume: Volume, fork_server: ForkServer) -> None:
    volume.log.unlink()
    with pytest.raises(UnreadableLog):
        volume.verify()
    _restart(volume, fork_server)
    intact, text = volume.verify()
    assert not intact
    assert _first_line(text) == 1
    assert "removed" in text


def test_log_of_another_time_of_the_same_volume_is_found(volume: Volume, fork_server: ForkServer) -> None:
    earlier = volume.log.read_bytes()
    _restart(volume, fork_server)
    volume.log.write_bytes(earlier)
    intact, text = volume.verify()
    assert not intact
    assert _first_line(text) == len(earlier.splitlines()) + 1
