"""The scripts of the public guide work against this API; only URL, key and folder are replaced."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.support.admin_process import AdminProcess, free_port
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import require_programs
from tests.api.support.responses import assert_ok

pytestmark = pytest.mark.api
SCRIPTS = Path(__file__).with_name("documented_scripts")


def _script(name: str, folder: Path, **changes: str) -> Path:
    text = (SCRIPTS / name).read_text()
    for old, new in changes.items():
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, new)
    script = folder / name
    script.write_text(text)
    return script


def _bash(script: Path, **arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=60, check=False, **arguments)


@pytest.fixture
def process(dirs: GatewayDirs) -> Iterator[AdminProcess]:
    with AdminProcess(dirs.config, dirs.backups, settle_seconds=0.1) as started:
        yield started


@pytest.fixture
def api(process: AdminProcess, dirs: GatewayDirs) -> Iterator[httpx.Client]:
    with process.client(dirs.key) as client:
        yield client


def _python(name: str, folder: Path, dirs: GatewayDirs, process: AdminProcess, **arguments: Any) -> str:
    changes = {"http://localhost:8001": process.base_url, "your-admin-key": dirs.key, "/backups/": f"{dirs.backups}/"}
    script = _script(name, folder, **changes)
    if name.startswith("disaster"):
        script.write_text("disaster_detected = True\n" + script.read_text())
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False, **arguments
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_cron_script_backs_up_compresses_and_cleans_up(
    process: AdminProcess, api: httpx.Client, dirs: GatewayDirs, tmp_path: Path
) -> None:
    require_programs("curl", "gzip")
    before = dirs.config.read_bytes()
    folder = dirs.backups / "gateway"
    changes = {
        "http://localhost:8001": process.base_url,
        "your-admin-api-key": dirs.key,
        "/backups/gateway": str(folder),
    }
    script = _script("automated-backup.sh", tmp_path, **changes)
    first = _bash(script)
    assert first.returncode == 0
    assert "Backup completed successfully" in first.stdout
    (old,) = folder.glob("*.json.gz")
    assert gzip.decompress(old.read_bytes()) == before
    (entry,) = assert_ok(api.get("/api/v1/system/backups"))["items"]
    assert (entry["kind"], entry["path"]) == ("compressed", f"gateway/{old.name}")

    dirs.write(users=7)
    done = assert_ok(api.post("/api/v1/system/restore", json={"input_file": str(old)}))
    assert done["source_backup_id"] == entry["backup_id"]
    assert dirs.config.read_bytes() == before

    month_ago = time.time() - 40 * 86400
    os.utime(old, (month_ago, month_ago))
    while time.strftime("%Y%m%d-%H%M%S") in old.name:
        time.sleep(0.05)
    assert _bash(script).returncode == 0
    (new,) = folder.glob("*.json.gz")
    assert new != old
    listed = [
        one for one in assert_ok(api.get("/api/v1/system/backups"))["items"] if not one["path"].startswith("safety/")
    ]
    assert [(one["kind"], one["path"]) for one in listed] == [("compressed", f"gateway/{new.name}")]
    assert api.get(f"/api/v1/system/backups/{entry['backup_id']}").status_code == 404


def test_cron_script_fails_when_the_server_is_down(dirs: GatewayDirs, tmp_path: Path) -> None:
    require_programs("curl", "gzip")
    changes = {
        "http://localhost:8001": f"http://127.0.0.1:{free_port()}",
        "your-admin-api-key": dirs.key,
        "/backups/gateway": str(dirs.backups),
    }
    done = _bash(_script("automated-backup.sh", tmp_path, **changes))
    assert done.returncode == 1
    assert "Backup failed" in done.stderr


def test_restore_with_verification_script(
    process: AdminProcess, api: httpx.Client, dirs: GatewayDirs, tmp_path: Path
) -> None:
    before = dirs.config.read_bytes()
    assert_ok(
        api.post("/api/v1/system/backup", json={"output_file": str(dirs.backups / "gateway-backup-20240101.json")})
    )
    newer = dirs.write(users=7)
    output = _python("restore_with_verification.py.txt", tmp_path, dirs, process)
    assert "✗" not in output
    assert "  Users: 2\n" in output
    assert dirs.config.read_bytes() == before
    assert (dirs.backups / "gateway-backup-20240101.json.pre-restore").read_bytes() == newer


@pytest.mark.parametrize(("typed", "happens"), [("RESET\n", True), ("no\n", False)])
def test_safe_system_reset_script(
    typed: str, happens: bool, process: AdminProcess, dirs: GatewayDirs, tmp_path: Path
) -> None:
    before = dirs.config.read_bytes()
    output = _python("safe_system_reset.py.txt", tmp_path, dirs, process, input=typed)
    assert ("System reset completed successfully" in output) is happens
    assert (json.loads(dirs.config.read_bytes())["users"] == {}) is happens
    assert (dirs.backups / "pre-reset-backup.json").read_bytes() == before


def test_disaster_recovery_script(process: AdminProcess, api: httpx.Client, dirs: GatewayDirs, tmp_path: Path) -> None:
    latest = dirs.config.read_bytes()
    assert_ok(api.post("/api/v1/system/backup", json={"output_file": str(dirs.backups / "latest-backup.json")}))
    current = dirs.write(users=9)
    assert "Test restore successful" in _python("disaster_recovery.py.txt", tmp_path, dirs, process)
    assert (dirs.backups / "daily-backup.json").read_bytes() == current
    assert (dirs.backups / "daily-backup.json.current").read_bytes() == current
    assert dirs.config.read_bytes() == latest


def test_curl_calls_of_the_guide(process: AdminProcess, dirs: GatewayDirs, tmp_path: Path) -> None:
    require_programs("curl")
    changes = {
        "http://localhost:8001": process.base_url,
        "your-admin-key": dirs.key,
        "/path/to": str(dirs.backups),
    }
    answers = [json.loads(line) for line in _bash(_script("curl-calls.sh", tmp_path, **changes)).stdout.splitlines()]
    assert [answer["message"] for answer in answers] == [
        "API server is healthy",
        "System health check completed",
        "System backup completed successfully",
        "System restore completed successfully",
        "System reset completed successfully",
    ]
    fields = "status version config_path config_valid total_configs total_projects total_users total_api_keys"
    fields += " cache_enabled cache_type telemetry_enabled guardrails_configured uptime_seconds"
    assert set(fields.split()) <= set(answers[1]["data"])


def test_health_check_script(process: AdminProcess, tmp_path: Path) -> None:
    require_programs("curl")
    script = _script("health-check.sh", tmp_path, **{"http://localhost:8001": process.base_url})
    done = _bash(script)
    assert (done.returncode, done.stdout) == (0, "API server is healthy\n")
    process.stop()
    done = _bash(script)
    assert (done.returncode, done.stdout) == (1, "API server is unhealthy (HTTP 000)\n")


class _Webhook:
    """A chat service that records the alerts it receives."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        texts = self.texts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                texts.append(json.loads(body)["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Suppresses the access log of the server."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def expect(self, text: str) -> None:
        end = time.monotonic() + 30
        while not any(text in one for one in self.texts):
            assert time.monotonic() < end, self.texts
            time.sleep(0.05)


