"""Backups as a caller sees them: what is made, what is refused, what a repeat and a delete do."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from gateway_api.contract import backup_id_for
from tests.api.conftest import GatewayDirs, failed, ok
from tests.api.support.fork_server import ForkServer
from tests.bench.api.configs import config_of

pytestmark = pytest.mark.api
URL = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


@pytest.mark.parametrize("name", ["a.json", "deep/er/a.json.gz", "a.json.zst", "a.json.pre-restore", "ä b.json"])
def test_a_backup_opens_with_ordinary_tools_and_is_the_config_byte_for_byte(
    name: str, api: httpx.Client, dirs: GatewayDirs
) -> None:
    record = ok(api.post(URL, json={"path": name, "metadata": {"why": "test"}}))
    stored = (dirs.backups / name).read_bytes()
    if name.endswith(".gz"):
        stored = gzip.decompress(stored)
    elif name.endswith(".zst"):
        stored = zstandard.ZstdDecompressor().decompress(stored)
    assert stored == dirs.config.read_bytes()
    assert record["level"] == "Verified"
    assert record["counts"] == {"configs": 1, "projects": 2, "users": 2, "api_keys": 1, "disabled_api_keys": 0}
    assert record["metadata"] == {"why": "test"}
    assert ok(api.get(f"{ALL}/{record['backup_id']}")) == {k: v for k, v in record.items() if k != "replayed"}


@pytest.mark.parametrize("kilobytes", [100, 200, 400, 700, 900, 1100, 3000])
@pytest.mark.parametrize("suffix", ["json", "json.gz", "json.zst"])
def test_a_backup_of_any_size_is_proven(api: httpx.Client, dirs: GatewayDirs, kilobytes: int, suffix: str) -> None:
    """However large the pieces are in which the proof gets what was packed."""
    dirs.config.write_bytes(config_of(kilobytes * 1000, dirs.key))
    made = ok(api.post(URL, json={"path": f"a.{suffix}"}))
    assert made["content_sha256"] == hashlib.sha256(dirs.config.read_bytes()).hexdigest()


def test_an_absolute_output_file_is_replaced_as_the_scripts_expect(api: httpx.Client, dirs: GatewayDirs) -> None:
    target = str(dirs.backups / "daily.json")
    first = ok(api.post(URL, json={"output_file": target}))
    data = dirs.write(users=7)
    second = ok(api.post(URL, json={"output_file": target}))
    assert Path(target).read_bytes() == data
    assert first["backup_id"] != second["backup_id"]
    failed(api.get(f"{ALL}/{first['backup_id']}"), "BackupNotFound")


def test_a_relative_path_never_replaces_unless_told(api: httpx.Client, dirs: GatewayDirs) -> None:
    ok(api.post(URL, json={"path": "a.json"}))
    before = (dirs.backups / "a.json").read_bytes()
    dirs.write(users=9)
    failed(api.post(URL, json={"path": "a.json"}), "BackupExists")
    assert (dirs.backups / "a.json").read_bytes() == before
    assert ok(api.post(URL, json={"path": "a.json", "overwrite": True}))["counts"]["users"] == 9


def test_the_same_request_again_is_the_same_backup_and_another_body_is_refused(
    api: httpx.Client, dirs: GatewayDirs
) -> None:
    body: dict[str, Any] = {"path": "a.json", "request_id": "one"}
    first = ok(api.post(URL, json=body))
    dirs.write(users=8)
    again = ok(api.post(URL, json=body))
    assert not first["replayed"]
    assert again == {**first, "replayed": True}
    failed(api.post(URL, json={**body, "path": "b.json"}), "RequestIdReused")
    ok(api.delete(f"{ALL}/{first['backup_id']}"))
    failed(api.post(URL, json=body), "Deleted")


def test_a_backup_s_id_is_known_before_it_is_made(api: httpx.Client) -> None:
    """A caller whose answer was lost asks by this id; the server must not have another way to make one."""
    made = ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))
    known = backup_id_for(made["volume_id"], "one")
    assert made["backup_id"] == known
    assert ok(api.get(f"{ALL}/{known}"))["path"] == "a.json"
    assert len({known, backup_id_for("other", "one"), backup_id_for(made["volume_id"], "two")}) == 3


def test_a_replaced_backup_s_request_is_not_run_again(api: httpx.Client) -> None:
    ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))
    ok(api.post(URL, json={"path": "a.json", "request_id": "two", "overwrite": True}))
    failed(api.post(URL, json={"path": "a.json", "request_id": "one"}), "Deleted")


def test_a_failure_is_not_replayed(api: httpx.Client, dirs: GatewayDirs) -> None:
    data = dirs.config.read_bytes()
    ok(api.get("/api/v1/system/health"))
    dirs.config.write_bytes(data[:50])
    failed(api.post(URL, json={"path": "a.json", "request_id": "one"}), "ConfigInvalid")
    dirs.config.unlink()
    failed(api.post(URL, json={"path": "a.json", "request_id": "one"}), "ConfigMissing")
    dirs.config.write_bytes(data)
    assert not ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))["replayed"]


def test_a_config_over_the_limit_is_refused(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, max_config_bytes=len(dirs.config.read_bytes())) as api:
        ok(api.post(URL, json={"path": "a.json"}))
        dirs.config.write_bytes(dirs.config.read_bytes() + b" ")
        failed(api.post(URL, json={"path": "b.json"}), "ConfigTooLarge")


def test_without_recipients_an_encrypted_name_is_refused_before_anything_is_written(
    api: httpx.Client, dirs: GatewayDirs
) -> None:
    failed(api.post(URL, json={"path": "x/a.json.zst.age"}), "EncryptionNotConfigured")
    assert not (dirs.backups / "x").exists()


def test_a_delete_takes_the_file_and_its_manifest_and_may_be_repeated(api: httpx.Client, dirs: GatewayDirs) -> None:
    made = ok(api.post(URL, json={"path": "d/a.json"}))
    assert ok(api.delete(f"{ALL}/{made['backup_id']}"))["existed"]
    assert list((dirs.backups / "d").iterdir()) == []
    assert not ok(api.delete(f"{ALL}/{made['backup_id']}"))["existed"]
    assert not ok(api.delete(f"{ALL}/never-was"))["existed"]
    failed(api.get(f"{ALL}/{made['backup_id']}"), "BackupNotFound")


def test_a_file_that_is_not_what_the_manifest_describes_is_not_deleted(api: httpx.Client, dirs: GatewayDirs) -> None:
    made = ok(api.post(URL, json={"path": "a.json"}))
    (dirs.backups / "a.json").write_bytes(b"precious")
    failed(api.delete(f"{ALL}/{made['backup_id']}"), "BackupChanged")
    assert (dirs.backups / "a.json").read_bytes() == b"precious"
    assert (dirs.backups / "a.json.manifest.json").exists()


def test_a_file_that_a_person_removed_is_no_ghost(api: httpx.Client, dirs: GatewayDirs) -> None:
    made = ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))
    (dirs.backups / "a.json").unlink()
    failed(api.get(f"{ALL}/{made['backup_id']}"), "BackupNotFound")
    failed(api.post(URL, json={"path": "a.json", "request_id": "one"}), "Deleted")
    assert not ok(api.delete(f"{ALL}/{made['backup_id']}"))["existed"]


def test_a_backup_moved_with_its_manifest_keeps_its_id(api: httpx.Client, dirs: GatewayDirs) -> None:
    made = ok(api.post(URL, json={"path": "a.json"}))
    (dirs.backups / "elsewhere").mkdir()
    for name in ("a.json", "a.json.manifest.json"):
        (dirs.backups / name).rename(dirs.backups / "elsewhere" / name)
    assert ok(api.get(f"{ALL}/{made['backup_id']}"))["path"] == "elsewhere/a.json"
    assert ok(api.delete(f"{ALL}/{made['backup_id']}"))["existed"]


def test_issues_of_the_config_are_recorded_and_name_no_key(api: httpx.Client, dirs: GatewayDirs) -> None:
    config = json.loads(dirs.config.read_text())
    config["apikeys"]["secret-gateway-key"] = {"project_id": "gone", "user_id": "u-0"}
    dirs.config.write_text(json.dumps(config))
    made = ok(api.post(URL, json={"path": "a.json"}))
    assert [issue["code"] for issue in made["issues"]] == ["DanglingProject"]
    assert "secret-gateway-key" not in json.dumps(made)
    assert "secret-gateway-key" not in (dirs.backups / "a.json.manifest.json").read_text()


def test_a_bad_manifest_is_never_believed(api: httpx.Client, dirs: GatewayDirs) -> None:
    made = ok(api.post(URL, json={"path": "a.json"}))
    manifest = dirs.backups / "a.json.manifest.json"
    manifest.write_text(manifest.read_text().replace('"counts"', '"created": "2020-01-01T00:00:00Z", "counts"'))
    failed(api.get(f"{ALL}/{made['backup_id']}"), "BackupNotFound")
    failed(api.post("/api/v1/system/restore", json={"input_file": "a.json"}), "BackupCorrupt")


def test_a_backup_over_what_a_person_compressed_keeps_once_once(api: httpx.Client, dirs: GatewayDirs) -> None:
    ok(api.post(URL, json={"path": "a.json", "request_id": "one"}))
    (dirs.backups / "a.json").rename(dirs.backups / "moved.json")
    ok(api.post(URL, json={"path": "a.json", "request_id": "two"}))
    failed(api.post(URL, json={"path": "a.json", "request_id": "one"}), "Deleted")
