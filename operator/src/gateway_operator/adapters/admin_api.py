"""Implements the port AdminApi over HTTP. The port documents the methods, `admin_connection` the errors."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import Any, Final
from urllib.parse import quote

from gateway_api import contract
from gateway_operator.adapters.admin_connection import LONG_TIMEOUT, AdminConnection, M, describe, parse_answer
from gateway_operator.domain.model.actions import CallBackup, CallReset, CallRestore
from gateway_operator.domain.model.admin_api import BackupFile, FileCheck, NotFound, TaggedPage
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.ports import AdminApiError, AdminTarget, Identity

_PAGE_SIZE: Final = 500

_NO_BACKUP: Final = frozenset({contract.ErrorCode.BackupNotFound, contract.ErrorCode.Deleted})
_NO_RESTORE: Final = frozenset({contract.ErrorCode.RestoreNotFound})


class HttpAdminApi(AdminConnection):
    """The port AdminApi over aiohttp."""

    async def health(self, target: AdminTarget) -> contract.SystemHealthData:
        return await self._call(target, "GET", contract.SYSTEM_HEALTH_PATH, contract.SystemHealthData)

    async def backup(self, target: AdminTarget, call: CallBackup) -> contract.BackupRecord:
        body = {
            "path": call.path,
            "request_id": call.request_id,
            "metadata": dict(call.metadata),
            "record_name": call.record_name,
        }
        limit = min(call.timeout, LONG_TIMEOUT)
        return await self._call(target, "POST", contract.BACKUP_PATH, contract.BackupResult, body, limit)

    async def read_backup(self, target: AdminTarget, backup_id: str) -> contract.BackupRecord | NotFound:
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        return await _or_not_found(self._call(target, "GET", path, contract.BackupRecord))

    async def find_file(self, target: AdminTarget, path: str) -> BackupFile | NotFound:
        listed = await self._call(
            target,
            "GET",
            f"{contract.BACKUPS_PATH}?path={quote(path, safe='')}",
            contract.BackupPage,
            limit=LONG_TIMEOUT,
        )
        if not listed.items:
            return NotFound()
        (entry,) = listed.items
        if entry.record is not None and entry.kind != "changed":
            return entry.record
        inspection = await self._inspect(target, path)
        if isinstance(inspection, contract.FileInspection):
            for problem in inspection.problems:
                raise AdminApiError(problem.code, f"{path}: {problem.message}", retryable=False, status=200)
        return inspection

    async def check_file(self, target: AdminTarget, backup_id: str, path: str) -> FileCheck | NotFound:
        if not backup_id:
            return await self._inspect(target, path)
        verify = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}/verify"
        return await _or_not_found(self._call(target, "POST", verify, contract.VerificationResult, {}, LONG_TIMEOUT))

    async def _inspect(self, target: AdminTarget, path: str) -> contract.FileInspection | NotFound:
        inspect = f"{contract.BACKUPS_PATH}/inspect"
        return await _or_not_found(
            self._call(target, "POST", inspect, contract.FileInspection, {"path": path}, LONG_TIMEOUT)
        )

    async def list_files(self, target: AdminTarget, token: str | None) -> contract.BackupPage:
        continuation = f"&continue={quote(token, safe='')}" if token else ""
        path = f"{contract.BACKUPS_PATH}?limit={_PAGE_SIZE}{continuation}"
        return await self._call(target, "GET", path, contract.BackupPage, limit=LONG_TIMEOUT)

    async def list_if_changed(self, target: AdminTarget, etag: str) -> TaggedPage:
        path = f"{contract.BACKUPS_PATH}?limit={_PAGE_SIZE}"
        async with self._in_flight:
            status, headers, raw = await self._try_keys(target, "GET", path, None, LONG_TIMEOUT, etag)
        tag = headers.get("ETag", "")
        if status == 304:
            return TaggedPage(None, etag)
        return TaggedPage(parse_answer(target, contract.BackupPage, status, headers, raw), tag)

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        result = await _or_not_found(self._call(target, "DELETE", path, contract.DeleteResult, limit=LONG_TIMEOUT))
        return isinstance(result, contract.DeleteResult) and result.existed

    async def restore(
        self, target: AdminTarget, call: CallRestore, identity: Identity | None
    ) -> contract.RestoreResult:
        body = _restore_body(target, call, identity)
        limit = min(call.timeout, LONG_TIMEOUT)
        return await self._call(target, "POST", contract.RESTORE_PATH, contract.RestoreResult, body, limit)

    async def reset(self, target: AdminTarget, call: CallReset) -> contract.RestoreResult:
        limit = min(call.timeout, LONG_TIMEOUT)
        return await self._call(target, "POST", contract.RESET_PATH, contract.RestoreResult, _reset_body(call), limit)

    async def plan(
        self, target: AdminTarget, call: CallRestore | CallReset, identity: Identity | None
    ) -> contract.RestorePlan:
        if isinstance(call, CallReset):
            path, body = contract.RESET_PATH, _reset_body(call)
        else:
            path, body = contract.RESTORE_PATH, _restore_body(target, call, identity)
        # Without a request id: the dry run is no operation that could be repeated.
        body = {key: value for key, value in body.items() if key != "request_id"} | {"dry_run": True}
        return await self._call(target, "POST", path, contract.RestorePlan, body, min(call.timeout, LONG_TIMEOUT))

    async def copy_backup(self, source: AdminTarget, target: AdminTarget, backup_id: str, seconds: float) -> None:
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}/content"
        limit = min(seconds, LONG_TIMEOUT)
        # The manifest first. The other admin API checks the file against it, and says if it has the backup already.
        async with self._in_flight:
            manifest = await self._read(source, f"{path}?part=manifest", limit)
        sent = await self._call(target, "PUT", f"{path}?part=manifest", contract.UploadResult, manifest, limit)
        if sent.state == "stored":
            return
        async with self._download(source, path, limit) as content:
            await self._call(target, "PUT", path, contract.UploadResult, content, limit)

    async def read_restore(self, target: AdminTarget, request_id: str) -> contract.RestoreResult | NotFound:
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}"
        return await _or_not_found(self._call(target, "GET", path, contract.RestoreResult), _NO_RESTORE)

    async def commit(self, target: AdminTarget, request_id: str) -> contract.RestoreResult:
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/commit"
        return await self._call(target, "POST", path, contract.RestoreResult, {}, LONG_TIMEOUT)

    async def rollback(self, target: AdminTarget, request_id: str, *, force: bool) -> contract.RestoreResult:
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/rollback"
        # Without force, the admin API refuses if the restored config was changed since.
        return await self._call(target, "POST", path, contract.RestoreResult, {"force": force}, LONG_TIMEOUT)

    def backup_id(self, volume_id: str, request_id: str) -> str:
        return contract.backup_id_for(volume_id, request_id)


async def _or_not_found(call: Awaitable[M], codes: Collection[str] = _NO_BACKUP) -> M | NotFound:
    try:
        return await call
    except AdminApiError as error:
        if error.code in codes:
            return NotFound()
        raise


def _restore_body(target: AdminTarget, call: CallRestore, identity: Identity | None) -> dict[str, Any]:
    """The body of a restore. AdminApiError if there is an identity and the target is not ``proven``."""
    # The reconcile checks this as well. The check is repeated where the private key would leave the process.
    if identity is not None and not target.proven:
        detail = f"{describe(target)} has no TLS certificate of a known CA, so no identity is sent to it."
        raise AdminApiError(Reason.IdentityNeedsTLS, detail, retryable=False)
    fields: dict[str, Any] = {
        "input_file": call.path,
        "backup_id": call.backup_id,
        "expected_sha256": call.expected_sha256,
        "safety_backup": call.safety_backup,
        "supersede": call.supersede,
        "request_id": call.request_id,
        "identity": identity.text if identity is not None else None,
        "accept_unsigned": True if call.accept_unsigned else None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _reset_body(call: CallReset) -> dict[str, Any]:
    """The body of a reset, confirmed."""
    return {
        "confirm": True,
        "rotate_admin_key": call.rotate_admin_key,
        "safety_backup": call.safety_backup,
        "supersede": call.supersede,
        "request_id": call.request_id,
    }
