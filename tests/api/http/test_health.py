"""The health and readiness endpoints, as probes, monitors and the operator use them."""

from __future__ import annotations

import json
import os

import httpx
import pytest

from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
SYSTEM = "/api/v1/system/health"


def test_health_answers_with_any_config_and_volume(api: httpx.Client, dirs: GatewayDirs) -> None:
    dirs.config.unlink()
    answer = api.get("/health")
    assert assert_ok(answer) == {"version": assert_ok(answer)["version"], "config_path": str(dirs.config)}
    assert answer.json()["message"] == "API server is healthy"


def test_detailed_health_has_the_documented_fields(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post("/api/v1/system/backup", json={"path": "a.json"}))
    health = assert_ok(api.get(SYSTEM))
    expected = {"status": "healthy", "config_valid": True, "total_configs": 1, "total_projects": 2, "total_users": 2}
    assert {key: health[key] for key in expected} == expected
    assert health["cache_type"] == "local"
    assert len(health["gateway_id"]) == len(health["volume_id"]) == 32
    assert health["volume"]["total_bytes"] > 0
    config = json.loads(dirs.config.read_text())
    config["common_mcp_gateway_config"]["enkrypt_mcp_use_external_cache"] = True
    config["plugins"]["telemetry"]["config"]["enabled"] = True
    config["mcp_configs"]["c-0"]["mcp_config"][0]["input_guardrails_config"] = {"enabled": True}
    config["_doc_anything"] = "kept"
    dirs.config.write_text(json.dumps(config))
    changed = assert_ok(api.get(SYSTEM))
    assert (changed["cache_type"], changed["telemetry_enabled"], changed["guardrails_configured"]) == (
        "external",
        True,
        True,
    )
    assert changed["config_digest"] != health["config_digest"]


def test_sections_digest_ignores_the_formatting_of_the_file(api: httpx.Client, dirs: GatewayDirs) -> None:
    before = assert_ok(api.get(SYSTEM))
    dirs.config.write_text(json.dumps(json.loads(dirs.config.read_text()), indent=4, sort_keys=True))
    after = assert_ok(api.get(SYSTEM))
    assert before["sections_digest"] == after["sections_digest"]
    assert before["config_digest"] != after["config_digest"]


@pytest.mark.parametrize("why", ["missing", "not valid", "duplicate", "no backups"])
def test_ready_reports_why_no_backup_is_possible(why: str, dirs: GatewayDirs, fork_server: ForkServer) -> None:
    if why == "missing":
        dirs.config.unlink()
    elif why == "not valid":
        dirs.config.write_text("{}")
    elif why == "duplicate":
        dirs.config.write_text(dirs.config.read_text()[:-1] + ', "users": {}}')
    else:
        dirs.backups.rmdir()
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        detail = assert_error(api.get("/ready"), "NotReady")
        assert {"duplicate": "not valid", "no backups": "backup volume"}.get(why, why) in detail
        assert_ok(api.get("/health"))


def test_ready_when_a_backup_is_possible(api: httpx.Client) -> None:
    assert assert_ok(api.get("/ready")) == {"ready": True}


def test_missing_volume_is_reported_by_health_and_fails_backups(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    dirs.backups.rmdir()
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as api:
        health = assert_ok(api.get(SYSTEM))
        assert health["status"] == "degraded"
        assert [warning["code"] for warning in health["warnings"]] == ["VolumeUnavailable"]
        assert_error(api.post("/api/v1/system/backup", json={"path": "a.json"}), "VolumeUnavailable")
        assert_error(api.get("/api/v1/system/backups/x"), "VolumeUnavailable")


def test_state_folders_and_files_are_private(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post("/api/v1/system/backup", json={"path": "d/e/a.json"}))
    for base in (dirs.backups, dirs.state):
        for folder, _, files in os.walk(base):
            if folder != str(dirs.backups):
                assert os.stat(folder).st_mode & 0o777 == 0o700
            for name in files:
                assert os.stat(os.path.join(folder, name)).st_mode & 0o777 == 0o600
