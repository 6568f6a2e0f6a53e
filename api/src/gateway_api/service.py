"""Puts the parts together once, and holds what the routes need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Literal, TypeVar

from gateway_api import logs
from gateway_api.auth import KeyRing
from gateway_api.backups import create as backups
from gateway_api.backups import inspection, listing, upload, verification
from gateway_api.backups.deletion import delete_by_id
from gateway_api.backups.download import Download, open_download
from gateway_api.backups.listing import show
from gateway_api.contract import (
    BackupPage,
    BackupRecord,
    BackupRequest,
    BackupResult,
    DeleteResult,
    ErrorCode,
    FileInspection,
    InspectRequest,
    ResetRequest,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
    SystemHealthData,
    UploadResult,
    VerificationResult,
    VerifyRequest,
)
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.parser import ConfigParser
from gateway_api.health import HealthChecker
from gateway_api.metrics import Metrics
from gateway_api.operation_context import OperationContext
from gateway_api.operation_runner import OperationRunner
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.restores import records, transaction
from gateway_api.restores.dry_run import dry_run
from gateway_api.restores.finish import commit, rollback
from gateway_api.restores.reset import reset
from gateway_api.settings import AdminSettings
from gateway_api.storage.state_dir import StateDir

T = TypeVar("T")
READY_SECONDS: Final = 5.0


class Service:
    """The admin API without its HTTP. Methods are called on the event loop and block in threads."""

    def __init__(self, settings: AdminSettings) -> None:
        self.settings = settings
        judge = ConfigParser(settings.worker_above_bytes, settings.worker_seconds)
        self._config = ConfigFile(settings.config_file, settings.max_config_bytes, settings.settle_seconds, judge)
        self._inventory = RepositoryIndex()
        self._readers = ThreadPoolExecutor(3, "reader")
        self._writer = ThreadPoolExecutor(1, "writer")
        self._keys = KeyRing(self._config, settings.config_dir, settings.admin_key_file)
        self._condition = HealthChecker(settings, self._config, self._keys)
        self._protection = EncryptionAndSigning(settings)
        self._mutations = OperationRunner(settings, self._config, self._inventory, self._protection, self._writer)
        self._started = time.monotonic()
        self._ready: tuple[float, str | None] | None = None
        self._asking = asyncio.Lock()
        self.metrics = Metrics()
        self._page: tuple[float, bytes] | None = None
        self._rendering = asyncio.Lock()

    async def _read(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def start(self) -> None:
        """Remembers the admin key and finishes what a dead server began; both are tried again later if need be."""
        try:
            await self._read(self._keys.candidates)
            await self._mutations.run("start", None, "server", _nothing)
        except ApiError as error:
            logs.event("recovery_postponed", code=error.code.value)
        except Exception:
            logs.event("recovery_failed", failed=True)

    def stop(self) -> None:
        """Waits for what is at work in threads."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True, cancel_futures=True)

    async def accepts(self, key: bytes) -> str | None:
        """The kind of accepted key that ``key`` is, or None."""
        return await self._read(partial(self._keys.check, key))

    async def why_not_ready(self) -> str | None:
        """Why no backup could be taken, at most five seconds ago."""
        async with self._asking:
            now = time.monotonic()
            if self._ready is None or now - self._ready[0] >= READY_SECONDS:
                self._ready = (now, await self._read(self._condition.readiness_problem))
            return self._ready[1]

    async def metrics_page(self) -> bytes:
        """What a monitor scrapes, at most five seconds old: it needs no key, so asking often costs nothing."""
        async with self._rendering:
            now = time.monotonic()
            if self._page is None or now - self._page[0] >= READY_SECONDS:
                ready = await self.why_not_ready() is None
                render = partial(self.metrics.render, await self.health(), ready=ready)
                self._page = (now, await self._read(render))
            return self._page[1]

    async def health(self) -> SystemHealthData:
        """The detailed health."""
        uptime = time.monotonic() - self._started
        return await self._read(partial(self._condition.health, uptime))

    async def backup(self, request: BackupRequest, requested_by: str) -> BackupResult:
        """Makes a backup."""
        return await self._mutations.run(
            "backup", request.request_id, requested_by, lambda context: backups.create(context, request)
        )

    async def list_backups(self, limit: int, token: str | None, path: str | None) -> BackupPage:
        """A page of the inventory, or the file at ``path``."""
        return await self._read(partial(listing.page, self.settings, self._inventory, limit, token, path))

    async def inspect_file(self, request: InspectRequest) -> FileInspection:
        """What a file in the backup directory holds."""
        return await self._read(
            partial(inspection.inspect, self.settings, self._inventory, self._config.judge, request)
        )

    async def show_backup(self, backup_id: str) -> BackupRecord:
        """The record of one backup."""
        return await self._read(partial(show, self.settings, self._inventory, backup_id))

    async def download(self, backup_id: str, part: Literal["file", "manifest"], wanted: str | None) -> Download:
        """An open file or manifest; its stream reads in threads of this service."""
        return await self._read(partial(open_download, self.settings, self._inventory, backup_id, part, wanted))

    async def read_piece(self, call: Callable[[], bytes]) -> bytes:
        """Runs one reading of a download in a thread."""
        return await self._read(call)

    async def _is_there(self, backup_id: str) -> bool:
        try:
            await self.show_backup(backup_id)
        except ApiError as error:
            if error.code is ErrorCode.BackupNotFound:
                return False
            raise
        return True

    async def upload_manifest(self, backup_id: str, data: bytes, requested_by: str) -> UploadResult:
        """Begins an upload, or tells how far it is."""
        return await self._mutations.run(
            "upload-manifest", backup_id, requested_by, lambda context: upload.take_manifest(context, backup_id, data)
        )

    async def upload_file(
        self, backup_id: str, pieces: AsyncIterator[bytes], start: int | None, requested_by: str
    ) -> UploadResult:
        """Takes the pieces of the file, and makes it a backup when it is whole."""
        if not await self._is_there(backup_id):
            collector = await self._read(partial(upload.Collector, self.settings, backup_id, start))
            try:
                async for piece in pieces:
                    await self._read(partial(collector.add, piece))
            finally:
                collector.close()
        return await self._mutations.run(
            "upload", backup_id, requested_by, lambda context: upload.finish(context, backup_id)
        )

    async def delete_backup(self, backup_id: str, requested_by: str) -> DeleteResult:
        """Deletes one backup."""
        return await self._mutations.run(
            "delete", backup_id, requested_by, lambda context: delete_by_id(context, backup_id)
        )

    async def verify_backup(self, backup_id: str, request: VerifyRequest, requested_by: str) -> VerificationResult:
        """Proves one backup again."""
        return await self._mutations.run(
            "verify", backup_id, requested_by, lambda context: verification.verify(context, backup_id, request)
        )

    async def restore(self, request: RestoreRequest, requested_by: str) -> RestoreResult:
        """Restores a backup."""
        return await self._mutations.run(
            "restore", request.request_id, requested_by, lambda context: transaction.restore(context, request)
        )

    async def preview(self, request: RestoreRequest) -> RestorePlan:
        """What a restore would do."""
        call = partial(dry_run, self.settings, self._config, self._inventory, self._protection, request)
        return await self._read(call)

    async def reset(self, request: ResetRequest, requested_by: str) -> RestoreResult:
        """Resets the config. A request that is not confirmed does not wait for its turn."""
        if request.confirm is not True:
            raise ApiError(ErrorCode.ResetNotConfirmed)
        # Restores and resets share their request ids: one at work answers for both.
        return await self._mutations.run(
            "restore", request.request_id, requested_by, lambda context: reset(context, request)
        )

    async def show_restore(self, request_id: str) -> RestoreResult:
        """The record of one restore."""
        return await self._read(partial(_show_restore, self.settings, request_id))

    async def commit(self, request_id: str, requested_by: str) -> RestoreResult:
        """Ends a restore: the new config stays."""
        return await self._mutations.run(
            "commit", request_id, requested_by, lambda context: commit(context, request_id)
        )

    async def rollback(self, request_id: str, requested_by: str, *, force: bool) -> RestoreResult:
        """Ends a restore: the kept config comes back."""
        return await self._mutations.run(
            "rollback", request_id, requested_by, lambda context: rollback(context, request_id, force=force)
        )


def _nothing(_: OperationContext) -> None:
    return


def _show_restore(settings: AdminSettings, request_id: str) -> RestoreResult:
    try:
        config_state = StateDir(settings.config_dir, create=False)
    except FileNotFoundError:
        raise ApiError(ErrorCode.RestoreNotFound) from None
    except OSError as error:
        raise config_volume_error(error) from None
    with config_state:
        try:
            with StateDir(settings.backup_dir, create=False) as backup_state:
                return records.find(config_state, backup_state, request_id).result
        except OSError:
            return records.find(config_state, None, request_id).result
