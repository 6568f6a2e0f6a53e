"""The facade that the HTTP routes call: builds all components once, and runs each call in a thread.

Calls that change something go through `OperationRunner`, one at a time. Calls that only read run in a pool of three
reader threads, beside any operation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Literal, TypeVar

from gateway_api import logs
from gateway_api.audit.last_success import LastSuccesses
from gateway_api.auth import AcceptedKeys, KeyRing
from gateway_api.backups import inspection, listing, upload, verification
from gateway_api.backups.create import create_backup
from gateway_api.backups.deletion import delete_by_id
from gateway_api.backups.download import Download, open_download
from gateway_api.backups.listing import ListedPage
from gateway_api.contract import (
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
from gateway_api.health.readiness import ReadinessChecker
from gateway_api.health.report import HealthChecker
from gateway_api.maintenance import Maintenance
from gateway_api.metrics import Metrics
from gateway_api.operation_runner import OperationRunner
from gateway_api.repository.id_recovery import IdRecovery
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.restores import records, transaction
from gateway_api.restores.dry_run import dry_run
from gateway_api.restores.finish import commit, rollback
from gateway_api.restores.reset import reset
from gateway_api.settings import AdminSettings
from gateway_api.storage.state_dir import StateDir

T = TypeVar("T")
CACHE_SECONDS: Final = 5.0
"""Maximum age of the readiness result and of the metrics page."""


class Service:
    """The admin API without HTTP. Async methods belong to the event loop; their work blocks in threads."""

    def __init__(self, settings: AdminSettings) -> None:
        self.settings = settings
        parser = ConfigParser(settings.worker_above_bytes, settings.worker_seconds)
        self._config = ConfigFile(settings.config_file, settings.max_config_bytes, settings.settle_seconds, parser)
        self._index = RepositoryIndex()
        self._readers = ThreadPoolExecutor(3, "reader")
        self._writer = ThreadPoolExecutor(1, "writer")
        # Of their own: authentication must not wait for reads of backups.
        self._authenticators = ThreadPoolExecutor(3, "auth")
        self._keys = KeyRing(self._config, settings.config_dir, settings.admin_key_file)
        self._crypto = EncryptionAndSigning(settings)
        id_recovery = IdRecovery()
        self._health_checker = HealthChecker(settings, self._config, self._keys, self._crypto, id_recovery)
        self._readiness_checker = ReadinessChecker(settings, self._config, self._keys, self._crypto)
        self._runner = OperationRunner(settings, self._config, self._index, self._crypto, id_recovery, self._writer)
        self._maintenance = Maintenance(settings, self._runner, self._readers)
        self._started = time.monotonic()
        self._readiness: tuple[float, str | None] | None = None
        self._readiness_lock = asyncio.Lock()
        self.metrics = Metrics()
        self._last_successes = LastSuccesses(settings.backup_dir)
        self._metrics_page: tuple[float, bytes] | None = None
        self._metrics_lock = asyncio.Lock()

    async def _read(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def start(self) -> None:
        """Caches the admin key and recovers from a killed server. Then maintains the state folders until cancelled."""
        try:
            await self._read(self._keys.accepted_keys)
        except Exception:
            logs.event("admin_keys_not_read", failed=True)
        await self._maintenance.run()

    def stop(self) -> None:
        """Waits for the running operation and for reads that have started; drops reads that have not."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._authenticators.shutdown(wait=True, cancel_futures=True)

    async def load_file_keys(self) -> AcceptedKeys:
        """The keys in the admin key file, as digests."""
        return await asyncio.get_running_loop().run_in_executor(self._authenticators, self._keys.file_keys)

    async def load_config_keys(self) -> AcceptedKeys:
        """The keys in the config, or in the last valid one, as digests."""
        return await asyncio.get_running_loop().run_in_executor(self._authenticators, self._keys.config_keys)

    async def find_key_kind(self, digest: str) -> str | None:
        """The kind of the accepted admin key with this SHA-256, or None."""
        return await asyncio.get_running_loop().run_in_executor(self._authenticators, self._keys.check, digest)

    async def readiness_problem(self) -> str | None:
        """The reason why no backup or no restore is possible, or None. At most five seconds old."""
        async with self._readiness_lock:
            now = time.monotonic()
            if self._readiness is None or now - self._readiness[0] >= CACHE_SECONDS:
                self._readiness = (now, await self._read(self._readiness_checker.problem))
            return self._readiness[1]

    async def render_metrics(self) -> bytes:
        """The Prometheus metrics. Cached for five seconds, because requests for them need no key."""
        async with self._metrics_lock:
            now = time.monotonic()
            if self._metrics_page is None or now - self._metrics_page[0] >= CACHE_SECONDS:
                ready = await self.readiness_problem() is None
                health = await self.health()
                self._metrics_page = (now, await self._read(partial(self._render_metrics, health, ready)))
            return self._metrics_page[1]

    def _render_metrics(self, health: SystemHealthData, ready: bool) -> bytes:
        return self.metrics.render(health, self._last_successes.read(), ready=ready)

    async def health(self) -> SystemHealthData:
        uptime = time.monotonic() - self._started
        data = await self._read(partial(self._health_checker.health, uptime))
        if data.gateway_id is None or data.volume_id is None:
            # A caller such as the operator waits for the ids, so they are recovered now and not at the next check.
            self._maintenance.wake()
        return data

    async def create_backup(self, request: BackupRequest, requested_by: str) -> BackupResult:
        return await self._runner.run(
            "backup", request.request_id, requested_by, lambda context: create_backup(context, request)
        )

    async def list_backups(self, limit: int, token: str | None, path: str | None) -> ListedPage:
        """A page of the files in the backup directory, or the file at ``path``."""
        return await self._read(partial(listing.list_page, self.settings, self._index, limit, token, path))

    async def inspect_file(self, request: InspectRequest) -> FileInspection:
        """The content of a file in the backup directory, and its defects."""
        return await self._read(
            partial(inspection.inspect_file, self.settings, self._index, self._config.parser, request)
        )

    async def get_backup(self, backup_id: str) -> BackupRecord:
        """The record of one backup."""
        return await self._read(partial(listing.read_backup_record, self.settings, self._index, backup_id))

    async def download(
        self, backup_id: str, part: Literal["file", "manifest"], range_header: str | None, if_range: str | None
    ) -> Download:
        """Opens the file or manifest of a backup; stream it with :meth:`read_chunk`."""
        return await self._read(
            partial(open_download, self.settings, self._index, backup_id, part, range_header, if_range)
        )

    async def read_chunk(self, call: Callable[[], bytes]) -> bytes:
        """Runs one read of a download in a reader thread."""
        return await self._read(call)

    async def _backup_exists(self, backup_id: str) -> bool:
        try:
            await self.get_backup(backup_id)
        except ApiError as error:
            if error.code is ErrorCode.BackupNotFound:
                return False
            raise
        return True

    async def upload_manifest(self, backup_id: str, data: bytes, requested_by: str) -> UploadResult:
        """Begins an upload, or returns the progress of one that has begun."""
        return await self._runner.run(
            "upload-manifest", backup_id, requested_by, lambda context: upload.accept_manifest(context, backup_id, data)
        )

    async def upload_file(
        self, backup_id: str, chunks: AsyncIterator[bytes], start: int | None, requested_by: str
    ) -> UploadResult:
        """Stores the chunks of the file, and publishes the backup when the file is complete."""
        # The chunks are received without the locks: a slow sender must not block other operations.
        if not await self._backup_exists(backup_id):
            writer = await self._read(partial(upload.UploadWriter, self.settings, backup_id, start))
            try:
                async for chunk in chunks:
                    await self._read(partial(writer.add, chunk))
            finally:
                writer.close()
        return await self._runner.run(
            "upload", backup_id, requested_by, lambda context: upload.finish_upload(context, backup_id)
        )

    async def delete_backup(self, backup_id: str, requested_by: str) -> DeleteResult:
        return await self._runner.run(
            "delete", backup_id, requested_by, lambda context: delete_by_id(context, backup_id)
        )

    async def verify_backup(self, backup_id: str, request: VerifyRequest, requested_by: str) -> VerificationResult:
        return await self._runner.run(
            "verify", backup_id, requested_by, lambda context: verification.verify_backup(context, backup_id, request)
        )

    async def restore(self, request: RestoreRequest, requested_by: str) -> RestoreResult:
        return await self._runner.run(
            "restore", request.request_id, requested_by, lambda context: transaction.restore(context, request)
        )

    async def dry_run(self, request: RestoreRequest | ResetRequest, key_sha256: str) -> RestorePlan:
        """Dry run of a restore or reset: its checks and its effect on the config.

        ``key_sha256`` is the digest of the request's admin key.
        """
        if isinstance(request, ResetRequest) and request.confirm is not True:
            raise ApiError(ErrorCode.ResetNotConfirmed)
        accepted = partial(self._keys.accepts_with, key_sha256)
        call = partial(dry_run, self.settings, self._config, self._index, self._crypto, request, accepted)
        return await self._read(call)

    async def reset(self, request: ResetRequest, requested_by: str) -> RestoreResult:
        """Replaces the config by an empty one. An unconfirmed request fails before it waits for the locks."""
        if request.confirm is not True:
            raise ApiError(ErrorCode.ResetNotConfirmed)
        # Restores and resets share one space of request ids, so both run under the operation name "restore".
        return await self._runner.run(
            "restore", request.request_id, requested_by, lambda context: reset(context, request)
        )

    async def get_restore(self, request_id: str) -> RestoreResult:
        """The record of one restore."""
        return await self._read(partial(_read_restore_record, self.settings, request_id))

    async def commit(self, request_id: str, requested_by: str) -> RestoreResult:
        """Ends a restore and keeps the new config."""
        return await self._runner.run("commit", request_id, requested_by, lambda context: commit(context, request_id))

    async def rollback(self, request_id: str, requested_by: str, *, force: bool) -> RestoreResult:
        """Ends a restore and puts the kept previous config back."""
        return await self._runner.run(
            "rollback", request_id, requested_by, lambda context: rollback(context, request_id, force=force)
        )


def _read_restore_record(settings: AdminSettings, request_id: str) -> RestoreResult:
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
