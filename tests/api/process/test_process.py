"""The server process: TLS, shutdown, file modes, the first config, and errors at start."""

from __future__ import annotations

import json
import os
import signal
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_api.gateway_config.summary import read
from tests.api.support.admin_process import AdminProcess, free_port
from tests.api.support.certificates import write_certificate
from tests.api.support.command import run_command
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"


def test_plain_port_serves_only_probes_with_tls(dirs: GatewayDirs, tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    tls_port = free_port()
    with AdminProcess(dirs.config, dirs.backups, tls_cert=cert, tls_key=key, tls_port=tls_port) as process:
        with process.client(dirs.key) as plain:
            assert_ok(plain.get("/health"))
            assert_ok(plain.get("/ready"))
            for path in ("/api/v1/system/health", "/docs", "/openapi.json"):
                answer = plain.get(path)
                assert (answer.status_code, answer.json()["code"]) == (404, "RouteNotFound")
                assert str(tls_port) in answer.json()["detail"]
        trusted = ssl.create_default_context(cafile=str(cert))
        headers = {"Authorization": f"Bearer {dirs.key}"}
        url = f"https://localhost:{tls_port}"
        with httpx.Client(base_url=url, headers=headers, verify=trusted, trust_env=False) as secure:
            assert_ok(secure.get("/health"))
            assert_ok(secure.post(BACKUP, json={"path": "a.json"}))
            assert_error(secure.get("/api/v1/system/health", headers={"Authorization": ""}), "Unauthorized")
        assert process.stop() == 0


def test_renewed_certificate_is_loaded_without_a_restart(dirs: GatewayDirs, tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    tls_port = free_port()
    with AdminProcess(dirs.config, dirs.backups, tls_cert=cert, tls_key=key, tls_port=tls_port) as process:
        first = ssl.get_server_certificate(("127.0.0.1", tls_port))
        assert first.strip() == cert.read_text().strip()
        write_certificate(tmp_path)
        end = time.monotonic() + 30
        while ssl.get_server_certificate(("127.0.0.1", tls_port)) == first and time.monotonic() < end:
            time.sleep(0.2)
        assert ssl.get_server_certificate(("127.0.0.1", tls_port)).strip() == cert.read_text().strip()
        assert "certificate_reloaded" in {event["event"] for event in process.events}


@pytest.mark.parametrize("tls", [False, True])
def test_sighup_loads_a_renewed_certificate_and_never_ends_the_server(
    tls: bool, dirs: GatewayDirs, tmp_path: Path
) -> None:
    cert, key = write_certificate(tmp_path)
    port = free_port()
    settings: dict[str, Any] = {"tls_cert": cert, "tls_key": key, "tls_port": port} if tls else {}
    with AdminProcess(dirs.config, dirs.backups, **settings) as process, process.client(dirs.key) as client:
        assert process.process is not None
        write_certificate(tmp_path)
        for _ in range(3):
            process.process.send_signal(signal.SIGHUP)
            assert_ok(client.get("/health"))
        end = time.monotonic() + 20
        while tls and ssl.get_server_certificate(("127.0.0.1", port)).strip() != cert.read_text().strip():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert "reload_requested" in {event["event"] for event in process.events}
        assert process.stop() == 0


def test_stop_finishes_requests_in_flight(dirs: GatewayDirs) -> None:
    process = AdminProcess(dirs.config, dirs.backups, settle_seconds=1.0)
    with process, process.client(dirs.key) as client:
        created = assert_ok(client.post(BACKUP, json={"path": "a.json"}))
        dirs.write(users=5)
        answers: list[httpx.Response] = []
        request = {"backup_id": created["backup_id"], "request_id": "r"}
        thread = threading.Thread(target=lambda: answers.append(client.post("/api/v1/system/restore", json=request)))
        thread.start()
        while not (dirs.state / "restore.json").exists():
            threading.Event().wait(0.01)
        assert process.process is not None
        process.process.send_signal(signal.SIGTERM)
        thread.join()
        assert assert_ok(answers[0])["state"] == "applied"
        assert process.process.wait(20) == 0
        assert process.events[-1]["event"] == "stopped"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_file_modes_do_not_depend_on_the_umask(umask: int, dirs: GatewayDirs) -> None:
    with AdminProcess(dirs.config, dirs.backups, umask=umask) as process, process.client(dirs.key) as client:
        created = assert_ok(client.post(BACKUP, json={"path": "d/a.json"}))
        assert_ok(client.post("/api/v1/system/restore", json={"backup_id": created["backup_id"], "request_id": "r"}))
        assert_ok(client.post("/api/v1/system/restores/r/rollback"))
        for base in (dirs.backups / "d", dirs.backups / ".gateway", dirs.backups / "safety", dirs.state):
            for folder, _, files in os.walk(base):
                assert os.stat(folder).st_mode & 0o777 == 0o700
                assert {os.stat(os.path.join(folder, name)).st_mode & 0o777 for name in files} <= {0o600, 0o640}


def test_first_config_is_generated_once(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    assert run_command("seed", "--config", config).code == 0
    first = config.read_bytes()
    assert config.stat().st_mode & 0o777 == 0o600
    assert read(first).issues == ()
    again = run_command("seed", "--config", config)
    assert again.code == 0
    assert "left alone" in again.stdout
    assert config.read_bytes() == first
    key = json.loads(first)["admin_apikey"]
    assert key not in again.stdout + again.stderr
    (tmp_path / "b").mkdir()
    with AdminProcess(config, tmp_path / "b") as process, process.client(key) as client:
        assert assert_ok(client.get("/api/v1/system/health"))["status"] == "healthy"


def test_lost_config_is_not_generated_again(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as client:
        assert_ok(client.post(BACKUP, json={"path": "a.json"}))
    dirs.config.unlink()
    result = run_command("seed", "--config", dirs.config)
    assert result.code == 0
    assert "restore a backup" in result.stdout
    assert not dirs.config.exists()


def test_seed_file_is_validated(dirs: GatewayDirs, tmp_path: Path) -> None:
    target = tmp_path / "new.json"
    bad = tmp_path / "bad.json"
    bad.write_text('{"config": "projects users apikeys"}')
    result = run_command("seed", "--config", target, "--from", bad)
    assert result.code == 2
    assert "not a gateway config" in result.stderr
    assert not target.exists()
    assert run_command("seed", "--config", target, "--from", dirs.config).code == 0
    assert target.read_bytes() == dirs.config.read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["serve"],
        ["serve", "--config", "/y/c.json", "--backups", "/x", "--port", "0x1"],
        ["serve", "--config", "/y/c.json", "--backups", "/x", "--tls-cert", "/x"],
        ["serve", "--config", "/y/c.json", "--backups", "/x", "--settle-seconds", "nan"],
        ["serve", "--config", "/x/y/c.json", "--backups", "/x"],
        ["seed"],
    ],
)
def test_invalid_setting_is_reported_in_one_sentence(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    result = run_command(*words)
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("gateway-admin: ")
    assert result.stderr.count("\n") == 1
