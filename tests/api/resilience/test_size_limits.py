"""Size limits: one byte below, exactly at and one byte above each limit.

Up to the limit every operation works. Above it the error is declared and nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.support.admin_process import gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"
RESTORE = "/api/v1/system/restore"
LIMIT = 20_000


@pytest.fixture
def limited(dirs: GatewayDirs, fork_server: ForkServer) -> Iterator[httpx.Client]:
    """A server that accepts configs of at most LIMIT bytes, with its key in a key file."""
    keys = dirs.config.parent.parent / "keys"
    keys.write_text(dirs.key)
    settings: dict[str, Any] = {"max_config_bytes": LIMIT, "admin_key_file": str(keys)}
    with fork_server.server(dirs.config, dirs.backups, dirs.key, **settings) as client:
        yield client


def config_of_bytes(key: str, size: int) -> bytes:
    """A valid config of exactly ``size`` bytes."""
    config = gateway_config(key) | {"padding": ""}
    config["padding"] = "x" * (size - len(json.dumps(config)))
    return json.dumps(config).encode()


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1])
def test_restore_over_a_config_of_any_size_can_be_rolled_back(
    size: int, limited: httpx.Client, dirs: GatewayDirs
) -> None:
    """A restore must work when the live config is too large to be backed up."""
    assert_ok(limited.post(BACKUP, json={"path": "good.json.zst"}))
    before = config_of_bytes(dirs.key, size)
    dirs.config.write_bytes(before)
    answer = limited.post(BACKUP, json={"path": "large.json.gz"})
    assert assert_ok(answer)["content_bytes"] == size if size <= LIMIT else assert_error(answer, "ConfigTooLarge")
    assert_ok(limited.post(RESTORE, json={"input_file": "good.json.zst", "request_id": "r"}))
    assert assert_ok(limited.post("/api/v1/system/restores/r/rollback"))["state"] == "rolled_back"
    assert dirs.config.read_bytes() == before


def test_forced_rollback_keeps_an_oversized_config_until_it_ends(limited: httpx.Client, dirs: GatewayDirs) -> None:
    before = dirs.config.read_bytes()
    assert_ok(limited.post(BACKUP, json={"path": "good.json"}))
    assert_ok(limited.post(RESTORE, json={"input_file": "good.json", "request_id": "r"}))
    large = config_of_bytes(dirs.key, LIMIT + 1)
    dirs.config.write_bytes(large)
    assert_error(limited.post("/api/v1/system/restores/r/rollback"), "ConfigChanged")
    assert_ok(limited.post("/api/v1/system/restores/r/rollback", json={"force": True}))
    assert dirs.config.read_bytes() == before
    assert large in [file.read_bytes() for file in dirs.state.glob("previous-*")]


def _nested(key: str, depth: int) -> str:
    """A config with a value nested ``depth`` levels deep in a user."""
    config = gateway_config(key)
    config["users"]["u-0"]["deep"] = "@"
    return json.dumps(config).replace('"@"', "[" * depth + "]" * depth)


def _code(answer: httpx.Response) -> str:
    return "ok" if answer.status_code == 200 else str(answer.json()["code"])


@pytest.mark.parametrize("worker_above_bytes", [0, 1 << 20], ids=["worker", "thread"])
def test_nesting_limit_is_the_same_for_every_operation(
    worker_above_bytes: int, dirs: GatewayDirs, fork_server: ForkServer
) -> None:
    """A config that can be backed up can also be compared and restored, plain or in an envelope."""
    keys = dirs.config.parent.parent / "keys"
    keys.write_text(dirs.key)
    settings: dict[str, Any] = {"worker_above_bytes": worker_above_bytes, "admin_key_file": str(keys)}
    flat = dirs.config.read_bytes()
    accepted = []
    with fork_server.server(dirs.config, dirs.backups, dirs.key, settle_seconds=0.0, **settings) as api:
        assert_ok(api.post(BACKUP, json={"path": "flat.json"}))
        for depth in [400, *range(668, 704, 8), 990]:
            text = _nested(dirs.key, depth)
            (dirs.backups / "deep.json").write_text(text)
            (dirs.backups / "envelope.json").write_text(f'{{"backup_version": "1", "config": {text}}}')
            dirs.config.write_text(text)
            codes = [_code(api.post(BACKUP, json={"path": f"{depth}.json"}))]
            codes += [
                _code(api.post(RESTORE, json={"input_file": name, "dry_run": True}))
                for name in ("deep.json", "envelope.json", "flat.json")
            ]
            dirs.config.write_bytes(flat)
            codes += [_code(api.post(RESTORE, json={"input_file": name})) for name in ("deep.json", "envelope.json")]
            accepted.append(depth if codes == ["ok"] * 6 else 0)
            if not accepted[-1]:
                expected = ["ConfigInvalid", "BackupInvalid", "BackupInvalid", "ok", "BackupInvalid", "BackupInvalid"]
                assert codes == expected, depth
    assert 400 in accepted
    assert accepted[-1] == 0
    assert accepted == sorted(accepted, key=lambda depth: depth == 0)
