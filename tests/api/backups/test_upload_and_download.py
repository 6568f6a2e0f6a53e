"""Downloading a backup and uploading it to another volume: exact bytes, in parts, never incomplete or wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyrage
import pytest

from tests.api.support.admin_process import gateway_config
from tests.api.support.backup_files import build_manifest
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


@pytest.fixture
def other(tmp_path: Path, fork_server: ForkServer) -> Iterator[tuple[httpx.Client, GatewayDirs]]:
    folder = tmp_path / "other"
    folder.mkdir()
    dirs = GatewayDirs(folder)
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as client:
        yield client, dirs


def _download(api: httpx.Client, path: str = "d/a.json.zst") -> tuple[str, bytes, bytes]:
    backup_id = assert_ok(api.post(BACKUP, json={"path": path, "metadata": {"k": "v"}}))["backup_id"]
    file, manifest = (api.get(f"{ALL}/{backup_id}/content", params={"part": part}) for part in ("file", "manifest"))
    assert (file.status_code, manifest.status_code) == (200, 200)
    return backup_id, manifest.content, file.content


def _url(backup_id: str, part: str = "file") -> str:
    return f"{ALL}/{backup_id}/content?part={part}"


def test_download_has_the_exact_bytes_of_file_and_manifest(api: httpx.Client, dirs: GatewayDirs) -> None:
    backup_id, manifest, file = _download(api)
    assert file == (dirs.backups / "d/a.json.zst").read_bytes()
    assert manifest == (dirs.backups / "d/a.json.zst.manifest").read_bytes()
    answer = api.get(_url(backup_id))
    assert answer.headers["etag"] == f'"{hashlib.sha256(file).hexdigest()}"'
    assert answer.headers["content-type"] == "application/octet-stream"
    for header, start, end in (("bytes=0-4", 0, 5), ("bytes=7-", 7, len(file)), ("bytes=3-999999", 3, len(file))):
        answer = api.get(_url(backup_id), headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, file[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(file)}"
    for header in ("bytes=999999-", "bytes=-5", "bytes=5-2", "lines=1-2", "bytes=0-1,3-4"):
        assert api.get(_url(backup_id), headers={"Range": header}).content == file
    assert_error(api.get(_url("none")), "BackupNotFound")
    assert_error(api.get(_url(backup_id, "other")), "InvalidRequest")
    (dirs.backups / "d/a.json.zst").write_bytes(b"short")
    assert_error(api.get(_url(backup_id)), "BackupChanged")


def test_uploaded_backup_is_the_same_backup_and_restores(
    api: httpx.Client, dirs: GatewayDirs, other: tuple[httpx.Client, GatewayDirs]
) -> None:
    there, target = other
    content = dirs.config.read_bytes()
    backup_id, manifest, file = _download(api)
    begun = assert_ok(there.put(_url(backup_id, "manifest"), content=manifest))
    assert (begun["state"], begun["received_bytes"], begun["expected_bytes"]) == ("partial", 0, len(file))
    done = assert_ok(there.put(_url(backup_id), content=file))
    assert (done["state"], done["replayed"]) == ("stored", False)
    assert done["record"]["metadata"] == {"k": "v"}
    assert (target.backups / "d/a.json.zst.manifest").read_bytes() == manifest
    assert not list((target.backups / ".gateway" / "uploads").iterdir())
    assert assert_ok(there.put(_url(backup_id), content=file))["replayed"]
    assert assert_ok(there.put(_url(backup_id, "manifest"), content=manifest))["state"] == "stored"
    assert_ok(there.post("/api/v1/system/restore", json={"backup_id": backup_id}))
    assert target.config.read_bytes() == content
    headers = {"Authorization": f"Bearer {dirs.key}"}
    assert assert_ok(there.delete(f"{ALL}/{backup_id}", headers=headers))["existed"]
    assert_error(there.put(_url(backup_id, "manifest"), content=manifest, headers=headers), "Deleted")


def test_upload_in_parts_resumes_after_a_restart(api: httpx.Client, tmp_path: Path, fork_server: ForkServer) -> None:
    backup_id, manifest, file = _download(api)
    folder = tmp_path / "other"
    folder.mkdir()
    dirs = GatewayDirs(folder)
    half, size = len(file) // 2, len(file)
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as there:
        assert_error(there.put(_url(backup_id), content=file), "BackupNotFound")
        assert_ok(there.put(_url(backup_id, "manifest"), content=manifest))
        part = assert_ok(there.put(_url(backup_id), content=file[:half]))
        assert (part["state"], part["received_bytes"]) == ("partial", half)
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as there:
        have = assert_ok(there.put(_url(backup_id, "manifest"), content=manifest))["received_bytes"]
        assert have == half
        late = {"Content-Range": f"bytes {half + 1}-{size - 1}/{size}"}
        assert_error(there.put(_url(backup_id), content=file[half + 1 :], headers=late), "UploadOutOfOrder")
        assert_error(there.put(_url(backup_id), content=b"", headers={"Content-Range": "bytes x"}), "InvalidRequest")
        rest = {"Content-Range": f"bytes {half}-{size - 1}/{size}"}
        assert assert_ok(there.put(_url(backup_id), content=file[half:], headers=rest))["state"] == "stored"
        assert (dirs.backups / "d/a.json.zst").read_bytes() == file


def _manifest(content: bytes, stored: bytes, **changes: Any) -> bytes:
    return json.dumps(build_manifest(content, stored, **changes)).encode()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": "y"}, "InvalidRequest"),
        ({"path": "../x.json"}, "PathNotAllowed"),
        ({"path": "/etc/passwd"}, "PathNotAllowed"),
        ({"path": ".gateway/lock"}, "PathNotAllowed"),
        ({"path": "x.manifest"}, "PathNotAllowed"),
        ({"path": "nul\0.json"}, "PathNotAllowed"),
        ({"format_version": 99}, "InvalidRequest"),
        ({"stored_bytes": 1 << 40}, "BackupTooLarge"),
        ({"stored_bytes": -1}, "BackupTooLarge"),
        ({"content_sha256": "x"}, "InvalidRequest"),
        ({"id": None}, "InvalidRequest"),
        ({"created": 1.5}, "InvalidRequest"),
    ],
)
def test_upload_of_an_invalid_manifest_is_rejected(
    changes: dict[str, Any], code: str, api: httpx.Client, dirs: GatewayDirs
) -> None:
    config = dirs.config.read_bytes()
    assert_error(api.put(_url("x", "manifest"), content=_manifest(config, config, **changes)), code)
    assert not (dirs.backups / ".gateway" / "uploads" / "x.json").exists()


def test_upload_that_differs_from_its_manifest_is_rejected(api: httpx.Client, dirs: GatewayDirs) -> None:
    config = json.dumps(gateway_config(dirs.key)).encode()
    assert_ok(api.put(_url("x", "manifest"), content=_manifest(config, config)))
    assert_error(api.put(_url("x", "manifest"), content=_manifest(config, config, path="y.json")), "RequestIdReused")
    assert_error(api.put(_url("x"), content=config + b" "), "DigestMismatch")
    assert_error(api.put(_url("x"), content=b"x" * len(config)), "DigestMismatch")
    assert not (dirs.backups / "x.json").exists()
    assert assert_ok(api.put(_url("x"), content=config))["state"] == "stored"
    assert_error(api.put(_url("y", "manifest"), content=b"x" * (3 << 20)), "BodyTooLarge")


@pytest.mark.parametrize(("what", "code"), [("not a config", "BackupInvalid"), ("bomb", "BackupTooLarge")])
def test_upload_that_could_not_be_restored_is_rejected(
    what: str, code: str, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    content = b"{}" if what == "not a config" else b" " * 50_000_000
    stored = gzip.compress(content)
    with fork_server.server(dirs.config, dirs.backups, dirs.key, max_config_bytes=100_000) as api:
        manifest = _manifest(content, stored, path="x.json.gz", compression="gzip")
        assert_ok(api.put(_url("x", "manifest"), content=manifest))
        assert_error(api.put(_url("x"), content=stored), code)
        assert_error(api.put(_url("x"), content=b"x" * 3_000_000), "BodyTooLarge")
        assert not (dirs.backups / "x.json.gz").exists()


def test_upload_of_a_plain_file_with_an_age_name_is_rejected(api: httpx.Client, dirs: GatewayDirs) -> None:
    config = dirs.config.read_bytes()
    assert_ok(api.put(_url("x", "manifest"), content=_manifest(config, config, path="x.json.age")))
    assert_error(api.put(_url("x"), content=config), "BackupInvalid")
    assert not (dirs.backups / "x.json.age").exists()


def test_upload_does_not_overwrite_a_file(api: httpx.Client, dirs: GatewayDirs) -> None:
    config = dirs.config.read_bytes()
    (dirs.backups / "x.json").write_text("precious")
    assert_ok(api.put(_url("x", "manifest"), content=_manifest(config, config)))
    assert_error(api.put(_url("x"), content=config), "BackupExists")
    assert (dirs.backups / "x.json").read_text() == "precious"
    (dirs.backups / "x.json").unlink()
    os.mkfifo(dirs.backups / "x.json")
    assert_error(api.put(_url("x"), content=config), "PathNotAllowed")


def test_interrupted_upload_keeps_the_received_bytes(api: httpx.Client, dirs: GatewayDirs) -> None:
    config = dirs.config.read_bytes()
    manifest = _manifest(config, config)
    assert_ok(api.put(_url("x", "manifest"), content=manifest))

    def pieces() -> Iterator[bytes]:
        yield config[:100]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        api.put(_url("x"), content=pieces())
    assert assert_ok(api.put(_url("x", "manifest"), content=manifest))["received_bytes"] <= 100
    assert assert_ok(api.put(_url("x"), content=config))["state"] == "stored"


def _age_file(content: bytes) -> bytes:
    created: bytes = pyrage.encrypt(content, [pyrage.x25519.Identity.generate().to_public()])
    return created


def test_plain_upload_is_rejected_when_encryption_is_required(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    recipients = [str(pyrage.x25519.Identity.generate().to_public())]
    content = dirs.config.read_bytes()
    uploads = dirs.backups / ".gateway" / "uploads"
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as lax:
        assert_ok(lax.put(_url("plain", "manifest"), content=_manifest(content, content, id="plain", path="p.json")))
    with fork_server.server(
        dirs.config, dirs.backups, dirs.key, age_recipients=recipients, encryption="require"
    ) as api:
        assert_error(api.put(_url("plain"), content=content), "EncryptionRequired")
        assert_error(
            api.put(_url("x", "manifest"), content=_manifest(content, content, path="x.json")), "EncryptionRequired"
        )
        named = _manifest(content, content, id="named", path="n.json.age")
        assert_ok(api.put(_url("named", "manifest"), content=named))
        assert_error(api.put(_url("named"), content=content), "EncryptionRequired")
        stored = _age_file(content)
        assert_ok(api.put(_url("good", "manifest"), content=_manifest(content, stored, id="good", path="g.json.age")))
        assert assert_ok(api.put(_url("good"), content=stored))["state"] == "stored"
        assert all(not file.read_bytes() for file in uploads.glob("*.part"))


def test_upload_with_a_wrong_digest_leaves_no_partial_file(api: httpx.Client, dirs: GatewayDirs) -> None:
    content = dirs.config.read_bytes()
    assert_ok(api.put(_url("x", "manifest"), content=_manifest(content, content)))
    assert_error(api.put(_url("x"), content=content[:-1] + b"!"), "DigestMismatch")
    assert not list((dirs.backups / ".gateway" / "uploads").glob("*.part"))
    assert assert_ok(api.put(_url("x"), content=content))["state"] == "stored"


def test_abandoned_upload_is_removed_after_a_day(api: httpx.Client, dirs: GatewayDirs) -> None:
    content = dirs.config.read_bytes()
    uploads = dirs.backups / ".gateway" / "uploads"
    for name, hours, since in (("old", 25, 25), ("young", 23, 23), ("slow", 50, 1)):
        assert_ok(api.put(_url(name, "manifest"), content=_manifest(content, content, id=name, path=f"{name}.json")))
        assert_ok(api.put(_url(name), content=content[:10]))
        for suffix, ago in (("json", hours), ("part", since)):
            then = time.time() - ago * 3600
            os.utime(uploads / f"{name}.{suffix}", (then, then))
    assert_ok(api.post("/api/v1/system/backup", json={"path": "a.json"}))
    assert {file.name.partition(".")[0] for file in uploads.iterdir()} == {"young", "slow"}
    assert len(list(uploads.iterdir())) == 4


def test_download_is_not_resumed_with_the_bytes_of_another_file(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post("/api/v1/system/backup", json={"path": "a.json"}))
    url = f"/api/v1/system/backups/{created['backup_id']}/content"
    plain = (dirs.backups / "a.json").read_bytes()
    tag = api.get(url).headers["ETag"]
    rest = api.get(url, headers={"Range": "bytes=10-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, plain[10:])
    subprocess.run(["gzip", dirs.backups / "a.json"], check=True)
    gzipped = (dirs.backups / "a.json.gz").read_bytes()
    for stale in (tag, f"W/{tag}", "Wed, 21 Oct 2015 07:28:00 GMT", '"other"'):
        whole = api.get(url, headers={"Range": "bytes=10-", "If-Range": stale})
        assert (whole.status_code, whole.content) == (200, gzipped)
    manifest = api.get(f"{url}?part=manifest", headers={"Range": "bytes=10-", "If-Range": tag})
    assert manifest.status_code == 200
