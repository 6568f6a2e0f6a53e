"""A repeated restore request is answered from the record only while the file that it names is the recorded one."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.api.restores.test_only_copy import BACKUP, RESTORE, RESTORES
from tests.api.support.admin_process import gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api


def _exchange(dirs: GatewayDirs) -> bytes:
    """Puts another backup at the path of the source: file and manifest, as `output_file` of a script does."""
    other = json.dumps(gateway_config(dirs.key, users=30), indent=2).encode()
    for file in dirs.backups.glob("a.json*"):
        file.unlink()
    (dirs.backups / "a.json").write_bytes(other)
    return other


@pytest.mark.parametrize("state", ["applied", "committed", "rolled back", "overwritten"])
def test_repeated_request_for_another_file_at_the_same_path_is_refused(
    state: str, api: httpx.Client, dirs: GatewayDirs
) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    dirs.write(users=7)
    body = {"input_file": "a.json", "request_id": "r"}
    done = assert_ok(api.post(RESTORE, json=body))
    if state in ("committed", "rolled back"):
        assert_ok(api.post(f"{RESTORES}/r/{'commit' if state == 'committed' else 'rollback'}"))
    if state == "overwritten":
        # As after a crash: applied, not settled, and the gateway has overwritten the restored config.
        journal = json.loads((dirs.state / "restore.json").read_text())
        (dirs.state / "restore.json").write_text(json.dumps(journal | {"settled": False}))
        dirs.write(users=9)
    live = dirs.config.read_bytes()
    assert assert_ok(api.get(f"{RESTORES}/r"))["restored_sha256"] == done["restored_sha256"]
    _exchange(dirs)
    assert_error(api.post(RESTORE, json=body), "DigestMismatch")
    assert dirs.config.read_bytes() == live
    (dirs.backups / "a.json").unlink()
    assert_error(api.post(RESTORE, json=body), "BackupNotFound")
    assert dirs.config.read_bytes() == live
    assert assert_ok(api.get(f"{RESTORES}/r"))["restored_sha256"] == done["restored_sha256"]


@pytest.mark.parametrize("change", ["moved", "gzipped", "none"])
def test_repeated_request_finds_a_backup_that_was_moved_or_compressed(
    change: str, api: httpx.Client, dirs: GatewayDirs
) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    dirs.write(users=7)
    body = {"backup_id": created["backup_id"], "request_id": "r"}
    first = assert_ok(api.post(RESTORE, json=body))
    file = dirs.backups / "a.json"
    if change == "moved":
        (dirs.backups / "archive").mkdir()
        for one in dirs.backups.glob("a.json*"):
            one.rename(dirs.backups / "archive" / one.name)
    elif change == "gzipped":
        file.with_name("a.json.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    again = assert_ok(api.post(RESTORE, json=body))
    assert again == {**first, "replayed": True}


@pytest.mark.parametrize("spelling", ["{}", "sha256:{}", "SHA256:{}"])
@pytest.mark.parametrize("upper", [False, True])
def test_expected_digest_is_accepted_in_every_usual_spelling(
    spelling: str, upper: bool, api: httpx.Client, dirs: GatewayDirs
) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json.zst"}))
    for digest in (created["stored_sha256"], created["content_sha256"]):
        text = spelling.format(digest.upper() if upper else digest)
        body: dict[str, Any] = {"backup_id": created["backup_id"], "expected_sha256": text, "dry_run": True}
        assert_ok(api.post(RESTORE, json=body))
    wrong = spelling.format("0" * 64)
    assert_error(
        api.post(RESTORE, json={"backup_id": created["backup_id"], "expected_sha256": wrong}), "DigestMismatch"
    )


def test_digest_in_another_spelling_is_the_same_request(api: httpx.Client) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json.zst"}))
    digest = created["content_sha256"]
    body = {"backup_id": created["backup_id"], "request_id": "r"}
    assert_ok(api.post(RESTORE, json={**body, "expected_sha256": digest}))
    assert assert_ok(api.post(RESTORE, json={**body, "expected_sha256": f"sha256:{digest.upper()}"}))["replayed"]
    for wrong in ("md5:" + digest, digest[:-1], f" {digest}", "sha256:sha256:" + digest):
        assert_error(api.post(RESTORE, json={**body, "expected_sha256": wrong}), "InvalidRequest")


def test_message_of_a_replay_does_not_claim_success_after_a_rollback(
    dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        body = {"input_file": "a.json", "request_id": "r"}
        assert_ok(api.post(RESTORE, json=body))
        assert_ok(api.post(f"{RESTORES}/r/rollback"))
        answer = api.post(RESTORE, json=body)
        assert assert_ok(answer)["state"] == "rolled_back"
        assert "successfully" not in answer.json()["message"]
