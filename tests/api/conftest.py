"""Fixtures of the admin API's process tests: a pair of directories, and a real server on it within milliseconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.support.admin_process import admin_key, gateway_config
from tests.api.support.fork_server import ForkServer


class GatewayDirs:
    """The two directories, a config in one of them, and its admin key."""

    def __init__(self, folder: Path) -> None:
        self.key = admin_key()
        self.config = folder / "config" / "config.json"
        self.backups = folder / "backups"
        self.config.parent.mkdir()
        self.backups.mkdir()
        self.write(users=2)

    def write(self, **changes: Any) -> bytes:
        """Writes a healthy config in place, as the gateway does; returns its bytes."""
        data = json.dumps(gateway_config(self.key, **changes), indent=2).encode()
        self.config.write_bytes(data)
        return data

    @property
    def state(self) -> Path:
        """The config directory's state folder."""
        return self.config.parent / ".gateway"


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    started = ForkServer(tmp_path_factory.mktemp("nursery") / "log")
    yield started
    started.close()


@pytest.fixture
def dirs(tmp_path: Path) -> GatewayDirs:
    return GatewayDirs(tmp_path)


@pytest.fixture
def api(dirs: GatewayDirs, fork_server: ForkServer) -> Iterator[httpx.Client]:
    """A client of a server on ``dirs``, with the config's admin key."""
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as client:
        yield client


@contextmanager
def small_volume(folder: Path, size: int) -> Iterator[None]:
    """``folder`` is a tmpfs of ``size`` bytes."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("a small volume needs root and the right to mount: run as root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60)


def ok(answer: httpx.Response) -> dict[str, Any]:
    """The data of a success."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"message", "data", "timestamp"}
    data: dict[str, Any] = body["data"]
    return data


def failed(answer: httpx.Response, code: str) -> str:
    """The detail of an error, whose body must be the contract's."""
    from gateway_api.contract import ERRORS, ErrorCode

    body = answer.json()
    assert set(body) == {"error", "detail", "code", "timestamp"}
    assert body["code"] == code, body
    assert answer.status_code == ERRORS[ErrorCode(code)].status
    assert answer.headers["x-request-id"]
    detail: str = body["detail"]
    return detail


def needs(*programs: str) -> None:
    """Skip where one of ``programs`` is missing, with the line that says what to install."""
    for program in programs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"needs the program {program}: install the package {program}")
