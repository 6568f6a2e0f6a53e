"""Metrics without a key and without secrets, and the source of each setting in `gateway-admin settings`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api


def _samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_report_answers_and_condition_without_a_key(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    canary = "canary-" + "c" * 40
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        assert_ok(api.post("/api/v1/system/backup", json={"path": f"{canary}.json"}, headers={"X-Request-ID": canary}))
        assert_error(api.get(f"/{canary}"), "RouteNotFound")
        api.request(canary[:9].upper(), "/health")
        assert_error(api.get("/api/v1/system/backups/none", headers={"apikey": canary}), "BackupNotFound")
        assert_error(api.get("/api/v1/system/health", headers={"Authorization": f"Bearer {canary}"}), "Unauthorized")
        answer = api.get("/metrics", headers={"Authorization": ""})
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        samples = _samples(answer.text)
        assert samples["gateway_admin_ready",] == 1
        assert samples["gateway_admin_config_valid",] == 1
        assert samples["gateway_admin_volume_free_bytes",] > 0
        assert samples["gateway_admin_requests_total", "", "POST", "/api/v1/system/backup", "200"] == 1
        assert samples["gateway_admin_requests_total", "RouteNotFound", "GET", "none", "404"] == 1
        assert canary not in answer.text
        assert dirs.key not in answer.text


def test_last_success_survives_a_restart_of_the_server(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    began = time.time()
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        made = assert_ok(api.post("/api/v1/system/backup", json={"path": "a.json"}))
        assert_ok(api.post(f"/api/v1/system/backups/{made['backup_id']}/verify", json={}))
        assert_error(api.post("/api/v1/system/restore", json={"backup_id": "none"}), "BackupNotFound")
    ended = time.time()
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        samples = _samples(api.get("/metrics").text)
    times = {
        key[1]: value for key, value in samples.items() if key[0] == "gateway_admin_last_success_timestamp_seconds"
    }
    assert set(times) == {"backup", "verify"}
    assert all(began - 1 <= one <= ended for one in times.values())


def test_metrics_report_an_invalid_config_and_a_missing_volume(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    dirs.config.write_bytes(b"{")
    dirs.backups.rmdir()
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        samples = _samples(api.get("/metrics").text)
        assert samples["gateway_admin_ready",] == 0
        assert samples["gateway_admin_config_valid",] == 0
        assert samples["gateway_admin_volume_total_bytes",] == 0


def _command(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway_api", "settings", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environ})


def test_settings_show_their_source_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('config = "/f/c.json"\nbackups = "/f/b"\nport = 9001\nhost = "127.0.0.9"\nsettle-seconds = 0.5\n')
    shown = _command("--settings", str(file), "--port", "9003", GATEWAY_API_PORT="9002", GATEWAY_BACKUP_DIR="/e/b")
    assert shown.returncode == 0, shown.stderr
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.stdout.splitlines()}
    assert lines["config"] == "/f/c.json settings file"
    assert lines["backups"] == "/e/b environment GATEWAY_BACKUP_DIR"
    assert lines["port"] == "9003 flag --port"
    assert lines["host"] == "127.0.0.9 settings file"
    assert lines["settle-seconds"] == "0.5 settings file"
    assert lines["tls-port"] == "8443 default"
    assert lines["allow-unsigned-override"] == "false default"


def test_settings_show_no_key(tmp_path: Path) -> None:
    canary = "canary-" + "c" * 40
    keys = tmp_path / "keys"
    keys.write_text(canary)
    shown = _command("--config", "/c/c.json", "--backups", "/b", "--admin-key-file", str(keys), ADMIN_KEY=canary)
    assert shown.returncode == 0
    assert canary not in shown.stdout + shown.stderr


@pytest.mark.parametrize("text", ["x", 'colour = "red"', "host = {}", "port = [1]", 'encryption = "perhaps"'])
def test_invalid_settings_file_is_rejected(text: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    done = _command("--settings", str(file), "--config", "/c/c.json", "--backups", "/b")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gateway-admin: ")
    assert _command("--settings", str(tmp_path / "none")).returncode == 2
