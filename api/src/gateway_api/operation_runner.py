"""Runs every operation that changes something, one at a time in this process and on both volumes.

`run` is called on the event loop and does the rest in a thread: take the locks of both volumes, recover, write the
intent line of the audit log, run the operation, write the outcome line, release the locks.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from typing import Final, TypeVar

from gateway_api import logs
from gateway_api.audit import chain
from gateway_api.audit.log import AuditEntry, after_intent
from gateway_api.clock import utc_now
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, config_volume_error, describe_errno
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.replace import ConfigReplacer
from gateway_api.operation_context import OperationContext
from gateway_api.repository.id_recovery import IdRecovery
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.settings import AdminSettings
from gateway_api.startup_recovery import recover
from gateway_api.storage.paths import open_root
from gateway_api.storage.state_dir import LockHeld, StateDir

T = TypeVar("T")
LOCK_WAIT_SECONDS: Final = 2.0


class OperationRunner:
    """Serialises operations with one mutex in the process and one lock file on each volume.

    ``run`` belongs to the event loop; all private methods but ``_on_done`` run in a thread of the executor.
    """

    def __init__(
        self,
        settings: AdminSettings,
        config: ConfigFile,
        index: RepositoryIndex,
        crypto: EncryptionAndSigning,
        id_recovery: IdRecovery,
        executor: Executor,
    ) -> None:
        self._settings = settings
        self._crypto = crypto
        self._id_recovery = id_recovery
        self._config = config
        self._index = index
        self._executor = executor
        self._mutex = asyncio.Lock()
        self._running: set[str] = set()

    async def run(
        self, operation: str, request_id: str | None, requested_by: str, call: Callable[[OperationContext], T]
    ) -> T:
        """Runs ``call`` with the locks held and returns its result. Completes even if the caller disconnects.

        ``request_id`` is the id of the request or of the backup, None for a request that cannot be repeated.

        Raises ``Busy`` when other operations hold the locks for longer than two seconds, ``InProgress`` when the same
        request is running, and every error of ``call``.
        """
        lock_owner = _lock_owner(operation, request_id)
        if request_id is not None and lock_owner in self._running:
            raise ApiError(ErrorCode.InProgress)
        until = time.monotonic() + LOCK_WAIT_SECONDS
        try:
            async with asyncio.timeout(LOCK_WAIT_SECONDS):
                await self._mutex.acquire()
        except TimeoutError:
            raise ApiError(ErrorCode.Busy) from None
        # Checked a second time: the same request may have started while this one waited.
        if request_id is not None and lock_owner in self._running:
            self._mutex.release()
            raise ApiError(ErrorCode.InProgress)
        self._running.add(lock_owner)
        work = partial(self._run_locked, operation, request_id, until, requested_by, call)
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        # The mutex is released by the future and not here: cancellation of the caller must not release it early.
        future.add_done_callback(partial(self._on_done, lock_owner))
        return await asyncio.shield(future)

    def _on_done(self, lock_owner: str, future: asyncio.Future[object]) -> None:
        self._running.discard(lock_owner)
        self._mutex.release()
        if not future.cancelled():
            # Marks the exception as retrieved: after a disconnect no caller is left to do so.
            future.exception()

    def _run_locked(
        self,
        operation: str,
        request_id: str | None,
        until: float,
        requested_by: str,
        call: Callable[[OperationContext], T],
    ) -> T:
        with ExitStack() as stack:
            context = recover(self._open(stack, _lock_owner(operation, request_id), until, requested_by))
            entry = AuditEntry(context, operation, request_id)
            # The intent line is durable before the first effect, so every effect has a line even after a crash.
            # Recovery comes before it, because it drops a backup volume that cannot be used.
            head = entry.intent()
            try:
                result = call(after_intent(context, head))
            except BaseException as error:
                code = error.code if isinstance(error, ApiError) else ErrorCode.InternalError
                entry.outcome(code.value, {})
                raise
            # The locks are still held, so outcome lines have the order of the effects. A crash right before this
            # leaves an intent without an outcome.
            entry.outcome("ok", chain.logged_fields(result))
            return result

    def _open(self, stack: ExitStack, lock_owner: str, until: float, requested_by: str) -> OperationContext:
        """Opens and locks both volumes; ``stack`` closes them. Raises ``Busy``, ``InProgress``, config volume errors.

        The config volume is always locked first, so two servers cannot wait for each other.
        """
        settings = self._settings
        try:
            config_state = stack.enter_context(StateDir(settings.config_dir, create=True))
            _lock(stack, config_state, lock_owner, until)
        except OSError as error:
            raise config_volume_error(error) from None
        backup_state, volume_problem = self._open_backup_volume(stack, lock_owner, until)
        return OperationContext(
            settings=settings,
            config=self._config,
            config_replacer=ConfigReplacer(config_state, settings.config_file),
            config_state=config_state,
            backup_state=backup_state,
            volume_problem=volume_problem,
            read_only_root=None if backup_state is not None else self._open_read_only(stack),
            index=self._index,
            clock=utc_now,
            requested_by=requested_by,
            crypto=self._crypto,
            id_recovery=self._id_recovery,
        )

    def _open_backup_volume(self, stack: ExitStack, lock_owner: str, until: float) -> tuple[StateDir | None, str]:
        """The locked volume, or None with the reason."""
        step = "opened"
        try:
            state = stack.enter_context(StateDir(self._settings.backup_dir, create=True))
            step = "locked"
            _lock(stack, state, lock_owner, until)
        except OSError as error:
            logs.event("backup_volume_unusable", failed=True)
            return None, f"the backup volume cannot be {step}: {describe_errno(error)}"
        return state, ""

    def _open_read_only(self, stack: ExitStack) -> int | None:
        """The backup directory without its state folder, from which a restore can read. None if it cannot be opened."""
        try:
            root_fd = open_root(self._settings.backup_dir)
        except OSError:
            return None
        stack.callback(os.close, root_fd)
        return root_fd


def _lock_owner(operation: str, request_id: str | None) -> str:
    """The text written into the lock files, from which another server recognises its own request."""
    return operation if request_id is None else f"{operation}:{request_id}"


def _lock(stack: ExitStack, state: StateDir, lock_owner: str, until: float) -> None:
    try:
        stack.enter_context(state.locked(lock_owner, until))
    except LockHeld as error:
        # Only an owner with a request id names a single request.
        code = ErrorCode.InProgress if error.owner == lock_owner and ":" in lock_owner else ErrorCode.Busy
        raise ApiError(code) from None
