"""Authentication: which keys are accepted, the limit of failures, and no key in answers or logs."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import httpx
import pytest

from tests.api.support.admin_process import AdminProcess, admin_key, gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
HEALTH = "/api/v1/system/health"
GUARDED = [
    ("GET", HEALTH),
    ("POST", "/api/v1/system/backup"),
    ("GET", "/api/v1/system/backups/x"),
    ("DELETE", "/api/v1/system/backups/x"),
    ("POST", "/api/v1/system/restore"),
    ("GET", "/api/v1/system/restores/x"),
    ("POST", "/api/v1/system/restores/x/commit"),
    ("POST", "/api/v1/system/restores/x/rollback"),
    ("GET", "/api/v1/system/nothing"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_no_endpoint_below_the_prefix_answers_without_a_key(method: str, path: str, api: httpx.Client) -> None:
    del api.headers["Authorization"]
    answer = api.request(method, path, content=b"{not json")
    assert_error(answer, "Unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_both_headers_are_accepted(api: httpx.Client, dirs: GatewayDirs) -> None:
    del api.headers["Authorization"]
    assert_ok(api.get(HEALTH, headers={"apikey": dirs.key}))
    assert_ok(api.get(HEALTH, headers={"Authorization": f"bearer {dirs.key}"}))
    assert_error(api.get(HEALTH, headers={"Authorization": f"Basic {dirs.key}"}), "Unauthorized")


def test_failed_logins_are_limited_without_locking_out_the_owner(api: httpx.Client, dirs: GatewayDirs) -> None:
    codes = [api.get(HEALTH, headers={"Authorization": "Bearer " + "x" * 40}).json()["code"] for _ in range(15)]
    assert codes[0] == "Unauthorized"
    assert codes[-1] == "TooManyFailures"
    limited = api.get(HEALTH, headers={"Authorization": "Bearer " + "x" * 40})
    assert int(limited.headers["retry-after"]) > 0
    assert_ok(api.get(HEALTH))


def test_key_file_is_accepted_and_reloaded(dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    first, second, short = secrets.token_hex(16), secrets.token_hex(16), "short"
    keys.write_text(f"{first}\n{short}\n")
    with fork_server.server(dirs.config, dirs.backups, first, admin_key_file=str(keys)) as api:
        assert_ok(api.get(HEALTH))
        assert_error(api.get(HEALTH, headers={"Authorization": f"Bearer {short}"}), "AdminKeyTooShort")
        keys.write_text(f"{second}\nmore\n")
        assert_error(api.get(HEALTH), "Unauthorized")
        assert_ok(api.get(HEALTH, headers={"Authorization": f"Bearer {second}"}))


def test_operator_key_restores_over_a_config_that_was_never_valid(
    dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(secrets.token_hex(32))
    (dirs.backups / "good.json").write_bytes(dirs.config.read_bytes())
    dirs.config.write_bytes(b"{")
    with fork_server.server(dirs.config, dirs.backups, keys.read_text(), admin_key_file=str(keys)) as api:
        assert_error(api.get(HEALTH, headers={"Authorization": f"Bearer {dirs.key}"}), "Unauthorized")
        assert_ok(api.post("/api/v1/system/restore", json={"input_file": "good.json"}))
        assert_ok(api.get(HEALTH, headers={"Authorization": f"Bearer {dirs.key}"}))


def test_old_key_is_rejected_after_a_valid_config_replaces_it(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.get(HEALTH))
    new = admin_key()
    dirs.config.write_text(json.dumps(gateway_config(new)))
    assert_error(api.get(HEALTH), "Unauthorized")
    assert_ok(api.get(HEALTH, headers={"Authorization": f"Bearer {new}"}))
    dirs.config.unlink()
    assert_error(api.get(HEALTH), "Unauthorized")
    assert_ok(api.get(HEALTH, headers={"Authorization": f"Bearer {new}"}))


def test_canary_is_in_no_log_and_no_answer(tmp_path: Path) -> None:
    dirs = GatewayDirs(tmp_path)
    config = gateway_config(dirs.key)
    canary = "canary" + secrets.token_hex(16)
    config["apikeys"][canary] = {"project_id": canary, "user_id": canary}
    config["projects"]["p-0"]["users"] = [canary]
    config["mcp_configs"]["c-0"]["mcp_config"][0]["config"] = {"env": {"TOKEN": canary}}
    dirs.config.write_text(json.dumps(config))
    answers: list[str] = []
    with AdminProcess(dirs.config, dirs.backups) as process, process.client(dirs.key) as client:
        for method, path in GUARDED:
            for headers in ({"apikey": canary, "Authorization": ""}, {"Authorization": f"Bearer {canary}"}, {}):
                for body in (
                    canary,
                    json.dumps({canary: canary}),
                    json.dumps({"path": {"x": canary}, "request_id": f"{canary}/"}),
                    json.dumps({"path": f"../{canary}", "metadata": {canary: 5}}),
                    json.dumps({"input_file": f"x/{canary}.json", "expected_sha256": canary}),
                ):
                    sent = {"Content-Type": "application/json", "X-Request-ID": f"{canary}!", **headers}
                    answer = client.request(method, path, content=body, headers=sent, params={"q": canary})
                    answers.append(answer.text + str(answer.headers))
        (dirs.backups / "bad.json").write_text(f'{{"{canary}": {canary}')
        answers.append(client.post("/api/v1/system/restore", json={"input_file": "bad.json"}).text)
        answers.append(client.get("/api/v1/system/health", headers={"X-Request-ID": dirs.key[:64]}).text)
        answers.append(client.get(f"/{canary}").text)
        log = process.log
    everything = log + "".join(answers)
    assert canary not in everything
    assert dirs.key not in everything
