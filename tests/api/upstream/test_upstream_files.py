"""Configs of every shape that the real gateway 2.2.4 writes.

Our server reads, backs up and restores them and reports the same counts; the gateway serves the restored config.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.support.fork_server import ForkServer
from tests.api.support.responses import assert_ok
from tests.api.upstream.compare import run_our_backups
from tests.api.upstream.upstream_process import Upstream
from tests.demo.gateway_api import GatewayApi, Project

pytestmark = pytest.mark.api
PREFIX = "/api/v1/system"
SECTIONS = ("mcp_configs", "projects", "users", "apikeys")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    created = Upstream(tmp_path_factory.mktemp("upstream"))
    created.generate()
    with created:
        yield created


@pytest.fixture
def fresh(upstream: Upstream) -> dict[str, Any]:
    """The first config that the gateway's command line generates, written in place."""
    upstream.generate()
    config: dict[str, Any] = json.loads(upstream.config.read_text())
    return config


@pytest.fixture
def ours(upstream: Upstream, fresh: dict[str, Any], tmp_path: Path, fork_server: ForkServer) -> Iterator[httpx.Client]:
    """Our server on the gateway's config, with a key file because some tests change the key in the config."""
    keys, backups = tmp_path / "keys", tmp_path / "backups"
    keys.write_text(fresh["admin_apikey"])
    backups.mkdir()
    with fork_server.server(upstream.config, backups, fresh["admin_apikey"], admin_key_file=str(keys)) as client:
        yield client


def _listed(upstream: Upstream, key: str) -> dict[str, Any]:
    with upstream.client(key) as client:
        result = {}
        for what in ("users", "projects", "configs", "api-keys"):
            answer = client.get(f"/{what}")
            assert answer.status_code == 200, answer.text
            result[what] = answer.json()["data"]
        return result


def _counts(ours: httpx.Client) -> dict[str, int]:
    health = assert_ok(ours.get(f"{PREFIX}/health"))
    names = {"configs": "total_configs", "projects": "total_projects", "users": "total_users"}
    return {**{what: health[name] for what, name in names.items()}, "api-keys": health["total_api_keys"]}


def _check_round_trip(upstream: Upstream, ours: httpx.Client, key: str | None) -> None:
    """Backs up the gateway's config, truncates it and restores it; the gateway must serve the same content again."""
    content = upstream.config.read_bytes()
    before = None if key is None else _listed(upstream, key)
    if before is not None:
        assert _counts(ours) == {what: len(listed) for what, listed in before.items()}
    created = assert_ok(ours.post(f"{PREFIX}/backup", json={"path": "a.json.zst"}))
    upstream.config.write_bytes(content[: len(content) // 2])
    assert_ok(ours.post(f"{PREFIX}/restore", json={"backup_id": created["backup_id"]}))
    assert upstream.config.read_bytes() == content
    assert upstream.alive
    if key is not None:
        assert _listed(upstream, key) == before


def _add_user_to_project(upstream: Upstream, project: str, email: str) -> None:
    """Adds a user to a project in the file, because the gateway's REST call for this answers 500."""
    config = json.loads(upstream.config.read_text())
    user = next(number for number, entry in config["users"].items() if entry["email"] == email)
    next(one for one in config["projects"].values() if one["project_name"] == project)["users"].append(user)
    upstream.config.write_text(json.dumps(config, indent=2))


def _populate(upstream: Upstream, key: str) -> None:
    with GatewayApi(f"http://127.0.0.1:{upstream.port}", key) as api:
        api.create_project(Project("support", ("tickets", "knowledge"), ()))
        for email in ("ada@example.com", "bruno@example.com"):
            api.create_user(email)
            _add_user_to_project(upstream, "support", email)
            api.create_key(email, "support")
    config = json.loads(upstream.config.read_text())
    with upstream.client(key) as client:
        assert client.post(f"/api-keys/{list(config['apikeys'])[-1]}/disable").status_code == 200


def test_generated_config_is_backed_up_and_restored(
    upstream: Upstream, ours: httpx.Client, fresh: dict[str, Any]
) -> None:
    _check_round_trip(upstream, ours, fresh["admin_apikey"])


def test_config_with_users_projects_and_a_disabled_key(
    upstream: Upstream, ours: httpx.Client, fresh: dict[str, Any]
) -> None:
    _populate(upstream, fresh["admin_apikey"])
    _check_round_trip(upstream, ours, fresh["admin_apikey"])
    assert _counts(ours)["users"] == 3


def test_gateway_backup_is_restored_with_the_same_content(
    upstream: Upstream, ours: httpx.Client, fresh: dict[str, Any], tmp_path: Path
) -> None:
    key = fresh["admin_apikey"]
    _populate(upstream, key)
    before, content = _listed(upstream, key), json.loads(upstream.config.read_text())
    with upstream.client(key) as client:
        assert client.post("/system/backup", json={"output_file": str(tmp_path / "backups/theirs.json")}).is_success
    upstream.generate()
    assert_ok(ours.post(f"{PREFIX}/restore", json={"input_file": "theirs.json"}))
    assert json.loads(upstream.config.read_text()) == content
    assert _listed(upstream, key) == before


def test_config_after_a_reset_by_the_gateway(upstream: Upstream, ours: httpx.Client, fresh: dict[str, Any]) -> None:
    with upstream.client(fresh["admin_apikey"]) as client:
        assert client.post("/system/reset", json={"confirm": True}).status_code == 200
    key = json.loads(upstream.config.read_text())["admin_apikey"]
    assert key != fresh["admin_apikey"]
    _check_round_trip(upstream, ours, key)


def test_gateway_serves_the_config_of_our_reset(upstream: Upstream, ours: httpx.Client, fresh: dict[str, Any]) -> None:
    assert_ok(ours.post(f"{PREFIX}/reset", json={"confirm": True}))
    listed = _listed(upstream, fresh["admin_apikey"])
    assert listed == {what: [] for what in listed}
    _populate(upstream, fresh["admin_apikey"])
    _check_round_trip(upstream, ours, fresh["admin_apikey"])


def test_enkrypt_provider_config_without_the_four_sections(
    upstream: Upstream, ours: httpx.Client, fresh: dict[str, Any]
) -> None:
    config = {name: value for name, value in fresh.items() if name not in SECTIONS}
    config["plugins"]["auth"] = {"provider": "enkrypt", "config": {}}
    upstream.config.write_text(json.dumps(config, indent=2))
    _check_round_trip(upstream, ours, None)
    assert set(_counts(ours).values()) == {0}


def test_config_with_the_admin_key_of_old_releases(
    upstream: Upstream, ours: httpx.Client, fresh: dict[str, Any]
) -> None:
    key = fresh.pop("admin_apikey")
    fresh["enkrypt_config"]["admin_apikey"] = key
    upstream.config.write_text(json.dumps(fresh, indent=2))
    _check_round_trip(upstream, ours, key)


def test_no_backup_is_torn_under_writes_of_the_real_gateway() -> None:
    result = run_our_backups(5)
    assert result["backups acknowledged"]
    assert result["files that are no whole config"] == 0
    assert result["ours answers at the end"] == "yes"
    assert "InternalError" not in str(result["answers"])
