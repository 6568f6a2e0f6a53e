"""Waits in a drill pod until the backup is restored, and turns off what would connect to other systems.

The gateway's container starts after this init container has ended. So it starts with the restored config, as after a
real loss, and it never tries to reach the production's cache or telemetry collector.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway_api.contract import RestoreState
from gateway_api.drills.integrations import disable_integrations
from gateway_api.errors import ApiError
from gateway_api.gateway_config.replace import ConfigReplacer
from gateway_api.restores.records import find
from gateway_api.storage.atomic_write import write_temporary
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.state_dir import StateDir

_POLL_SECONDS: Final = 0.2


def is_committed(config_file: Path, backup_dir: Path, request_id: str) -> bool:
    """Whether the restore with this request id is committed. False as well while nothing can be read."""
    try:
        with StateDir(config_file.parent, create=False) as config, StateDir(backup_dir, create=False) as backups:
            return find(config, backups, request_id).result.state is RestoreState.committed
    except (OSError, ApiError):
        return False


def prepare_config(
    config_file: Path,
    backup_dir: Path,
    request_id: str,
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Waits for the restore, then turns the integrations off in the config. Returns the changed settings.

    Raises ``TimeoutError`` after ``seconds`` without a committed restore, ``OSError`` if the config cannot be written.
    """
    deadline = time.monotonic() + seconds
    while not is_committed(config_file, backup_dir, request_id):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"no restore was committed within {seconds:.0f} s")
        sleep(_POLL_SECONDS)
    config = json.loads(config_file.read_bytes())
    changed = disable_integrations(config)
    if changed:
        _replace(config_file, json.dumps(config, indent=2).encode())
    return changed


def _replace(config_file: Path, data: bytes) -> None:
    with StateDir(config_file.parent, create=False) as state:
        # Complete and fsynced before the rename: the gateway's container may start right after this one ends.
        temporary = write_temporary(state.base_fd, data, ConfigReplacer(state, config_file).access())
        os.rename(temporary, config_file.name, src_dir_fd=state.base_fd, dst_dir_fd=state.base_fd)
        sync_directory(state.base_fd)
