"""A restore of a config with another admin key: its caller can end it; afterwards only the live config's key counts.

The server has no key file here, so the keys of the configs are the only ones.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.api.support.admin_process import gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
HEALTH = "/api/v1/system/health"
URL = "/api/v1/system/restore"
ALL = "/api/v1/system/restores"
OTHER_KEY = "o" * 48
OTHER = {"Authorization": f"Bearer {OTHER_KEY}"}


def _write_other(dirs: GatewayDirs, name: str = "other.json", key: str = OTHER_KEY) -> dict[str, Any]:
    """A file on the volume with the config of another gateway. Returns the source for a restore."""
    (dirs.backups / name).write_text(json.dumps(gateway_config(key, users=4)))
    return {"input_file": str(dirs.backups / name)}


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_key_of_the_previous_config_ends_the_restore(
    end: str, api: httpx.Client, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    before = dirs.config.read_bytes()
    assert_ok(api.post(URL, json={**_write_other(dirs), "request_id": "r"}))
    for headers in ({}, OTHER):
        pending = assert_ok(api.get(HEALTH, headers=headers))["pending_restore"]
        assert (pending["request_id"], pending["key_ends_with_commit"]) == ("r", headers == {})
    # Also after a restart of the server, which remembers nothing.
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as restarted:
        assert assert_ok(restarted.get(f"{ALL}/r"))["state"] == "applied"
        assert_ok(restarted.post(f"{ALL}/r/{end}"))
        mine, other = restarted.get(HEALTH), restarted.get(HEALTH, headers=OTHER)
    if end == "commit":
        assert_error(mine, "Unauthorized")
        assert_ok(other)
    else:
        assert_ok(mine)
        assert_error(other, "Unauthorized")
        assert dirs.config.read_bytes() == before
    assert dirs.key not in (
        answer := json.dumps(assert_ok(api.get(f"{ALL}/r", headers={} if end == "rollback" else OTHER)))
    )
    assert "previous_keys" not in answer


def test_restore_without_a_request_id_revokes_the_previous_key_at_once(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert assert_ok(api.post(URL, json=_write_other(dirs)))["state"] == "committed"
    assert_error(api.get(HEALTH), "Unauthorized")
    assert_ok(api.get(HEALTH, headers=OTHER))


def test_key_from_before_two_restores_ends_the_second(api: httpx.Client, dirs: GatewayDirs) -> None:
    """The second restore supersedes the first, which commits it."""
    assert_ok(api.post(URL, json={**_write_other(dirs), "request_id": "first"}))
    third = _write_other(dirs, "third.json", "t" * 48)
    assert_ok(api.post(URL, json={**third, "request_id": "second", "supersede": True}))
    assert_ok(api.post(f"{ALL}/second/rollback"))
    assert_error(api.get(HEALTH), "Unauthorized")
    assert_ok(api.get(HEALTH, headers=OTHER))
