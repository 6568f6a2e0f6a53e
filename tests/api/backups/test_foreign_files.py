"""Files and manifests on the volume that this software did not write: none of them blocks the other files."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

import httpx
import pytest

from tests.api.support.backup_files import build_manifest
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import mount_tmpfs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("year", [1e12, -1e12], ids=["far ahead", "far back"])
def test_file_of_a_year_that_python_lacks_is_listed(year: float, dirs: GatewayDirs, fork_server: ForkServer) -> None:
    # On a tmpfs: ext4 stores no such time.
    old = dirs.backups / "old"
    old.mkdir()
    with mount_tmpfs(old, 1 << 20), fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        (old / "x.json").write_bytes(dirs.config.read_bytes())
        os.utime(old / "x.json", (year, year))
        assert abs((old / "x.json").stat().st_mtime) > 3e11
        assert_ok(api.post(BACKUP, json={"path": "old/ours.json"}))
        os.utime(old, (year, year))
        assert_ok(api.post(BACKUP, json={"path": "ours.json"}))
        paths = [item["path"] for item in assert_ok(api.get(ALL))["items"]]
        assert paths == ["old/ours.json", "old/x.json", "ours.json"]


STRANGE = [{"note": "\ud800"}, {"\udfff": 1}, {"note": _nested(300)}, {"note": _nested(900)}]


@pytest.mark.parametrize("strange", STRANGE, ids=["half a character", "half a key", "nested", "deep"])
def test_unrepresentable_manifest_is_ignored_and_hides_no_file(
    strange: dict[str, Any], api: httpx.Client, dirs: GatewayDirs
) -> None:
    data = dirs.config.read_bytes()
    assert_ok(api.post(BACKUP, json={"path": "ours.json"}))
    (dirs.backups / "x.json").write_bytes(data)
    (dirs.backups / "x.json.manifest").write_text(json.dumps(build_manifest(data, **strange)))
    items = assert_ok(api.get(ALL))["items"]
    assert [(item["path"], item["kind"]) for item in items] == [("ours.json", "backup"), ("x.json", "foreign")]
    assert_error(api.get(f"{ALL}/x"), "BackupNotFound")
    assert_ok(api.post(BACKUP, json={"path": "after.json"}))


@pytest.mark.parametrize("strange", STRANGE, ids=["half a character", "half a key", "nested", "deep"])
def test_upload_of_an_unrepresentable_manifest_is_rejected(
    strange: dict[str, Any], api: httpx.Client, dirs: GatewayDirs
) -> None:
    sent = json.dumps(build_manifest(dirs.config.read_bytes(), **strange)).encode()
    assert_error(api.put(f"{ALL}/x/content?part=manifest", content=sent), "InvalidRequest")


def test_manifest_of_a_later_version_is_kept_unchanged(api: httpx.Client, dirs: GatewayDirs) -> None:
    data = dirs.config.read_bytes()
    later = {"note": [{"a": [{"b": ["\U0001f600", "\u00e9", -(2**70), None, True]}]}]}
    sent = json.dumps(build_manifest(data, **later)).encode()
    assert_ok(api.put(f"{ALL}/x/content?part=manifest", content=sent))
    assert_ok(api.put(f"{ALL}/x/content", content=data))
    assert (dirs.backups / "x.json.manifest").read_bytes() == sent
    assert assert_ok(api.get(ALL))["items"][0]["kind"] == "backup"
    assert assert_ok(api.get(f"{ALL}/x"))["path"] == "x.json"
    assert assert_ok(api.delete(f"{ALL}/x"))["existed"]


@pytest.mark.parametrize("name", [b"caf\xe9", "cafe\u0301".encode(), b"a\nb", b"x.tmp", b"y" * 200], ids=repr)
def test_file_whose_name_no_request_can_use_is_not_listed(name: bytes, api: httpx.Client, dirs: GatewayDirs) -> None:
    request = {"path": "a.json", "request_id": "once"}
    created = assert_ok(api.post(BACKUP, json=request))
    folder = os.path.join(os.fsencode(dirs.backups), name)
    os.mkdir(folder)
    for file in (b"a.json", b"a.json.manifest"):
        os.rename(os.path.join(os.fsencode(dirs.backups), file), os.path.join(folder, file))
    one = f"{ALL}/{created['backup_id']}"
    assert assert_ok(api.get(ALL))["items"] == []
    assert_error(api.get(one), "BackupNotFound")
    assert_error(api.post(f"{one}/verify"), "BackupNotFound")
    assert_error(api.get(f"{one}/content"), "BackupNotFound")
    assert_error(api.post("/api/v1/system/restore", json={"backup_id": created["backup_id"]}), "BackupNotFound")
    assert not assert_ok(api.delete(one))["existed"]
    assert os.path.exists(os.path.join(folder, b"a.json"))
    assert not assert_ok(api.post(BACKUP, json=request))["replayed"]


@pytest.mark.parametrize("length", [177, 178, 180])
def test_backup_with_the_longest_name_may_be_gzipped_by_hand(
    length: int, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    name = "n" * (length - 5) + ".json"
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json={"path": name}))
        data = (dirs.backups / name).read_bytes()
        (dirs.backups / f"{name}.gz").write_bytes(gzip.compress(data))
        (dirs.backups / name).unlink()
        items = assert_ok(api.get(ALL))["items"]
        assert [(item["kind"], item["path"]) for item in items] == [("compressed", f"{name}.gz")]
        assert assert_ok(api.get(ALL, params={"path": f"{name}.gz"}))["items"] == items
        assert assert_ok(api.post(f"{ALL}/inspect", json={"path": f"{name}.gz"}))["level"] == "Verified"
        assert_ok(api.post("/api/v1/system/restore", json={"input_file": f"{name}.gz"}))
        assert assert_ok(api.delete(f"{ALL}/{created['backup_id']}"))["existed"]
        assert not list(dirs.backups.glob("n*"))


def test_name_of_181_bytes_is_rejected(api: httpx.Client) -> None:
    assert_ok(api.post(BACKUP, json={"path": "n" * 180}))
    assert_error(api.post(BACKUP, json={"path": "n" * 181}), "PathNotAllowed")
    assert_error(api.post(BACKUP, json={"path": "n" * 181 + ".gz"}), "PathNotAllowed")
