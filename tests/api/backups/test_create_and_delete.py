"""Creating, replacing, replaying and deleting backups through the API."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from gateway_api.contract import backup_id_for
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok
from tests.bench.api.configs import config_of

pytestmark = pytest.mark.api
URL = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


@pytest.mark.parametrize("name", ["a.json", "deep/er/a.json.gz", "a.json.zst", "a.json.pre-restore", "ä b.json"])
def test_backup_opens_with_standard_tools_to_the_exact_config(name: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    record = assert_ok(api.post(URL, json={"path": name, "metadata": {"why": "test"}}))
    stored = (dirs.backups / name).read_bytes()
    if name.endswith(".gz"):
        stored = gzip.decompress(stored)
    elif name.endswith(".zst"):
        stored = zstandard.ZstdDecompressor().decompress(stored)
    assert stored == dirs.config.read_bytes()
    assert record["level"] == "Verified"
    assert record["counts"] == {"configs": 1, "projects": 2, "users": 2, "api_keys": 1, "disabled_api_keys": 0}
    assert record["metadata"] == {"why": "test"}
    assert assert_ok(api.get(f"{ALL}/{record['backup_id']}")) == {k: v for k, v in record.items() if k != "replayed"}


@pytest.mark.parametrize("kilobytes", [100, 200, 400, 700, 900, 1100, 3000])
@pytest.mark.parametrize("suffix", ["json", "json.gz", "json.zst"])
def test_backup_of_any_size_is_verified(api: httpx.Client, dirs: GatewayDirs, kilobytes: int, suffix: str) -> None:
    """Verification works for every chunk size of the decompressor."""
    dirs.config.write_bytes(config_of(kilobytes * 1000, dirs.key))
    created = assert_ok(api.post(URL, json={"path": f"a.{suffix}"}))
    assert created["content_sha256"] == hashlib.sha256(dirs.config.read_bytes()).hexdigest()


def test_absolute_output_file_is_overwritten(api: httpx.Client, dirs: GatewayDirs) -> None:
    target = str(dirs.backups / "daily.json")
    first = assert_ok(api.post(URL, json={"output_file": target}))
    data = dirs.write(users=7)
    second = assert_ok(api.post(URL, json={"output_file": target}))
    assert Path(target).read_bytes() == data
    assert first["backup_id"] != second["backup_id"]
    assert_error(api.get(f"{ALL}/{first['backup_id']}"), "BackupNotFound")


def test_relative_path_is_overwritten_only_on_request(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(URL, json={"path": "a.json"}))
    before = (dirs.backups / "a.json").read_bytes()
    dirs.write(users=9)
    assert_error(api.post(URL, json={"path": "a.json"}), "BackupExists")
    assert (dirs.backups / "a.json").read_bytes() == before
    assert assert_ok(api.post(URL, json={"path": "a.json", "overwrite": True}))["counts"]["users"] == 9


def test_request_id_replays_its_body_and_rejects_another(api: httpx.Client, dirs: GatewayDirs) -> None:
    body: dict[str, Any] = {"path": "a.json", "request_id": "one"}
    first = assert_ok(api.post(URL, json=body))
    dirs.write(users=8)
    again = assert_ok(api.post(URL, json=body))
    assert not first["replayed"]
    assert again == {**first, "replayed": True}
    assert_error(api.post(URL, json={**body, "path": "b.json"}), "RequestIdReused")
    assert_ok(api.delete(f"{ALL}/{first['backup_id']}"))
    assert_error(api.post(URL, json=body), "Deleted")


def _gzip(file: Path) -> None:
    file.with_name("a.json.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()


def _replace_by_link(file: Path) -> None:
    file.rename(file.with_name("b.json"))
    file.symlink_to("b.json")


REPLAYS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "untouched": (Path.exists, None),
    "gzipped": (_gzip, None),
    "two links": (lambda file: file.with_name("b.json").hardlink_to(file), None),
    "same size": (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"]"), "BackupChanged"),
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:-1]), "BackupChanged"),
    "symbolic link": (_replace_by_link, "BackupUnusable"),
    "deleted": (Path.unlink, "Deleted"),
}


@pytest.mark.parametrize("what", REPLAYS)
def test_backup_is_replayed_only_while_its_file_has_its_digest(what: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    body: dict[str, Any] = {"path": "a.json", "request_id": "one"}
    first = assert_ok(api.post(URL, json=body))
    change, code = REPLAYS[what]
    change(dirs.backups / "a.json")
    again = api.post(URL, json=body)
    if code is not None:
        assert_error(again, code)
    else:
        assert assert_ok(again)["backup_id"] == first["backup_id"]
        assert assert_ok(again)["replayed"]


def test_backup_id_is_derived_from_volume_and_request_id(api: httpx.Client) -> None:
    """A client that lost the answer looks the backup up by this id, so client and server must compute the same one."""
    created = assert_ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))
    expected = backup_id_for(created["volume_id"], "one")
    assert created["backup_id"] == expected
    assert assert_ok(api.get(f"{ALL}/{expected}"))["path"] == "a.json"
    assert len({expected, backup_id_for("other", "one"), backup_id_for(created["volume_id"], "two")}) == 3


def test_request_of_an_overwritten_backup_is_not_run_again(api: httpx.Client) -> None:
    assert_ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))
    assert_ok(api.post(URL, json={"path": "a.json", "request_id": "two", "overwrite": True}))
    assert_error(api.post(URL, json={"path": "a.json", "request_id": "one"}), "Deleted")


def test_failed_request_is_not_replayed(api: httpx.Client, dirs: GatewayDirs) -> None:
    data = dirs.config.read_bytes()
    assert_ok(api.get("/api/v1/system/health"))
    dirs.config.write_bytes(data[:50])
    assert_error(api.post(URL, json={"path": "a.json", "request_id": "one"}), "ConfigInvalid")
    dirs.config.unlink()
    assert_error(api.post(URL, json={"path": "a.json", "request_id": "one"}), "ConfigMissing")
    dirs.config.write_bytes(data)
    assert not assert_ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))["replayed"]


def test_config_over_the_size_limit_is_rejected(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, max_config_bytes=len(dirs.config.read_bytes())) as api:
        assert_ok(api.post(URL, json={"path": "a.json"}))
        dirs.config.write_bytes(dirs.config.read_bytes() + b" ")
        assert_error(api.post(URL, json={"path": "b.json"}), "ConfigTooLarge")


def test_encrypted_name_without_recipients_writes_nothing(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_error(api.post(URL, json={"path": "x/a.json.zst.age"}), "EncryptionNotConfigured")
    assert not (dirs.backups / "x").exists()


def test_delete_removes_file_and_manifest_and_is_repeatable(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(URL, json={"path": "d/a.json"}))
    assert assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]
    assert list((dirs.backups / "d").iterdir()) == []
    assert not assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]
    assert not assert_ok(api.delete(f"{ALL}/never-was"))["existed"]
    assert_error(api.get(f"{ALL}/{created['backup_id']}"), "BackupNotFound")


def test_file_that_differs_from_its_manifest_is_not_deleted(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(URL, json={"path": "a.json"}))
    (dirs.backups / "a.json").write_bytes(b"precious")
    assert_error(api.delete(f"{ALL}/{created['backup_id']}"), "BackupChanged")
    assert (dirs.backups / "a.json").read_bytes() == b"precious"
    assert (dirs.backups / "a.json.manifest").exists()


def test_file_removed_by_a_user_is_not_found(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))
    (dirs.backups / "a.json").unlink()
    assert_error(api.get(f"{ALL}/{created['backup_id']}"), "BackupNotFound")
    assert_error(api.post(URL, json={"path": "a.json", "request_id": "one"}), "Deleted")
    assert not assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]


def test_moved_backup_keeps_its_id_and_is_not_deleted(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(URL, json={"path": "a.json"}))
    (dirs.backups / "elsewhere").mkdir()
    for name in ("a.json", "a.json.manifest"):
        (dirs.backups / name).rename(dirs.backups / "elsewhere" / name)
    assert assert_ok(api.get(f"{ALL}/{created['backup_id']}"))["path"] == "elsewhere/a.json"
    assert "elsewhere/a.json" in assert_error(api.delete(f"{ALL}/{created['backup_id']}"), "BackupChanged")
    assert len(list((dirs.backups / "elsewhere").iterdir())) == 2


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("first", ["archive/a.json", "zz/a.json"])
def test_repeated_delete_keeps_a_copy_elsewhere(
    first: str, gzipped: bool, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    copy = dirs.backups / first
    copy.parent.mkdir()
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        one = f"{ALL}/{assert_ok(api.post(URL, json={'path': 'd/a.json', 'request_id': 'one'}))['backup_id']}"
        for name in ("a.json", "a.json.manifest"):
            shutil.copy(dirs.backups / "d" / name, copy.with_name(name))
        if gzipped:
            subprocess.run(["gzip", dirs.backups / "d/a.json"], check=True)
        assert assert_ok(api.delete(one))["existed"]
        assert list((dirs.backups / "d").iterdir()) == []
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        for _ in range(2):
            assert not assert_ok(api.delete(one))["existed"]
        assert {path.name for path in copy.parent.iterdir()} == {"a.json", "a.json.manifest"}
        assert assert_ok(api.get(one))["path"] == first
        # A person puts the copy back: something is there again, and no repeated call removes it.
        for name in ("a.json", "a.json.manifest"):
            shutil.copy(copy.with_name(name), dirs.backups / "d" / name)
        assert "put back" in assert_error(api.delete(one), "BackupChanged")
        assert (dirs.backups / "d/a.json").exists()


def test_delete_of_a_replaced_backup_keeps_its_copy_and_the_new_one(api: httpx.Client, dirs: GatewayDirs) -> None:
    old = assert_ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))["backup_id"]
    (dirs.backups / "copy").mkdir()
    for name in ("a.json", "a.json.manifest"):
        shutil.copy(dirs.backups / name, dirs.backups / "copy" / name)
    assert_ok(api.post(URL, json={"path": "a.json", "request_id": "two", "overwrite": True}))
    assert not assert_ok(api.delete(f"{ALL}/{old}"))["existed"]
    assert len([*dirs.backups.rglob("a.json")]) == 2


def test_repeated_request_reports_a_changed_file(api: httpx.Client, dirs: GatewayDirs) -> None:
    body = {"path": "a.json", "request_id": "one"}
    assert_ok(api.post(URL, json=body))
    (dirs.backups / "a.json").write_bytes(b"{}")
    assert_error(api.post(URL, json=body), "BackupChanged")


def test_config_issues_are_recorded_without_keys(api: httpx.Client, dirs: GatewayDirs) -> None:
    config = json.loads(dirs.config.read_text())
    config["apikeys"]["secret-gateway-key"] = {"project_id": "gone", "user_id": "u-0"}
    dirs.config.write_text(json.dumps(config))
    created = assert_ok(api.post(URL, json={"path": "a.json"}))
    assert [issue["code"] for issue in created["issues"]] == ["DanglingProject"]
    assert "secret-gateway-key" not in json.dumps(created)
    assert "secret-gateway-key" not in (dirs.backups / "a.json.manifest").read_text()


def test_invalid_manifest_is_ignored(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(URL, json={"path": "a.json"}))
    manifest = dirs.backups / "a.json.manifest"
    manifest.write_text(manifest.read_text().replace('"counts"', '"created": "2020-01-01T00:00:00Z", "counts"'))
    assert_error(api.get(f"{ALL}/{created['backup_id']}"), "BackupNotFound")
    assert_error(api.post("/api/v1/system/restore", json={"input_file": "a.json"}), "BackupCorrupt")


def test_new_backup_at_the_path_of_a_moved_one_ends_its_request(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))
    (dirs.backups / "a.json").rename(dirs.backups / "moved.json")
    assert_ok(api.post(URL, json={"path": "a.json", "request_id": "two"}))
    assert_error(api.post(URL, json={"path": "a.json", "request_id": "one"}), "Deleted")
