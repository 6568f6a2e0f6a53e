"""The list of backups names its volume and its time, and answers 304 exactly as long as nothing has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


def _touch(file: Path) -> None:
    os.utime(file, (1, 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "new foreign file": lambda root: (root / "zz.txt").write_text("x"),
    "removed file": lambda root: (root / "z/last.json").unlink(),
    "removed manifest": lambda root: next((root / "z").glob("last.json.manifest*")).unlink(),
    "changed content": lambda root: (root / "z/last.json").write_bytes(b"{}"),
    "changed time": lambda root: _touch(root / "z/last.json"),
    "renamed file": lambda root: (root / "z/last.json").rename(root / "z/other.json"),
    "hard link": lambda root: (
        (root / "z/last.json").hardlink_to(root / "z/link.json")
        if (root / "z/link.json").exists()
        else (root / "z/link.json").hardlink_to(root / "z/last.json")
    ),
    "mode": lambda root: (root / "z/last.json").chmod(0),
    "moved folder": lambda root: (root / "z").rename(root / "y"),
}


def test_page_names_its_volume_and_its_time(api: httpx.Client, dirs: GatewayDirs) -> None:
    record = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    before = datetime.now(UTC)
    page = assert_ok(api.get(ALL))
    assert page["volume_id"] == record["volume_id"]
    assert before <= datetime.fromisoformat(page["listed_at"]) <= datetime.now(UTC)
    assert [one["problems"] for one in page["items"]] == [[]]
    assert assert_ok(api.get(ALL, params={"path": "a.json"}))["volume_id"] == record["volume_id"]


@pytest.mark.parametrize("change", CHANGES)
def test_etag_of_the_first_page_covers_the_whole_list(change: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    for name in ("a.json", "b.json", "z/last.json"):
        assert_ok(api.post(BACKUP, json={"path": name}))
    first = api.get(ALL, params={"limit": 1})
    etag = first.headers["ETag"]
    for known in (etag, f'"other", {etag}'):
        unchanged = api.get(ALL, params={"limit": 1}, headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    CHANGES[change](dirs.backups)
    answer = api.get(ALL, params={"limit": 1}, headers={"If-None-Match": etag})
    assert answer.status_code == 200
    assert answer.headers["ETag"] != etag


def test_verification_changes_the_etag(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    etag = api.get(ALL).headers["ETag"]
    assert api.get(ALL, headers={"If-None-Match": etag}).status_code == 304
    assert_ok(api.post(f"{ALL}/{created['backup_id']}/verify"))
    assert api.get(ALL, headers={"If-None-Match": etag}).status_code == 200
