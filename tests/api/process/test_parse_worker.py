"""A separate worker process parses large configs: other requests do not wait for it, and its death loses nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_api.gateway_config.schema import digest
from tests.api.support.admin_process import AdminProcess, gateway_config
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok
from tests.bench.api.configs import config_of

pytestmark = pytest.mark.api
PREFIX = "/api/v1/system"
BACKUP = f"{PREFIX}/backup"
LARGE = 8 * 1024 * 1024
TIMEOUT_SECONDS = 60.0
"""How long to wait for an event before the test fails."""


def _wait_until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.001)
    raise AssertionError(f"the condition did not become true within {TIMEOUT_SECONDS} s")


def _children(pid: int) -> list[int]:
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if parent == str(pid) and state not in ("Z", "X"):
                pids.append(int(process.name))
    return pids


def _state(pid: int) -> str:
    """T: stopped, Z: ended but not reaped, X: no such process; empty for a transient state."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
    return state if state in ("T", "Z", "X") else ""


def _alive(pid: int) -> bool:
    return _state(pid) not in ("Z", "X")


@contextlib.contextmanager
def _running_server(dirs: GatewayDirs, **settings: Any) -> Iterator[tuple[AdminProcess, httpx.Client]]:
    """A server that parses every config in a worker. Its client uses a key file, so no request parses the config."""
    keys = dirs.config.parent.parent / "keys"
    keys.write_text("the operator's own key of this server\n")
    settings = {"worker_above_bytes": 0, "admin_key_file": keys, **settings}
    with (
        AdminProcess(dirs.config, dirs.backups, **settings) as process,
        process.client("the operator's own key of this server", timeout=120) as client,
    ):
        # At start the server parses the config in a worker. Wait until that has finished.
        _wait_until((dirs.state / "last_key").exists)
        yield process, client


@contextlib.contextmanager
def _stopped_worker(process: AdminProcess, client: httpx.Client, dirs: GatewayDirs) -> Iterator[tuple[int, Any]]:
    """Requests a backup of a new config and stops its worker; yields the worker's pid and the future answer."""
    assert process.process is not None
    server = process.process.pid
    dirs.config.write_bytes(config_of(LARGE, dirs.key))
    with ThreadPoolExecutor(1) as requests:
        answer = requests.submit(client.post, BACKUP, json={"path": "large.json.zst", "request_id": "large"})
        (worker,) = _wait_until(lambda: _children(server))
        os.kill(worker, signal.SIGSTOP)
        assert _wait_until(lambda: _state(worker)) == "T", "the worker finished before it was stopped"
        yield worker, answer
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)


def _files(dirs: GatewayDirs) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in dirs.backups.rglob("large*") if file.is_file()}


def _temporaries(dirs: GatewayDirs) -> list[Path]:
    return list(dirs.backups.rglob(".gateway-*"))


def _check_nothing_changed(dirs: GatewayDirs, config: bytes) -> None:
    assert dirs.config.read_bytes() == config
    assert not _files(dirs)
    assert not _temporaries(dirs)


def test_requests_work_alike_with_and_without_a_worker(dirs: GatewayDirs) -> None:
    with _running_server(dirs) as (process, client):
        before = dirs.config.read_bytes()
        created = assert_ok(client.post(BACKUP, json={"path": "a.json.zst"}))
        assert created["counts"]["users"] == 2
        health = assert_ok(client.get(f"{PREFIX}/health"))
        assert (health["status"], health["config_digest"]) == ("healthy", digest(before))
        dirs.write(users=5)
        request = {"backup_id": created["backup_id"], "request_id": "r"}
        plan = assert_ok(client.post(f"{PREFIX}/restore", json={**request, "dry_run": True}))
        assert (plan["diff"]["users"]["removed"], plan["sections_digest"]) == (3, health["sections_digest"])
        assert assert_ok(client.post(f"{PREFIX}/restore", json=request))["sections_digest"] == health["sections_digest"]
        assert dirs.config.read_bytes() == before
        assert_ok(client.post(f"{PREFIX}/restores/r/rollback"))
        assert assert_ok(client.post(f"{PREFIX}/backups/{created['backup_id']}/verify"))["problems"] == []
        envelope = b'{"backup_version": "1.0", "config": ' + before + b"}"
        (dirs.backups / "theirs.json").write_bytes(envelope)
        assert_ok(client.post(f"{PREFIX}/restore", json={"input_file": "theirs.json"}))
        assert client.get(f"{PREFIX}/health").json()["data"]["total_users"] == 2
        assert_ok(client.post(f"{PREFIX}/reset", json={"confirm": True}))
        assert gateway_config(dirs.key)["admin_apikey"].encode() in dirs.config.read_bytes()
        wrong_shape = before.replace(b'"projects": {', b'"projects": 5, "projekts": {', 1)
        for config, reason in ((before[:-1], "line"), (wrong_shape, "projects must be an object")):
            dirs.config.write_bytes(config)
            assert reason in assert_error(client.post(BACKUP, json={"path": "large.json"}), "ConfigInvalid")
            _check_nothing_changed(dirs, config)
        assert process.process is not None
        assert not _children(process.process.pid)


def test_health_answers_during_a_large_backup(dirs: GatewayDirs) -> None:
    with _running_server(dirs) as (process, client), process.client(None, timeout=120) as prober:
        dirs.config.write_bytes(config_of(LARGE, dirs.key))
        ended = threading.Event()
        answered: list[float] = []

        def ask() -> None:
            while not ended.is_set():
                assert_ok(prober.get("/health"))
                answered.append(time.monotonic())

        with ThreadPoolExecutor(2) as threads:
            asking = threads.submit(ask)
            began = time.monotonic()
            try:
                assert_ok(client.post(BACKUP, json={"path": "large.json.zst"}))
            finally:
                end = time.monotonic()
                ended.set()
            asking.result()
        during = [at for at in answered if began <= at <= end]
        # If parsing blocked the interpreter, only a few requests would be answered.
        assert len(during) > 20
        gaps = [after - before for before, after in zip([began, *during], [*during, end], strict=True)]
        assert max(gaps) < (end - began) / 2


