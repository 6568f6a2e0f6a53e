"""Runs operations of the admin API in the test process, without HTTP, in a folder with a config and a backup folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from gateway_api.service import Service
from gateway_api.settings import AdminSettings
from tests.api.support.admin_process import gateway_config

Operation = Callable[[Service], Coroutine[Any, Any, object]]


def folder_with_config(folder: Path, key: str) -> Path:
    """Creates the folder with the config `config/config.json`, which has this admin key, and no backups."""
    for name in ("config", "backups"):
        (folder / name).mkdir(parents=True)
    (folder / "config" / "config.json").write_text(json.dumps(gateway_config(key)))
    return folder


def run(folder: Path, operation: Operation) -> None:
    """Runs one operation on a new server object, which is stopped afterwards. Raises the error of the operation."""
    service = service_in(folder)
    try:
        asyncio.run(operation(service))
    finally:
        service.stop()


def service_in(folder: Path) -> Service:
    """A server object for the folder. The caller stops it."""
    return Service(
        AdminSettings(config_file=folder / "config" / "config.json", backup_dir=folder / "backups", settle_seconds=0)
    )
