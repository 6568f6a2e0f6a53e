"""Keeps the state folders usable without a request: recovery at the start, its retries, and renewed file times.

A loop on the event loop runs recovery as an operation of its own. While recovery is incomplete, it is repeated with
a growing delay. Afterwards a check without locks runs every half minute, and recovery again only if the check finds
an id missing or a volume back.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import Final

from gateway_api import logs
from gateway_api.errors import ApiError
from gateway_api.operation_context import OperationContext
from gateway_api.operation_runner import OperationRunner
from gateway_api.settings import AdminSettings
from gateway_api.storage.layout import GATEWAY_ID_FILE, VOLUME_ID_FILE
from gateway_api.storage.renewal import renew_modification_times
from gateway_api.storage.state_dir import StateDir

CHECK_SECONDS: Final = 30.0
FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 60.0
RENEWAL_SECONDS: Final = 6 * 3600.0
"""Time between two checks of the modification times of all state files."""


class Maintenance:
    """Runs recovery until it is complete, then checks the state folders periodically."""

    def __init__(self, settings: AdminSettings, runner: OperationRunner, executor: Executor) -> None:
        self._settings = settings
        self._runner = runner
        self._executor = executor
        self._woken = asyncio.Event()
        self._complete = False
        self._renewed_at: float | None = None

    def wake(self) -> None:
        """Makes the next check run now. For a caller on the event loop that waits for an id."""
        self._woken.set()

    async def run(self) -> None:
        """Runs until it is cancelled. Never raises: every failure is logged and retried."""
        await self._recover()
        delay = FIRST_RETRY_SECONDS
        while True:
            pause = CHECK_SECONDS if self._complete else delay
            try:
                # At least a second between two attempts, however often a caller asks.
                await asyncio.sleep(min(FIRST_RETRY_SECONDS, pause))
                async with asyncio.timeout(max(0.0, pause - FIRST_RETRY_SECONDS)):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            if await asyncio.get_running_loop().run_in_executor(self._executor, self._needs_recovery):
                await self._recover()
            delay = FIRST_RETRY_SECONDS if self._complete else min(2 * delay, LAST_RETRY_SECONDS)

    async def _recover(self) -> None:
        try:
            self._complete = await self._runner.run("start", None, "server", self._renew_after_recovery)
        except ApiError as error:
            self._complete = False
            logs.event("recovery_postponed", code=error.code.value)
        except Exception:
            self._complete = False
            logs.event("recovery_failed", failed=True)

    def _needs_recovery(self) -> bool:
        """Whether both volumes can be opened and recovery is incomplete or an id is lost. Also renews file times.

        While a volume cannot be opened, an attempt would fail and fill the log.
        """
        try:
            with ExitStack() as stack:
                # Created like the operations do: a volume that was empty when it returned has no state folder.
                config_state = stack.enter_context(StateDir(self._settings.config_dir, create=True))
                volume = stack.enter_context(StateDir(self._settings.backup_dir, create=True))
                self._renew(config_state, volume)
                lost = _lacks_id(config_state, GATEWAY_ID_FILE) or _lacks_id(volume, VOLUME_ID_FILE)
                return lost or not self._complete
        except (OSError, ApiError):
            self._complete = False
            return False

    def _renew_after_recovery(self, context: OperationContext) -> bool:
        """Returns whether recovery is complete."""
        if context.backup_state is not None:
            try:
                self._renew(context.config_state, context.backup_state)
            except (OSError, ApiError):
                logs.event("modification_times_not_renewed", failed=True)
        return context.recovery_complete

    def _renew(self, *states: StateDir) -> None:
        now = time.monotonic()
        if self._renewed_at is not None and now - self._renewed_at < RENEWAL_SECONDS:
            return
        for state in states:
            renew_modification_times(state)
        self._renewed_at = now


def _lacks_id(state: StateDir, name: str) -> bool:
    try:
        return state.read_id(name) is None
    except OSError:
        return True
