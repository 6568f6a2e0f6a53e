"""`output_file` replaces files of its own kind, and never a backup that somebody else relies on."""

from __future__ import annotations

import subprocess

import httpx
import pytest

from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


@pytest.mark.parametrize("state", ["whole", "gzipped", "gzipped, to the gz", "changed", "manifest damaged", "safety"])
def test_output_file_keeps_a_backup_of_a_request_with_an_id(state: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    if state == "safety":
        saved = assert_ok(api.post("/api/v1/system/reset", json={"confirm": True}))["safety_backup"]["path"]
        file = target = dirs.backups / saved
    else:
        assert_ok(api.post(BACKUP, json={"path": "d/a.json", "request_id": "one"}))
        file = target = dirs.backups / "d/a.json"
    if state.startswith("gzipped"):
        subprocess.run(["gzip", file], check=True)
        file = file.with_name("a.json.gz")
        target = file if state.endswith("gz") else target
    elif state == "changed":
        file.write_bytes(b"{}")
    elif state == "manifest damaged":
        (dirs.backups / "d/a.json.manifest").write_bytes(b"{")
    before = {path: path.read_bytes() for path in file.parent.iterdir()}
    for fields in ({}, {"request_id": "two"}):
        assert_error(api.post(BACKUP, json={"output_file": str(target), **fields}), "BackupManaged")
    assert {path: path.read_bytes() for path in file.parent.iterdir()} == before


@pytest.mark.parametrize("state", ["own", "foreign", "hard link", "managed manifest without data", "own, gzipped"])
def test_output_file_replaces_every_other_file(state: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    file = dirs.backups / "a.json"
    body: dict[str, object] = {"output_file": str(file)}
    linked = b""
    if state == "foreign":
        file.write_bytes(b"{}")
    elif state == "managed manifest without data":
        assert_ok(api.post(BACKUP, json={"path": "a.json", "request_id": "one"}))
        file.unlink()
    else:
        assert_ok(api.post(BACKUP, json=body))
        linked = file.read_bytes()
    if state == "hard link":
        (dirs.backups / "latest.json").hardlink_to(file)
    elif state == "own, gzipped":
        subprocess.run(["gzip", file], check=True)
    data = dirs.write(users=9)
    assert_ok(api.post(BACKUP, json=body))
    assert file.read_bytes() == data
    if state == "hard link":
        assert (dirs.backups / "latest.json").read_bytes() == linked
    if state.startswith("managed"):
        assert_error(api.post(BACKUP, json={"path": "a.json", "request_id": "one"}), "Deleted")
