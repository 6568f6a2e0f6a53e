"""The previous config is never lost: it stays in the state folder until a backup on the volume holds its bytes."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from tests.api.support.admin_process import gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import mount_tmpfs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESET = "/api/v1/system/reset"
RESTORE = "/api/v1/system/restore"
RESTORES = "/api/v1/system/restores"
LIMIT = 20_000


def previous_files(dirs: GatewayDirs) -> list[Path]:
    return sorted(dirs.state.glob("previous-*"))


def holds(dirs: GatewayDirs, config: bytes) -> list[str]:
    """The names of the files that hold this config: live, kept, or in a backup that is not encrypted."""
    files = [dirs.config, *previous_files(dirs), *(file for file in dirs.backups.rglob("*") if file.is_file())]
    return [file.name for file in files if _decoded(file) == config]


def _decoded(file: Path) -> bytes:
    data = file.read_bytes()
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if file.suffix == ".zst" else data


@contextmanager
def _full(dirs: GatewayDirs) -> Iterator[Callable[[], None]]:
    ballast = dirs.backups / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    yield ballast.unlink


@contextmanager
def _missing(dirs: GatewayDirs) -> Iterator[Callable[[], None]]:
    away = dirs.backups.with_name("away")
    dirs.backups.rename(away)
    yield lambda: (away.rename(dirs.backups), None)[1]


@contextmanager
def _bad_signing_key(dirs: GatewayDirs) -> Iterator[Callable[[], None]]:
    key = dirs.state / "signing_key.pem"
    saved = key.read_bytes()
    key.write_text("no key")
    yield lambda: (key.write_bytes(saved), None)[1]


@contextmanager
def _folder_is_a_file(dirs: GatewayDirs) -> Iterator[Callable[[], None]]:
    (dirs.backups / "safety").write_text("a file")
    yield (dirs.backups / "safety").unlink


CAUSES: dict[str, Any] = {"full": _full, "key": _bad_signing_key, "folder": _folder_is_a_file, "missing": _missing}
OPERATIONS = ("reset", "restore", "commit", "supersede")


def _replace(api: httpx.Client, operation: str, source: str) -> dict[str, Any]:
    """Replaces the config and ends the restore in the given way; returns the last answer."""
    if operation == "reset":
        return assert_ok(api.post(RESET, json={"confirm": True}))
    body = {"input_file": source}
    if operation == "restore":
        return assert_ok(api.post(RESTORE, json=body))
    done = assert_ok(api.post(RESTORE, json={**body, "request_id": "r"}))
    assert done["safety_backup"]["kind"] == "kept"
    # The restore is not ended, and its result names the file.
    assert _unsaved_warnings(api) == []
    if operation == "commit":
        return assert_ok(api.post(f"{RESTORES}/r/commit"))
    assert_ok(api.post(RESTORE, json={**body, "request_id": "second", "supersede": True}))
    return assert_ok(api.get(f"{RESTORES}/r"))


# Of a missing volume only a reset is possible: a restore reads its source from there.
@pytest.mark.parametrize(
    ("operation", "cause"),
    [pair for pair in itertools.product(OPERATIONS, CAUSES) if pair[1] != "missing" or pair[0] == "reset"],
)
def test_previous_config_without_a_backup_stays_until_it_has_one(
    operation: str, cause: str, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with mount_tmpfs(dirs.backups, 4 << 20) if cause == "full" else _nothing():
        with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
            assert_ok(api.post(BACKUP, json={"path": "a.json"}))
            before = dirs.write(users=7)
        with (
            CAUSES[cause](dirs) as repair,
            fork_server.server(dirs.config, dirs.backups, dirs.key) as api,
        ):
            required = {"confirm": True, "safety_backup": "required"}
            assert api.post(RESET, json=required).status_code >= 400
            assert dirs.config.read_bytes() == before
            done = _replace(api, operation, "a.json")
            assert done["state"] == "committed"
            assert done["safety_backup"]["kind"] == "kept"
            kept = Path(done["safety_backup"]["path"])
            assert kept.parent == dirs.state
            assert kept.read_bytes() == before
            assert kept in previous_files(dirs)
            assert any(str(kept) in warning for warning in _unsaved_warnings(api))
            repair()
            assert_ok(api.post(BACKUP, json={"path": "later.json"}))
            assert _unsaved_warnings(api) == []
            assert not [file for file in previous_files(dirs) if file.read_bytes() == before]
            assert holds(dirs, before) == [f"{kept.name}.json.zst"]
            items = assert_ok(api.get("/api/v1/system/backups"))["items"]
            assert f"safety/{kept.name}.json.zst" in [item["path"] for item in items if item["kind"] == "backup"]


def _unsaved_warnings(api: httpx.Client) -> list[str]:
    health = assert_ok(api.get("/api/v1/system/health"))
    return [one["message"] for one in health["warnings"] if one["code"] == "PreviousConfigUnsaved"]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_oversized_previous_config_stays_until_the_limit_is_raised(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    keys = dirs.config.parent.parent / "keys"
    keys.write_text(dirs.key)
    settings: dict[str, Any] = {"admin_key_file": str(keys)}
    large = json.dumps(gateway_config(dirs.key) | {"padding": "x" * LIMIT}).encode()
    with fork_server.server(dirs.config, dirs.backups, dirs.key, max_config_bytes=LIMIT, **settings) as api:
        dirs.config.write_bytes(large)
        assert_error(
            api.post(RESET, json={"confirm": True, "rotate_admin_key": True, "safety_backup": "required"}),
            "ConfigTooLarge",
        )
        done = assert_ok(api.post(RESET, json={"confirm": True, "rotate_admin_key": True}))
        assert done["safety_backup"]["kind"] == "kept"
        assert Path(done["safety_backup"]["path"]).read_bytes() == large
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        assert Path(done["safety_backup"]["path"]).read_bytes() == large
    with fork_server.server(dirs.config, dirs.backups, dirs.key, **settings) as api:
        assert_ok(api.post(BACKUP, json={"path": "b.json"}))
    assert previous_files(dirs) == []
    assert len(holds(dirs, large)) == 1


def test_fourth_unsaved_config_is_refused_before_any_change(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    with (
        _bad_signing_key(dirs) as repair,
        fork_server.server(dirs.config, dirs.backups, dirs.key) as api,
    ):
        contents = [dirs.write(users=number) for number in (5, 6, 7)]
        for content in contents:
            dirs.config.write_bytes(content)
            assert_ok(api.post(RESTORE, json={"input_file": "a.json"}))
        before = dirs.write(users=8)
        for url, body in ((RESTORE, {"input_file": "a.json"}), (RESET, {"confirm": True})):
            detail = assert_error(api.post(url, json=body), "VolumeFull")
            assert "previous-" in detail
        assert dirs.config.read_bytes() == before
        assert [file.read_bytes() for file in previous_files(dirs)] == contents
        repair()
        assert_ok(api.post(RESTORE, json={"input_file": "a.json"}))
        assert previous_files(dirs) == []
        assert all(holds(dirs, content) for content in (*contents, before))


def test_safety_backup_deleted_before_the_commit_keeps_the_previous_config(
    api: httpx.Client, dirs: GatewayDirs
) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    before = dirs.write(users=7)
    done = assert_ok(api.post(RESTORE, json={"input_file": "a.json", "request_id": "r"}))
    assert done["safety_backup"]["kind"] == "backup"
    (dirs.backups / done["safety_backup"]["path"]).write_bytes(b"damaged")
    committed = assert_ok(api.post(f"{RESTORES}/r/commit"))
    assert committed["safety_backup"]["kind"] == "kept"
    assert Path(committed["safety_backup"]["path"]).read_bytes() == before


def test_restore_without_safety_backup_names_an_existing_backup(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    dirs.write(users=7)
    created = assert_ok(api.post(BACKUP, json={"path": "operator.json.gz"}))
    body = {"input_file": "a.json", "safety_backup": False}
    done = assert_ok(api.post(RESTORE, json=body))
    assert done["safety_backup"] == {
        "kind": "backup",
        "path": "operator.json.gz",
        "backup_id": created["backup_id"],
    }
    assert previous_files(dirs) == []
    before = dirs.write(users=8)
    assert assert_ok(api.post(RESTORE, json=body))["safety_backup"]["kind"] == "kept"
    assert holds(dirs, before)


def test_forged_manifest_does_not_count_as_a_copy(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    before = dirs.write(users=7)
    assert_ok(api.post(BACKUP, json={"path": "b.json"}))
    (manifest,) = dirs.backups.glob("b.json.*")
    described = json.loads(manifest.read_text())
    garbage = b"x" * described["stored_bytes"]
    (dirs.backups / "b.json").write_bytes(garbage)
    manifest.write_text(json.dumps(described | {"stored_sha256": hashlib.sha256(garbage).hexdigest()}))
    done = assert_ok(api.post(RESTORE, json={"input_file": "a.json", "safety_backup": False}))
    assert done["safety_backup"]["kind"] == "kept"
    assert holds(dirs, before)
