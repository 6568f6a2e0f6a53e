"""The gateway writes its config in place without a lock: no backup is torn and no overwritten restore succeeds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.api.support.admin_process import gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"


@contextmanager
def _writer(dirs: GatewayDirs, pause: float) -> Iterator[set[bytes]]:
    """Rewrites the config in place repeatedly, in small chunks; yields the set of all contents it began to write."""
    stop = threading.Event()
    written: set[bytes] = {dirs.config.read_bytes()}

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            data = json.dumps(gateway_config(dirs.key, users=2 + number % 400)).encode()
            written.add(data)
            with dirs.config.open("wb", buffering=0) as file:
                for start in range(0, len(data), 512):
                    file.write(data[start : start + 512])
            stop.wait(pause)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join()


def test_no_backup_is_torn_while_the_gateway_writes(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, settle_seconds=0.5) as api:
        assert_ok(api.get("/api/v1/system/health"))
        created = 0
        with _writer(dirs, 0.12) as written:
            for number in range(12):
                answer = api.post(BACKUP, json={"path": f"{number}.json"})
                if answer.status_code == 200:
                    created += 1
                else:
                    assert answer.json()["code"] in ("ConfigUnstable", "ConfigInvalid")
        assert created > 0
        for file in dirs.backups.glob("*.json"):
            if not file.name.endswith(".manifest"):
                assert file.read_bytes() in written
        assert api.get("/health").status_code == 200


def test_restore_overwritten_by_the_gateway_fails_and_is_repeatable(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, settle_seconds=0.4) as api:
        saved = dirs.config.read_bytes()
        created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        before = dirs.write(users=50)
        stop = threading.Event()

        def overwrite() -> None:
            while not stop.wait(0.01):
                if dirs.config.read_bytes() == saved:
                    dirs.write(users=60)
                    return

        thread = threading.Thread(target=overwrite)
        thread.start()
        request = {"backup_id": created["backup_id"], "request_id": "r"}
        answer = api.post("/api/v1/system/restore", json=request)
        stop.set()
        thread.join()
        assert_error(answer, "ConfigChangedDuringRestore")
        assert assert_ok(api.get("/api/v1/system/restores/r"))["state"] == "applied"
        done = assert_ok(api.post("/api/v1/system/restore", json=request))
        assert not done["replayed"]
        assert dirs.config.read_bytes() == saved
        assert_ok(api.post("/api/v1/system/restores/r/rollback"))
        assert dirs.config.read_bytes() == before