def test_health_monitor_reports_problems_to_the_webhook(dirs: GatewayDirs, tmp_path: Path) -> None:
    require_programs("curl", "jq")
    webhook = _Webhook()
    process = AdminProcess(dirs.config, dirs.backups, settle_seconds=0.1)
    changes = {
        "http://localhost:8001": process.base_url,
        "your-admin-key": dirs.key,
        "https://hooks.slack.com/services/YOUR/WEBHOOK/URL": f"http://127.0.0.1:{webhook.server.server_port}/hook",
        "CHECK_INTERVAL=60": "CHECK_INTERVAL=0.2",
    }
    script = _script("monitor-health.sh", tmp_path, **changes)
    with subprocess.Popen(["bash", str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as monitor:
        try:
            webhook.expect("🚨 Gateway Alert: API server is down (HTTP 000)")
            with process, process.client(dirs.key) as client:
                assert_ok(client.get("/api/v1/system/health"))
                good = dirs.config.read_bytes()
                dirs.config.write_bytes(good[:-1])
                webhook.expect("System status is unhealthy")
                # Stop the monitor first: a server that stops between its two requests causes an alert without a status.
                monitor.terminate()
                monitor.wait()
        finally:
            monitor.kill()
            monitor.wait()
            webhook.server.shutdown()
            webhook.server.server_close()
    assert {text.partition("🚨 Gateway Alert: ")[2] for text in webhook.texts} <= {
        "API server is down (HTTP 000)",
        "API server is down (HTTP 502)",
        "System status is unhealthy",
    }


def test_nginx_hides_the_end_of_one_of_two_servers(dirs: GatewayDirs, tmp_path: Path) -> None:
    require_programs("nginx")
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    port = free_port()
    with (
        AdminProcess(dirs.config, dirs.backups, settle_seconds=0.1) as one,
        AdminProcess(dirs.config, dirs.backups, settle_seconds=0.1) as other,
    ):
        servers = _script(
            "gateway-api.conf",
            tmp_path,
            **{"127.0.0.1:8001": f"127.0.0.1:{one.port}", "127.0.0.1:8002": f"127.0.0.1:{other.port}"},
            **{"127.0.0.1:8080": f"127.0.0.1:{port}"},
        )
        temp_paths = "".join(
            f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = tmp_path / "nginx.conf"
        whole.write_text(
            f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
            f"http {{ access_log off; {temp_paths} include {servers}; }}\n"
        )
        with subprocess.Popen([str(nginx), "-p", str(tmp_path), "-c", str(whole)], stderr=subprocess.PIPE) as front:
            try:
                url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {dirs.key}"}
                with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
                    end = time.monotonic() + 20
                    while True:
                        try:
                            assert_ok(client.get("/health"))
                            break
                        except httpx.TransportError:
                            assert time.monotonic() < end
                            time.sleep(0.05)
                    assert_ok(client.post("/api/v1/system/backup", json={"path": "a.json", "request_id": "a"}))
                    one.stop()
                    for _ in range(12):
                        assert_ok(client.get("/health"))
                        assert client.get("/api/v1/system/health").status_code == 200
                    assert_ok(client.post("/api/v1/system/backup", json={"path": "b.json", "request_id": "b"}))
            finally:
                front.terminate()
                front.communicate(timeout=10)