def test_killed_worker_fails_only_its_request(dirs: GatewayDirs) -> None:
    with _running_server(dirs) as (process, client):
        with _stopped_worker(process, client, dirs) as (worker, answer):
            config = dirs.config.read_bytes()
            os.kill(worker, signal.SIGKILL)
            assert "killed" in assert_error(answer.result(TIMEOUT_SECONDS), "WorkerFailed")
        _check_nothing_changed(dirs, config)
        assert_ok(client.get("/health"))
        again = assert_ok(client.post(BACKUP, json={"path": "large.json.zst", "request_id": "large"}))
        assert not again["replayed"]
        assert again["content_sha256"] == digest(config)


def test_key_of_the_key_file_is_accepted_without_waiting_for_a_worker(dirs: GatewayDirs) -> None:
    with (
        _running_server(dirs) as (process, client),
        process.client(dirs.key, timeout=120) as other,
        _stopped_worker(process, client, dirs) as (worker, answer),
        ThreadPoolExecutor(1) as requests,
    ):
        assert_ok(client.get(f"{PREFIX}/backups"))
        accepted = requests.submit(other.get, f"{PREFIX}/backups")
        with pytest.raises(TimeoutError):
            accepted.result(0.5)
        os.kill(worker, signal.SIGCONT)
        assert_ok(accepted.result(TIMEOUT_SECONDS))
        assert_ok(answer.result(TIMEOUT_SECONDS))


def test_old_key_is_rejected_at_once_also_if_a_worker_parses_the_config(dirs: GatewayDirs) -> None:
    new_key = "n" * 64
    with (
        AdminProcess(dirs.config, dirs.backups, worker_above_bytes=0) as process,
        process.client(dirs.key, timeout=120) as old,
        process.client(new_key, timeout=120) as new,
    ):
        assert_ok(old.get(f"{PREFIX}/backups"))
        dirs.config.write_bytes(config_of(LARGE, new_key))
        assert_error(old.get(f"{PREFIX}/backups"), "Unauthorized")
        # That request parsed the config, so the new key is stored even if the config becomes invalid afterwards.
        dirs.config.write_bytes(config_of(LARGE, dirs.key)[:-1])
        assert_error(old.get(f"{PREFIX}/backups"), "Unauthorized")
        assert_ok(new.get(f"{PREFIX}/backups"))


def test_hanging_worker_is_killed_after_a_timeout(dirs: GatewayDirs) -> None:
    with _running_server(dirs, worker_seconds=1) as (process, client):
        with _stopped_worker(process, client, dirs) as (worker, answer):
            config = dirs.config.read_bytes()
            assert "longer than 1 seconds" in assert_error(answer.result(TIMEOUT_SECONDS), "WorkerFailed")
            assert not _alive(worker)
        _check_nothing_changed(dirs, config)


def test_worker_dies_with_its_server_and_publishes_nothing(dirs: GatewayDirs) -> None:
    with _running_server(dirs) as (process, client), _stopped_worker(process, client, dirs) as (worker, answer):
        config = dirs.config.read_bytes()
        assert process.process is not None
        # Kill only the server, not its process group: the kernel alone tells the worker.
        os.kill(process.process.pid, signal.SIGKILL)
        _wait_until(lambda: not _alive(worker))
        with pytest.raises(httpx.TransportError):
            answer.result(TIMEOUT_SECONDS)
        assert not _files(dirs)
        process.process.wait()
        process.start()
        _wait_until(lambda: not _temporaries(dirs))
        _check_nothing_changed(dirs, config)
        again = assert_ok(client.post(BACKUP, json={"path": "large.json.zst", "request_id": "large"}))
        assert again["content_sha256"] == digest(config)


def test_graceful_stop_finishes_a_backup_with_a_running_worker(dirs: GatewayDirs) -> None:
    with _running_server(dirs) as (process, client), _stopped_worker(process, client, dirs) as (worker, answer):
        process.send_signal(signal.SIGTERM)  # to the whole process group, as a terminal does
        os.kill(worker, signal.SIGCONT)
        assert assert_ok(answer.result(TIMEOUT_SECONDS))["path"] == "large.json.zst"
        assert process.process is not None
        assert process.process.wait(TIMEOUT_SECONDS) == 0


def test_request_fails_and_server_survives_without_free_descriptors(dirs: GatewayDirs) -> None:
    with _running_server(dirs) as (process, client):
        assert process.process is not None
        pid = process.process.pid
        assert_ok(client.post(BACKUP, json={"path": "first.json.zst"}))
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        open_now = len(os.listdir(f"/proc/{pid}/fd"))
        codes = set()
        for spare in range(2, 24):
            dirs.write(users=10 + spare)
            config = dirs.config.read_bytes()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + spare, hard))
            try:
                answer = client.post(BACKUP, json={"path": "large.json.zst", "request_id": f"large-{spare}"})
                assert_ok(client.get("/health"))
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            if answer.status_code == 200:
                break
            codes.add(answer.json()["code"])
            _check_nothing_changed(dirs, config)
        assert "WorkerFailed" in codes
        assert codes <= {"WorkerFailed", "VolumeUnavailable", "ConfigNotReplaceable", "Unauthorized"}
        assert_ok(answer)
