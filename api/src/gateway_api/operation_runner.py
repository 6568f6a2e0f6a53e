"""The one place every change passes through: one at a time in this process and on these volumes, after recovery.

What must happen around each change (locks, finishing what a dead server began, a fresh inventory, the two lines in
the audit log) happens here and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from gateway_api import logs
from gateway_api.audit import chain
from gateway_api.audit.log import AuditEntry
from gateway_api.backups.upload import drop_stale
from gateway_api.clock import utc_now
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.replace import ConfigReplacer
from gateway_api.operation_context import OperationContext
from gateway_api.repository.deletion import finish_deletions
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.repository.store import finish_pending
from gateway_api.restores.recovery import recover_restores
from gateway_api.settings import AdminSettings
from gateway_api.startup_recovery import PROBE_SECONDS
from gateway_api.storage.atomic_write import remove_temporaries
from gateway_api.storage.free_space import ensure_reserve
from gateway_api.storage.layout import (
    GATEWAY_ID_FILE,
    PENDING_FOLDER,
    REQUESTS_FOLDER,
    TOMBSTONES_FOLDER,
    VOLUME_ID_FILE,
)
from gateway_api.storage.state_dir import LockHeld, StateDir

T = TypeVar("T")
PATIENCE_SECONDS: Final = 2.0


class OperationRunner:
    """Runs changes one by one. ``run`` belongs to the event loop, everything below it to a thread."""

    def __init__(
        self,
        settings: AdminSettings,
        config: ConfigFile,
        inventory: RepositoryIndex,
        protection: EncryptionAndSigning,
        executor: Executor,
    ) -> None:
        self._settings = settings
        self._protection = protection
        self._config = config
        self._inventory = inventory
        self._executor = executor
        self._mutex = asyncio.Lock()
        self._running: set[str] = set()

    async def run(
        self, operation: str, request_id: str | None, requested_by: str, change: Callable[[OperationContext], T]
    ) -> T:
        """Runs ``change`` with the locks held and returns what it does. Finishes also when the caller goes away.

        Raises ``Busy`` when others hold the locks for longer than two seconds, ``InProgress`` when that is the
        same request, and what ``change`` raises.
        """
        holder = f"{operation}:{request_id}" if request_id is not None else operation
        if request_id is not None and holder in self._running:
            raise ApiError(ErrorCode.InProgress)
        until = time.monotonic() + PATIENCE_SECONDS
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._mutex.acquire()
        except TimeoutError:
            raise ApiError(ErrorCode.Busy) from None
        if request_id is not None and holder in self._running:
            self._mutex.release()
            raise ApiError(ErrorCode.InProgress)
        self._running.add(holder)
        work = partial(self._locked, operation, request_id, until, requested_by, change)
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        future.add_done_callback(partial(self._done, holder))
        return await asyncio.shield(future)

    def _done(self, holder: str, future: asyncio.Future[object]) -> None:
        self._running.discard(holder)
        self._mutex.release()
        if not future.cancelled():
            future.exception()

    def _locked(
        self, operation: str, name: str | None, until: float, requested_by: str, change: Callable[[OperationContext], T]
    ) -> T:
        holder = operation if name is None else f"{operation}:{name}"
        with ExitStack() as stack:
            context = self._recover(self._enter(stack, holder, until, requested_by))
            lines = AuditEntry(context, operation, name)
            head = lines.intent()
            try:
                result = change(replace(context, audit_head=head))
            except BaseException as error:
                code = error.code if isinstance(error, ApiError) else ErrorCode.InternalError
                lines.outcome(code.value, {})
                raise
            lines.outcome("ok", chain.details(result))
            return result

    def _enter(self, stack: ExitStack, holder: str, until: float, requested_by: str) -> OperationContext:
        settings = self._settings
        try:
            config_state = stack.enter_context(StateDir(settings.config_dir, create=True))
            _lock(stack, config_state, holder, until)
        except OSError as error:
            raise config_volume_error(error) from None
        return OperationContext(
            settings=settings,
            config=self._config,
            slot=ConfigReplacer(config_state, settings.config_file),
            config_state=config_state,
            backup_state=self._enter_volume(stack, holder, until),
            inventory=self._inventory,
            clock=utc_now,
            requested_by=requested_by,
            protection=self._protection,
        )

    def _enter_volume(self, stack: ExitStack, holder: str, until: float) -> StateDir | None:
        try:
            state = stack.enter_context(StateDir(self._settings.backup_dir, create=True))
            _lock(stack, state, holder, until)
        except OSError:
            logs.event("backup_volume_unusable", failed=True)
            return None
        return state

    def _recover(self, context: OperationContext) -> OperationContext:
        """Before every change, and at start. A volume that does not let recovery finish lets it wait; one that cannot
        be listed is not used, because a request that it has seen before would not be known."""
        config_state, volume = context.config_state, context.backup_state
        try:
            config_state.clean(REQUESTS_FOLDER)
            remove_temporaries(config_state.base_fd, older_than=time.time() - PROBE_SECONDS)
            config_state.read_or_create_id(GATEWAY_ID_FILE)
        except (OSError, ApiError):
            logs.event("recovery_incomplete", failed=True, volume="config")
        recover_restores(context)
        if volume is None:
            return context
        try:
            self._inventory.refresh(volume.base_fd, clean=True)
        except OSError:
            logs.event("backup_volume_unusable", failed=True)
            return replace(context, backup_state=None)
        try:
            volume.clean(PENDING_FOLDER, TOMBSTONES_FOLDER, REQUESTS_FOLDER)
            volume.read_or_create_id(VOLUME_ID_FILE)
            finish_pending(volume)
            finish_deletions(volume)
            self._inventory.refresh(volume.base_fd)
            ensure_reserve(volume)
            drop_stale(volume)
        except (OSError, ApiError):
            logs.event("recovery_incomplete", failed=True, volume="backups")
        return context


def _lock(stack: ExitStack, state: StateDir, holder: str, until: float) -> None:
    try:
        stack.enter_context(state.locked(holder, until))
    except LockHeld as taken:
        code = ErrorCode.InProgress if taken.holder == holder and ":" in holder else ErrorCode.Busy
        raise ApiError(code) from None
