"""Implements the port AdminApi over HTTP, with one session for all gateways.

Answers are parsed into the models of ``gateway_api.contract``. Each error becomes an AdminApiError that says whether a
repeated call may succeed and whether the outcome of the call is unknown. The port documents the methods.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Collection, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ValidationError

from gateway_api import contract
from gateway_operator.adapters.admin_errors import error_from_response
from gateway_operator.adapters.restore_requests import describe, reset_body, restore_body
from gateway_operator.domain.model.actions import CallBackup, CallReset, CallRestore
from gateway_operator.domain.model.admin_api import BackupFile, FileCheck, NotFound, TaggedPage
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.ports import AdminApiError, AdminTarget, Identity

CONNECT_TIMEOUT: Final = 3.0
SHORT_TIMEOUT: Final = 10.0
_MAX_BODY_BYTES: Final = 8 * 1024 * 1024
_MAX_CACHED: Final = 256
_PAGE_SIZE: Final = 500

_NO_BACKUP: Final = frozenset({contract.ErrorCode.BackupNotFound, contract.ErrorCode.Deleted})
_NO_RESTORE: Final = frozenset({contract.ErrorCode.RestoreNotFound})

M = TypeVar("M", bound=BaseModel)


class HttpAdminApi:
    """The port AdminApi over aiohttp. ``long_timeout`` is the limit in seconds for calls that read or write files."""

    def __init__(self, *, calls_in_flight: int = 32, long_timeout: float = 120.0) -> None:
        self._long = long_timeout
        self._in_flight = asyncio.Semaphore(calls_in_flight)
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._accepted_keys: dict[tuple[str, ...], str] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def health(self, target: AdminTarget) -> contract.SystemHealthData:
        return await self._call(target, "GET", contract.SYSTEM_HEALTH_PATH, contract.SystemHealthData)

    async def backup(self, target: AdminTarget, call: CallBackup) -> contract.BackupRecord:
        body = {
            "path": call.path,
            "request_id": call.request_id,
            "metadata": dict(call.metadata),
            "record_name": call.record_name,
        }
        limit = min(call.timeout, self._long)
        return await self._call(target, "POST", contract.BACKUP_PATH, contract.BackupResult, body, limit)

    async def read_backup(self, target: AdminTarget, backup_id: str) -> contract.BackupRecord | NotFound:
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        return await _or_not_found(self._call(target, "GET", path, contract.BackupRecord))

    async def find_file(self, target: AdminTarget, path: str) -> BackupFile | NotFound:
        listed = await self._call(
            target, "GET", f"{contract.BACKUPS_PATH}?path={quote(path, safe='')}", contract.BackupPage, limit=self._long
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
        return await _or_not_found(self._call(target, "POST", verify, contract.VerificationResult, {}, self._long))

    async def _inspect(self, target: AdminTarget, path: str) -> contract.FileInspection | NotFound:
        inspect = f"{contract.BACKUPS_PATH}/inspect"
        return await _or_not_found(
            self._call(target, "POST", inspect, contract.FileInspection, {"path": path}, self._long)
        )

    async def list_files(self, target: AdminTarget, token: str | None) -> contract.BackupPage:
        continuation = f"&continue={quote(token, safe='')}" if token else ""
        path = f"{contract.BACKUPS_PATH}?limit={_PAGE_SIZE}{continuation}"
        return await self._call(target, "GET", path, contract.BackupPage, limit=self._long)

    async def list_if_changed(self, target: AdminTarget, etag: str) -> TaggedPage:
        path = f"{contract.BACKUPS_PATH}?limit={_PAGE_SIZE}"
        async with self._in_flight:
            status, headers, raw = await self._try_keys(target, "GET", path, None, self._long, etag)
        tag = headers.get("ETag", "")
        if status == 304:
            return TaggedPage(None, etag)
        return TaggedPage(_parse(target, contract.BackupPage, status, headers, raw), tag)

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        result = await _or_not_found(self._call(target, "DELETE", path, contract.DeleteResult, limit=self._long))
        return isinstance(result, contract.DeleteResult) and result.existed

    async def restore(
        self, target: AdminTarget, call: CallRestore, identity: Identity | None
    ) -> contract.RestoreResult:
        body = restore_body(target, call, identity)
        limit = min(call.timeout, self._long)
        return await self._call(target, "POST", contract.RESTORE_PATH, contract.RestoreResult, body, limit)

    async def reset(self, target: AdminTarget, call: CallReset) -> contract.RestoreResult:
        limit = min(call.timeout, self._long)
        return await self._call(target, "POST", contract.RESET_PATH, contract.RestoreResult, reset_body(call), limit)

    async def plan(
        self, target: AdminTarget, call: CallRestore | CallReset, identity: Identity | None
    ) -> contract.RestorePlan:
        if isinstance(call, CallReset):
            path, body = contract.RESET_PATH, reset_body(call)
        else:
            path, body = contract.RESTORE_PATH, restore_body(target, call, identity)
        # Without a request id: the dry run is no operation that could be repeated.
        body = {key: value for key, value in body.items() if key != "request_id"} | {"dry_run": True}
        return await self._call(target, "POST", path, contract.RestorePlan, body, min(call.timeout, self._long))

    async def read_restore(self, target: AdminTarget, request_id: str) -> contract.RestoreResult | NotFound:
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}"
        return await _or_not_found(self._call(target, "GET", path, contract.RestoreResult), _NO_RESTORE)

    async def commit(self, target: AdminTarget, request_id: str) -> contract.RestoreResult:
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/commit"
        return await self._call(target, "POST", path, contract.RestoreResult, {}, self._long)

    async def rollback(self, target: AdminTarget, request_id: str, *, force: bool) -> contract.RestoreResult:
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/rollback"
        # Without force, the admin API refuses if the restored config was changed since.
        return await self._call(target, "POST", path, contract.RestoreResult, {"force": force}, self._long)

    def backup_id(self, volume_id: str, request_id: str) -> str:
        return contract.backup_id_for(volume_id, request_id)

    async def _call(
        self,
        target: AdminTarget,
        method: str,
        path: str,
        model: type[M],
        body: Mapping[str, Any] | None = None,
        limit: float = SHORT_TIMEOUT,
    ) -> M:
        async with self._in_flight:
            status, headers, raw = await self._try_keys(target, method, path, body, limit)
        return _parse(target, model, status, headers, raw)

    async def _try_keys(
        self,
        target: AdminTarget,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        limit: float,
        etag: str = "",
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send the request with each key until one is accepted. A request that is answered with 401 has no effect.

        The key that was accepted last comes first, because the admin API delays the answers to wrong keys.
        """
        accepted = self._accepted_keys.get(target.keys)
        for key in sorted(target.keys, key=lambda one: one != accepted):
            answer = await self._exchange(target, key, method, path, body, limit, etag)
            if answer[0] != 401:
                if len(target.keys) > 1:
                    self._remember_key(target.keys, key)
                break
        return answer

    def _remember_key(self, keys: tuple[str, ...], key: str) -> None:
        if len(self._accepted_keys) >= _MAX_CACHED:
            self._accepted_keys.clear()
        self._accepted_keys[keys] = key

    async def _exchange(
        self,
        target: AdminTarget,
        key: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        limit: float,
        etag: str,
    ) -> tuple[int, Mapping[str, str], bytes]:
        endpoint = target.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        url = f"{'https' if endpoint.tls else 'http'}://{host}:{endpoint.port}{path}"
        try:
            async with self._open().request(
                method,
                url,
                json=body,
                headers={"Authorization": f"Bearer {key}", **({"If-None-Match": etag} if etag else {})},
                ssl=self._context(target) if endpoint.tls else True,
                server_hostname=endpoint.server_name,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_TIMEOUT),
            ) as response:
                return response.status, response.headers, await _read_body(response)
        except aiohttp.ConnectionTimeoutError:
            detail = f"{describe(target)} did not accept a connection within {CONNECT_TIMEOUT:.0f} s."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True) from None
        except TimeoutError:
            # The request was sent: it may have been executed, or may still be running.
            detail = f"{describe(target)} did not answer {method} {path} within {limit:.0f} s."
            raise AdminApiError(Reason.CallTimedOut, detail, retryable=True, outcome_unknown=True) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            detail = f"The certificate of {describe(target)} is not trusted: {_tls_error_text(error)}."
            raise AdminApiError(Reason.CertificateNotTrusted, detail, retryable=True) from None
        except aiohttp.ClientConnectorError as error:
            detail = f"{describe(target)} refused the connection: {error.os_error.strerror or error.os_error}."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True) from None
        except (aiohttp.ClientError, OSError) as error:
            # The connection was established, so the request may have been executed.
            detail = f"The connection to {describe(target)} broke during {method} {path} ({type(error).__name__})."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True, outcome_unknown=True) from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Another pod may get the address of a deleted one, so idle connections are closed soon.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5, force_close=False)
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _context(self, target: AdminTarget) -> ssl.SSLContext:
        """The TLS context that trusts only the gateway's CA, or the system's CAs if there is none.

        It is cached, because creating one takes milliseconds.
        """
        cached = self._contexts.get(target.ca)
        if cached is not None:
            return cached
        try:
            context = ssl.create_default_context(cadata=target.ca)
        except (ssl.SSLError, ValueError, TypeError):
            detail = "A certificate in the annotated CA Secret, key ca.crt, is damaged."
            raise AdminApiError(Reason.CertificateMissing, detail, retryable=True) from None
        if len(self._contexts) >= _MAX_CACHED:
            self._contexts.clear()
        self._contexts[target.ca] = context
        return context


