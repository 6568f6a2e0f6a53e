"""A reset: it needs confirmation, can be rolled back like a restore, and neither loses nor reveals the admin key."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
URL = "/api/v1/system/reset"
ALL = "/api/v1/system/restores"
EMPTY = {"configs": 0, "projects": 0, "users": 0, "api_keys": 0, "disabled_api_keys": 0}


@pytest.mark.parametrize("body", [{}, {"confirm": None}, {"confirm": False}, {"confirm": 1}, {"confirm": "true"}, None])
def test_only_the_value_true_confirms_a_reset(
    body: dict[str, Any] | None, api: httpx.Client, dirs: GatewayDirs
) -> None:
    before = dirs.config.read_bytes()
    answer = api.post(URL, json=body)
    assert assert_error(answer, "ResetNotConfirmed") == "Reset requires confirm=true"
    assert answer.status_code == 400
    assert answer.json()["error"] == "System reset failed"
    assert dirs.config.read_bytes() == before


def test_body_of_another_shape_is_invalid(api: httpx.Client) -> None:
    bodies: list[Any] = [[], "confirm", {"confirm": True, "force": True}, {"confirm": True, "rotate_admin_key": 1}]
    for body in bodies:
        assert_error(api.post(URL, json=body), "InvalidRequest")


def test_reset_keeps_only_the_key_and_safety_backup_restores_the_rest(api: httpx.Client, dirs: GatewayDirs) -> None:
    before = dirs.config.read_bytes()
    answer = api.post(URL, json={"confirm": True})
    done = assert_ok(answer)
    assert answer.json()["message"] == "System reset completed successfully"
    assert (done["operation"], done["state"], done["counts"]) == ("reset", "committed", EMPTY)
    assert json.loads(dirs.config.read_bytes())["admin_apikey"] == dirs.key
    assert assert_ok(api.get("/api/v1/system/health"))["status"] == "healthy"
    assert_ok(api.post("/api/v1/system/restore", json={"backup_id": done["safety_backup"]["backup_id"]}))
    assert dirs.config.read_bytes() == before


def test_reset_with_a_request_id_runs_once_and_rolls_back(api: httpx.Client, dirs: GatewayDirs) -> None:
    before = dirs.config.read_bytes()
    body = {"confirm": True, "request_id": "r"}
    assert assert_ok(api.post(URL, json=body))["state"] == "applied"
    assert assert_ok(api.post(URL, json=body))["replayed"]
    assert_error(api.post(URL, json={**body, "rotate_admin_key": True}), "RequestIdReused")
    assert_error(api.post(URL, json={"confirm": True, "request_id": "other"}), "RestorePending")
    assert assert_ok(api.get(f"{ALL}/r"))["operation"] == "reset"
    assert_ok(api.post(f"{ALL}/r/rollback"))
    assert dirs.config.read_bytes() == before


def test_rotated_key_is_written_only_to_the_config(
    api: httpx.Client, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    answer = api.post(URL, json={"confirm": True, "rotate_admin_key": True, "request_id": "r"})
    assert_ok(answer)
    key = json.loads(dirs.config.read_bytes())["admin_apikey"]
    assert key != dirs.key
    assert len(key) == 256
    assert_ok(api.post(f"{ALL}/r/commit"))
    assert_error(api.get("/api/v1/system/health"), "Unauthorized")
    assert_ok(api.get("/api/v1/system/health", headers={"Authorization": f"Bearer {key}"}))
    assert key not in answer.text
    for root in (dirs.config.parent, dirs.backups):
        for file in root.rglob("*"):
            if file.is_file() and file != dirs.config:
                assert key.encode() not in file.read_bytes()


@pytest.mark.parametrize("invalid", [None, b"{"])
def test_reset_without_a_readable_key_requires_a_new_one(
    invalid: bytes | None, api: httpx.Client, dirs: GatewayDirs
) -> None:
    assert_ok(api.get("/api/v1/system/health"))
    if invalid is None:
        dirs.config.unlink()
    else:
        dirs.config.write_bytes(invalid)
    assert_error(api.post(URL, json={"confirm": True}), "AdminKeyUnknown")
    assert assert_ok(api.post(URL, json={"confirm": True, "rotate_admin_key": True}))["counts"] == EMPTY
    assert len(json.loads(dirs.config.read_bytes())["admin_apikey"]) == 256


def test_reset_of_a_config_of_the_wrong_shape_keeps_its_key(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.get("/api/v1/system/health"))
    dirs.config.write_text(json.dumps({"admin_apikey": dirs.key, "users": 5}))
    assert_ok(api.post(URL, json={"confirm": True}))
    assert json.loads(dirs.config.read_bytes())["admin_apikey"] == dirs.key
