"""A record name is used once: the volume refuses a second backup of the same Kubernetes object's name."""

from __future__ import annotations

import shutil

import httpx
import pytest

from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


def _body(request_id: str | None, record_name: str = "team/nightly-1", **fields: object) -> dict[str, object]:
    body = {"path": f"d/{request_id}.json", "request_id": request_id, "record_name": record_name, **fields}
    return {key: value for key, value in body.items() if value is not None}


def test_second_backup_of_a_record_name_is_refused(api: httpx.Client, dirs: GatewayDirs) -> None:
    first = assert_ok(api.post(BACKUP, json=_body("one")))
    assert first["record_name"] == "team/nightly-1"
    assert assert_ok(api.post(BACKUP, json=_body("one")))["replayed"]
    for request_id in ("two", None):
        answer = api.post(BACKUP, json=_body(request_id))
        assert first["path"] in assert_error(answer, "NameUsed")
        assert answer.json()["existing"] == {key: first[key] for key in ("backup_id", "path", "created")}
    for other in ("team/nightly-2", "other/nightly-1"):
        assert_ok(api.post(BACKUP, json=_body(other.replace("/", "-"), other)))
    assert sorted(file.name for file in (dirs.backups / "d").glob("*.json")) == [
        "one.json",
        "other-nightly-1.json",
        "team-nightly-2.json",
    ]


@pytest.mark.parametrize("bad", ["name", "a/b/c", "/b", "a/", "A/b", "a/b ", "a/../b", "", 3, "a/" + "b" * 254])
def test_record_name_is_a_namespace_and_a_name(bad: object, api: httpx.Client) -> None:
    assert "record_name" in assert_error(api.post(BACKUP, json=_body("one", bad)), "InvalidRequest")  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["api", "by hand", "data alone", "folder"])
def test_deleting_the_file_frees_the_record_name(how: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    first = assert_ok(api.post(BACKUP, json=_body("one")))
    if how == "api":
        assert_ok(api.delete(f"{ALL}/{first['backup_id']}"))
    elif how == "folder":
        shutil.rmtree(dirs.backups / "d")
    else:
        for file in (dirs.backups / "d").iterdir():
            if how == "by hand" or file.name == "one.json":
                file.unlink()
    assert not assert_ok(api.post(BACKUP, json=_body("two")))["replayed"]
    assert_error(api.post(BACKUP, json=_body("one")), "Deleted" if how in ("api", "data alone") else "NameUsed")


@pytest.mark.parametrize("what", ["gzipped", "moved", "changed", "hard link", "no permission", "cut"])
def test_record_name_stays_used_while_a_file_is_there(what: str, api: httpx.Client, dirs: GatewayDirs) -> None:
    first = assert_ok(api.post(BACKUP, json=_body("one")))
    file = dirs.backups / "d" / "one.json"
    if what == "gzipped":
        file.rename(file.with_name("one.json.gz"))
    elif what == "moved":
        (dirs.backups / "d").rename(dirs.backups / "e")
    elif what == "changed":
        file.write_bytes(file.read_bytes().replace(b"{", b"[", 1))
    elif what == "hard link":
        (dirs.backups / "link.json").hardlink_to(file)
    elif what == "no permission":
        file.chmod(0)
    else:
        file.write_bytes(b"")
    answer = api.post(BACKUP, json=_body("two"))
    assert_error(answer, "NameUsed")
    assert answer.json()["existing"]["backup_id"] == first["backup_id"]
