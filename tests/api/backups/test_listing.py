"""The list of backups: own files, files compressed by users, changed and foreign files, and no removed ones."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_api.backups import listing
from gateway_api.backups.listing import encode_token, list_page, parse_token
from gateway_api.repository.index import RepositoryIndex
from gateway_api.settings import AdminSettings
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESTORE = "/api/v1/system/restore"
ALL = "/api/v1/system/backups"


def _all(api: httpx.Client, limit: int = 100) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    token = None
    while True:
        result = assert_ok(api.get(ALL, params={"limit": limit} | ({"continue": token} if token else {})))
        items += result["items"]
        token = result["continue"]
        if token is None:
            return items


def test_every_file_is_listed_once_in_order_for_any_page_size(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert _all(api) == []
    for name in ("b.json", "a/z.json.zst", "a.json", "a/b/c.json.gz", "ä b.json"):
        assert_ok(api.post(BACKUP, json={"path": name}))
    (dirs.backups / "a" / "notes.txt").write_text("mine")
    paths = [item["path"] for item in _all(api)]
    assert sorted(paths) == sorted(["a/b/c.json.gz", "a/notes.txt", "a/z.json.zst", "a.json", "b.json", "ä b.json"])
    assert paths == ["/".join(parts) for parts in sorted(tuple(path.split("/")) for path in paths)]
    for limit in (1, 2, 5, 6, 7):
        assert [item["path"] for item in _all(api, limit)] == paths
    shown = {item["path"]: item for item in _all(api)}
    assert shown["a/notes.txt"]["kind"] == "foreign"
    assert shown["a.json"]["record"] == assert_ok(api.get(f"{ALL}/{shown['a.json']['backup_id']}"))


def test_page_of_backups_with_many_issues_is_shorter(api: httpx.Client, dirs: GatewayDirs) -> None:
    """A client refuses an answer of more than 8 MiB, so a page must not grow with the issues of the config."""
    config = json.loads(dirs.config.read_text())
    config["projects"]["p-0"]["users"] = [f"lost-{number}" for number in range(2000)]
    dirs.config.write_text(json.dumps(config))
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    assert len(created["issues"]) == 1000
    manifest = json.loads((dirs.backups / "a.json.manifest").read_text())
    for number in range(150):
        (dirs.backups / f"b{number:03}.json").write_bytes((dirs.backups / "a.json").read_bytes())
        (dirs.backups / f"b{number:03}.json.manifest").write_text(json.dumps(manifest | {"id": f"b{number}"}))
    largest = len(api.get(ALL, params={"limit": 1000}).content)
    assert 1 << 20 < largest < 3 << 20
    paths = [item["path"] for item in _all(api, 1000)]
    assert paths == ["a.json", *(f"b{number:03}.json" for number in range(150))]


def test_next_page_continues_after_a_removed_file(api: httpx.Client, dirs: GatewayDirs) -> None:
    for name in ("a.json", "b.json", "c.json"):
        (dirs.backups / name).write_text("{}")
    assert_ok(api.post(BACKUP, json={"path": "z.json"}))
    token = assert_ok(api.get(ALL, params={"limit": 2}))["continue"]
    (dirs.backups / "b.json").unlink()
    assert [one["path"] for one in assert_ok(api.get(ALL, params={"continue": token}))["items"]] == ["c.json", "z.json"]
    for bad in ("%", "====", "ä", "A", "_-_-"):
        answer = api.get(ALL, params={"continue": bad})
        assert answer.status_code in (200, 422)
    assert_error(api.get(ALL, params={"limit": 0}), "InvalidRequest")


def test_backup_gzipped_by_hand_is_the_same_backup(api: httpx.Client, dirs: GatewayDirs) -> None:
    before = dirs.config.read_bytes()
    created = assert_ok(api.post(BACKUP, json={"path": "d/a.json", "request_id": "one", "metadata": {"k": "v"}}))
    subprocess.run(["gzip", str(dirs.backups / "d" / "a.json")], check=True)
    (entry,) = _all(api)
    assert (entry["kind"], entry["path"], entry["backup_id"]) == ("compressed", "d/a.json.gz", created["backup_id"])
    assert entry["record"]["content_sha256"] == created["content_sha256"]
    assert entry["record"]["compression"] == "gzip"
    assert entry["record"]["stored_bytes"] == entry["size_bytes"]
    assert assert_ok(api.get(f"{ALL}/{created['backup_id']}")) == entry["record"]
    proven = assert_ok(api.post(f"{ALL}/{created['backup_id']}/verify"))
    assert (proven["signature"], proven["problems"]) == ("valid", [])
    taken = api.get(f"{ALL}/{created['backup_id']}/content")
    assert taken.content == (dirs.backups / "d" / "a.json.gz").read_bytes()
    dirs.write(users=6)
    for source in ({"backup_id": created["backup_id"]}, {"input_file": "d/a.json.gz"}):
        done = assert_ok(api.post(RESTORE, json={**source, "expected_sha256": entry["record"]["stored_sha256"]}))
        assert done["source_backup_id"] == created["backup_id"]
        assert dirs.config.read_bytes() == before
    assert assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]
    assert list((dirs.backups / "d").iterdir()) == []
    assert_error(api.post(BACKUP, json={"path": "d/a.json", "request_id": "one", "metadata": {"k": "v"}}), "Deleted")


def test_gz_copy_is_foreign_while_the_original_exists(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    subprocess.run(["gzip", "-k", str(dirs.backups / "a.json")], check=True)
    assert [(one["path"], one["kind"]) for one in _all(api)] == [("a.json", "backup"), ("a.json.gz", "foreign")]
    assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))
    assert [(one["path"], one["kind"]) for one in _all(api)] == [("a.json.gz", "foreign")]


def test_gz_file_with_other_content_is_foreign_and_not_deleted(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    (dirs.backups / "a.json").unlink()
    (dirs.backups / "a.json.gz").write_bytes(gzip.compress(b"{}"))
    assert [one["kind"] for one in _all(api)] == ["foreign"]
    assert not assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]
    assert (dirs.backups / "a.json.gz").exists()


def test_removed_and_hidden_files_are_not_listed(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "gone.json"}))
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    (dirs.backups / "gone.json").unlink()
    (dirs.backups / ".hidden.json").write_text("{}")
    (dirs.backups / "bad\x01name.json").write_text("{}")
    (dirs.backups / "half.json.tmp").write_text("{}")
    (Path(os.fsdecode(os.fsencode(dirs.backups) + b"/\xff.json"))).write_text("{}")
    deep = dirs.backups.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "x.json").write_text("{}")
    assert [one["path"] for one in _all(api)] == ["a.json"]


def test_file_that_differs_from_its_manifest_is_listed_as_changed(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    (dirs.backups / "a.json").write_bytes(b"{}")
    (entry,) = _all(api)
    assert (entry["kind"], entry["backup_id"], entry["record"]) == ("changed", created["backup_id"], None)


def test_list_without_a_volume_is_an_error(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        (dirs.backups / "a.json").write_text("{}")
        assert len(assert_ok(api.get(ALL))["items"]) == 1
        dirs.backups.rename(dirs.backups.with_name("gone"))
        assert_error(api.get(ALL), "VolumeUnavailable")


def test_list_of_a_hundred_thousand_files_reads_none_twice(
    dirs: GatewayDirs, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        for number in range(3):
            assert_ok(api.post(BACKUP, json={"path": f"{number}.json"}))
            subprocess.run(["gzip", str(dirs.backups / f"{number}.json")], check=True)
            created = assert_ok(api.post(BACKUP, json={"path": f"own/{number}.json"}))
            assert_ok(api.post(f"{ALL}/{created['backup_id']}/verify"))
    for folder in range(20):
        (dirs.backups / f"old{folder:02}").mkdir()
        for number in range(5000):
            os.close(os.open(dirs.backups / f"old{folder:02}" / f"{number:05}.json", os.O_CREAT | os.O_WRONLY, 0o600))
    past = time.time() - 100
    for path in (dirs.backups, *dirs.backups.iterdir()):
        os.utime(path, (past, past))
    settings = AdminSettings(config_file=dirs.config, backup_dir=dirs.backups)
    inventory = RepositoryIndex()
    reads: list[int] = []
    real = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        reads.append(fd)
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    monkeypatch.setattr(listing, "read_volume_id", lambda _: "id")  # it is read for each page
    seen: list[list[str]] = []
    for _ in range(2):
        paths: list[str] = []
        token: str | None = None
        while True:
            result = list_page(settings, inventory, 1000, token).page
            paths += [item.path for item in result.items]
            token = result.continue_token
            if token is None:
                break
        seen.append(paths)
        if len(seen) == 1:
            first = len(reads)
    assert len(seen[0]) == len(set(seen[0])) == 100_006
    assert seen[0] == seen[1]
    # Six manifests, three gzipped files and three verification files; two reads each, the last one at the end.
    assert 0 < first <= 6 * 2 + 3 * 2 + 3 * 2
    assert len(reads) == first


def test_continue_token_encodes_a_path() -> None:
    assert parse_token(encode_token(("a", "ä b.json"))) == ("a", "ä b.json")
    assert parse_token(None) == ()
