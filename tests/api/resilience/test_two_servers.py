"""Two servers on the same directories, as during a rolling update: one operation at a time, each request runs once."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESTORE = "/api/v1/system/restore"


@pytest.fixture
def two(dirs: GatewayDirs, fork_server: ForkServer) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    with (
        fork_server.server(dirs.config, dirs.backups, dirs.key) as one,
        fork_server.server(dirs.config, dirs.backups, dirs.key) as other,
    ):
        yield one, other


def test_one_server_continues_requests_of_the_other(two: tuple[httpx.Client, httpx.Client], dirs: GatewayDirs) -> None:
    one, other = two
    created = assert_ok(one.post(BACKUP, json={"path": "a.json", "request_id": "b"}))
    assert assert_ok(other.post(BACKUP, json={"path": "a.json", "request_id": "b"})) == {**created, "replayed": True}
    assert assert_ok(other.get(f"/api/v1/system/backups/{created['backup_id']}"))["path"] == "a.json"
    before = dirs.write(users=4)
    assert_ok(one.post(RESTORE, json={"backup_id": created["backup_id"], "request_id": "r"}))
    assert assert_ok(other.post(RESTORE, json={"backup_id": created["backup_id"], "request_id": "r"}))["replayed"]
    assert_ok(other.post("/api/v1/system/restores/r/rollback"))
    assert assert_ok(one.get("/api/v1/system/restores/r"))["state"] == "rolled_back"
    assert dirs.config.read_bytes() == before
    assert assert_ok(other.delete(f"/api/v1/system/backups/{created['backup_id']}"))["existed"]
    assert not assert_ok(one.delete(f"/api/v1/system/backups/{created['backup_id']}"))["existed"]


def test_same_request_to_both_servers_creates_one_backup(
    two: tuple[httpx.Client, httpx.Client], dirs: GatewayDirs
) -> None:
    answers: list[httpx.Response] = []

    def send(client: httpx.Client) -> None:
        for _ in range(5):
            answers.append(client.post(BACKUP, json={"path": "a.json.zst", "request_id": "same"}))

    threads = [threading.Thread(target=send, args=(client,)) for client in two]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    assert {answer.json().get("code") for answer in answers if answer.status_code != 200} <= {"Busy", "InProgress"}
    assert sum(not one["replayed"] for one in good) == 1
    assert len({one["backup_id"] for one in good}) == 1
    assert len(list(dirs.backups.rglob("*.manifest"))) == 1


def test_different_requests_to_both_servers_succeed(two: tuple[httpx.Client, httpx.Client], dirs: GatewayDirs) -> None:
    answers: list[httpx.Response] = []

    def send(client: httpx.Client, who: str) -> None:
        for number in range(6):
            answers.append(client.post(BACKUP, json={"path": f"{who}/{number}.json", "request_id": f"{who}{number}"}))

    threads = [threading.Thread(target=send, args=(client, who)) for client, who in zip(two, "ab", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [answer for answer in answers if answer.status_code == 200]
    assert {answer.json()["code"] for answer in answers if answer.status_code != 200} <= {"Busy"}
    assert len(list(dirs.backups.rglob("*.manifest"))) == len(done) > 0


def test_lock_holder_makes_others_wait_and_then_fail_as_busy(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    for lock in (dirs.state / "lock", dirs.backups / ".gateway" / "lock"):
        with lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            answer = api.post(BACKUP, json={"path": "b.json", "request_id": "b"})
            assert_error(answer, "Busy")
            assert int(answer.headers["retry-after"]) > 0
            held.write("backup:b")
            held.flush()
            assert_error(api.post(BACKUP, json={"path": "b.json", "request_id": "b"}), "InProgress")
            assert api.get("/health").status_code == 200
            held.truncate(0)
    assert_ok(api.post(BACKUP, json={"path": "b.json", "request_id": "b"}))


def test_damaged_journal_is_reported_until_superseded(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    (dirs.state / "restore.json").write_text("{")
    (dirs.state / "previous-x").write_text("precious")
    assert_error(api.post(RESTORE, json={"backup_id": created["backup_id"]}), "RestoreStateUnknown")
    assert_ok(api.post(RESTORE, json={"backup_id": created["backup_id"], "supersede": True}))
    assert [entry.read_text() for entry in dirs.state.iterdir() if entry.name.startswith("damaged-")] == ["{"]
    assert (dirs.state / "previous-x").read_text() == "precious"
    assert_ok(api.post(BACKUP, json={"path": "b.json"}))
    assert not (dirs.state / "previous-x").exists()
    assert (dirs.backups / "safety" / "previous-x.json.invalid").read_text() == "precious"


def test_unknown_restore_state_is_reported_not_guessed(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    old = dirs.write(users=5)
    request = {"backup_id": created["backup_id"], "request_id": "r"}
    assert_ok(api.post(RESTORE, json=request))
    journal = json.loads((dirs.state / "restore.json").read_text())
    journal["phase"] = "prepared"
    (dirs.state / "restore.json").write_text(json.dumps(journal))
    dirs.write(users=9)
    assert_error(api.post(RESTORE, json=request), "RestoreStateUnknown")
    assert_error(api.post("/api/v1/system/restores/r/commit"), "RestoreStateUnknown")
    assert_error(api.post("/api/v1/system/restores/r/rollback"), "RestoreStateUnknown")
    assert_ok(api.post("/api/v1/system/restores/r/rollback", json={"force": True}))
    assert dirs.config.read_bytes() == old
