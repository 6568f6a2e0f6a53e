"""A restore, reset or rollback replaces the admin key at once, also if the server is killed and the config damaged.

Each operation runs in this process and is killed before each system call that changes a file. Then the config is
damaged, as by a gateway that is killed while it writes, and another server recovers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_api.contract import BackupRequest, ResetRequest, RestoreRequest
from gateway_api.errors import ApiError
from gateway_api.gateway_config.admin_keys import key_digest
from gateway_api.service import Service
from tests.api.support.admin_process import gateway_config
from tests.unit.gateway_api.restores.in_process import Operation, folder_with_config, run, service_in

pytestmark = pytest.mark.slow

OLD, NEW = "old" * 16, "new" * 16
CHANGES = ("rename", "link", "unlink", "fsync", "mkdir")


class _Killed(BaseException):
    """The end of the process. No code of the server handles it."""


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A folder with a config of the key OLD and a backup `new.json` of a config with the key NEW."""
    folder = folder_with_config(tmp_path / "prepared", NEW)
    config = folder / "config" / "config.json"
    run(folder, lambda service: service.create_backup(BackupRequest(path="new.json"), "test"))
    config.write_text(json.dumps(gateway_config(OLD)))
    run(folder, lambda service: service.load_config_keys())
    return folder


def _restore(service: Service) -> Coroutine[Any, Any, object]:
    return service.restore(RestoreRequest(input_file="new.json"), "test")


def _open_restore(service: Service) -> Coroutine[Any, Any, object]:
    return service.restore(RestoreRequest(input_file="new.json", request_id="r"), "test")


def _reset(service: Service) -> Coroutine[Any, Any, object]:
    return service.reset(ResetRequest(confirm=True, rotate_admin_key=True), "test")


def _roll_back(service: Service) -> Coroutine[Any, Any, object]:
    return service.rollback("r", "test", force=False)


def _kill_before(patch: pytest.MonkeyPatch, number: int) -> Callable[[], bool]:
    """Makes the call with this number, and each later one, end the process. Returns whether that has happened."""
    calls = itertools.count()
    killed = False

    def replacement(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **kwargs: object) -> object:
            nonlocal killed
            killed = killed or next(calls) >= number
            if killed:
                raise _Killed
            return call(*args, **kwargs)

        return counted

    for name in CHANGES:
        patch.setattr(os, name, replacement(getattr(os, name)))
    return lambda: killed


def _after_each_kill(prepared: Path, operation: Operation) -> Iterator[Path]:
    """The folder after a kill before each change, and at last after the whole operation."""
    folder, killed = prepared.with_name("folder"), True
    for number in itertools.count():
        if not killed:
            return
        shutil.copytree(prepared, folder)
        with pytest.MonkeyPatch.context() as patch:
            was_killed = _kill_before(patch, number)
            with contextlib.suppress(_Killed):
                run(folder, operation)
            killed = was_killed()
        yield folder
        shutil.rmtree(folder)


def _admin_key(folder: Path) -> str:
    return str(json.loads((folder / "config" / "config.json").read_text())["admin_apikey"])


async def _accepted(service: Service, keys: list[str]) -> list[str]:
    with pytest.raises(ApiError):
        await service.commit("absent", "test")  # runs the recovery first
    return [key for key in keys if await service.find_key_kind(key_digest(key.encode()))]


@pytest.mark.parametrize(("name", "damage"), [("restore", "torn"), ("reset", "missing"), ("rollback", "torn")])
def test_replaced_admin_key_stays_refused_after_a_kill(name: str, damage: str, prepared: Path) -> None:
    if name == "rollback":
        run(prepared, _open_restore)
    first_key = _admin_key(prepared)
    operation = {"restore": _restore, "reset": _reset, "rollback": _roll_back}[name]
    replaced = 0
    for folder in _after_each_kill(prepared, operation):
        config, live_key = folder / "config" / "config.json", _admin_key(folder)
        config.write_text(config.read_text()[:100]) if damage == "torn" else config.unlink()
        service = service_in(folder)
        try:
            accepted = asyncio.run(_accepted(service, [live_key, first_key]))
        finally:
            service.stop()
        assert live_key in accepted
        if live_key != first_key:
            assert first_key not in accepted
            replaced += 1
    assert replaced > 1, "no kill came after the rename"
