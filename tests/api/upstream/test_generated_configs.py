"""Configs of the releases 2.0 to 2.2.4, local and cloud, as live config, as restore source and through the scripts."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyrage
import pytest

from gateway_api.codec.compression import StoredFormat
from gateway_api.gateway_config.admin_keys import find_admin_keys
from tests.api.support.admin_process import AdminProcess
from tests.api.support.backup_files import compress_bytes, encode_file
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import require_programs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
PREFIX = "/api/v1/system"
SCRIPTS = Path(__file__).with_name("documented_scripts")
CONFIGS = sorted(Path(__file__).with_name("generated_configs").glob("*.json"))
WITHOUT_KEY = {"2.0.0-example", "2.1.0-example", "2.1.2-example", "2.1.2-local", "2.2.4-cloud", "2.2.4-example-cloud"}
KEY_FILE_KEY = "the key in the key file of this server"


@pytest.fixture(params=CONFIGS, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest, dirs: GatewayDirs) -> Path:
    """A generated config, which is also the live config in ``dirs``."""
    generated: Path = request.param
    dirs.config.write_bytes(generated.read_bytes())
    (dirs.backups.parent / "keys").write_text(KEY_FILE_KEY)
    return generated


@pytest.fixture
def client(file: Path, dirs: GatewayDirs, fork_server: ForkServer) -> Iterator[httpx.Client]:
    keys = str(dirs.backups.parent / "keys")
    with fork_server.server(dirs.config, dirs.backups, KEY_FILE_KEY, admin_key_file=keys) as served:
        yield served


def test_generated_config_is_backed_up_and_restored_from_every_format(
    client: httpx.Client, file: Path, dirs: GatewayDirs
) -> None:
    content = file.read_bytes()
    health = assert_ok(client.get(f"{PREFIX}/health"))
    assert (health["status"], health["issues"], health["warnings"]) == ("healthy", [], [])
    assert health["total_users"] == len(json.loads(content).get("users", {}))
    created = assert_ok(client.post(f"{PREFIX}/backup", json={"path": "own.json.zst"}))
    identity = pyrage.x25519.Identity.generate()
    form = StoredFormat("zstd", encrypted=True)
    encrypted = encode_file(content, form, (str(identity.to_public()),))
    envelope = json.dumps({"backup_version": "1.0", "timestamp": "x", "config": json.loads(content)}).encode()
    sources = {
        "bare.json": content,
        "envelope.json": envelope,
        "packed.json.gz": gzip.compress(content),
        "packed.json.zst": compress_bytes(content, "zstd"),
        "packed.json.zst.age": encrypted,
    }
    for name, data in sources.items():
        (dirs.backups / name).write_bytes(data)
    for name in (*sources, created["path"]):
        dirs.config.write_bytes(b"{")
        body = {"input_file": name} | ({"identity": str(identity)} if name.endswith(".age") else {})
        assert_ok(client.post(f"{PREFIX}/restore", json=body))
        assert json.loads(dirs.config.read_bytes()) == json.loads(content), name
        if name != "envelope.json":
            assert dirs.config.read_bytes() == content, name


def test_keys_of_a_generated_config_are_those_of_the_gateway(
    client: httpx.Client, file: Path, dirs: GatewayDirs
) -> None:
    keys = find_admin_keys(json.loads(file.read_bytes()))
    assert (not keys) is (file.stem in WITHOUT_KEY)
    for key in keys.values():
        assert_ok(client.get(f"{PREFIX}/backups", headers={"Authorization": f"Bearer {key}"}))
    for wrong in ("YOUR_ENKRYPT_API_KEY", "UNIQUE_GATEWAY_KEY" * 2):
        assert client.get(f"{PREFIX}/backups", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
    dirs.config.write_bytes(b"{")
    for key in keys.values():
        assert_ok(client.get(f"{PREFIX}/backups", headers={"Authorization": f"Bearer {key}"}))
    assert_error(client.post(f"{PREFIX}/backup", json={"path": "a.json"}), "ConfigInvalid")


def _run(script: str, folder: Path, changes: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    text = (SCRIPTS / script).read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / script).write_text(text)
    return subprocess.run(
        [*command, str(folder / script)], capture_output=True, text=True, timeout=60, check=False, cwd=folder
    )


def test_documented_scripts_work_with_a_generated_config(file: Path, dirs: GatewayDirs, tmp_path: Path) -> None:
    require_programs("curl", "gzip")
    content = file.read_bytes()
    keys: dict[str, Any] = {"admin_key_file": dirs.backups.parent / "keys"}
    own = next(iter(find_admin_keys(json.loads(content)).values()), KEY_FILE_KEY)
    with AdminProcess(dirs.config, dirs.backups, settle_seconds=0.1, **keys) as process:
        changes = {"http://localhost:8001": process.base_url, "your-admin-api-key": own, "your-admin-key": own}
        folder = str(dirs.backups / "gateway")
        done = _run("automated-backup.sh", tmp_path, {**changes, "/backups/gateway": folder}, "bash")
        assert "Backup completed successfully" in done.stdout
        (stored,) = (dirs.backups / "gateway").glob("*.json.gz")
        assert gzip.decompress(stored.read_bytes()) == content
        (dirs.backups / "gateway-backup-20240101.json").write_bytes(content)
        changes["/backups/"] = f"{dirs.backups}/"
        done = _run("restore_with_verification.py.txt", tmp_path, changes, sys.executable)
        assert done.returncode == 0, done.stderr
        assert "✗" not in done.stdout
        assert dirs.config.read_bytes() == content
        done = _run("curl-calls.sh", tmp_path, {**changes, "/path/to": str(dirs.backups)}, "bash")
        messages = [json.loads(line).get("message") for line in done.stdout.splitlines()]
        assert messages[2:] == [
            "System backup completed successfully",
            "System restore completed successfully",
            "System reset completed successfully",
        ]
