"""Fixtures of the admin API's process tests: a config and a backup directory, and a real server on them."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import UNPRIVILEGED_USER, GatewayDirs

MAX_LEFT_OPEN = 16
"""Files that shared fixtures, such as the parent of the servers, open for the rest of the run."""


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    started = ForkServer(tmp_path_factory.mktemp("fork_server") / "log")
    yield started
    started.close()


@pytest.fixture(scope="module", autouse=True)
def _no_files_left_open() -> Iterator[None]:
    """Fails if the tests of one module leave files open: a worker runs many modules, and may open 1,024 files."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    left_open = len(os.listdir("/proc/self/fd")) - before
    assert left_open <= MAX_LEFT_OPEN, f"{left_open} files are still open"


@pytest.fixture
def dirs(tmp_path: Path) -> GatewayDirs:
    return GatewayDirs(tmp_path)


@pytest.fixture
def api(dirs: GatewayDirs, fork_server: ForkServer) -> Iterator[httpx.Client]:
    """A client of a server on ``dirs``, with the config's admin key."""
    with fork_server.server(dirs.config, dirs.backups, dirs.key) as client:
        yield client


@pytest.fixture
def unprivileged() -> Iterator[GatewayDirs]:
    """Directories of an unprivileged user, below a folder that this user can enter."""
    if os.geteuid() != 0:
        pytest.skip("a server of another user needs root: run as root")
    with tempfile.TemporaryDirectory(prefix="readiness-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        dirs = GatewayDirs(folder)
        for path in (dirs.config.parent, dirs.config, dirs.backups):
            os.chown(path, UNPRIVILEGED_USER, UNPRIVILEGED_USER)
        yield dirs