def _parse(target: AdminTarget, model: type[M], status: int, headers: Mapping[str, str], raw: bytes) -> M:
    if status >= 400:
        raise error_from_response(status, headers, raw)
    try:
        return contract.Envelope[model].model_validate_json(raw).data  # type: ignore[valid-type]
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        detail = (
            f"{describe(target)} answered HTTP {status} with a body that is not an admin API answer "
            f"({f'invalid field: {field}' if field else 'not JSON'})."
        )
        # The call may have been executed: the caller must check its effect before it decides again.
        raise AdminApiError(
            Reason.UnexpectedAnswer, detail, retryable=True, status=status, outcome_unknown=True
        ) from None


async def _or_not_found(call: Awaitable[M], codes: Collection[str] = _NO_BACKUP) -> M | NotFound:
    try:
        return await call
    except AdminApiError as error:
        if error.code in codes:
            return NotFound()
        raise


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. AdminApiError if it is larger than ``_MAX_BODY_BYTES``, which no admin API answer is."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            detail = "The answer is too large for an admin API answer."
            raise AdminApiError(Reason.UnexpectedAnswer, detail, retryable=True)
    return bytes(body)


def _tls_error_text(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> str:
    inner = getattr(error, "certificate_error", None) or error.os_error
    return str(getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or inner)
