"""The admin API over HTTP: one session for all gateways. Answers are parsed into the contract's models."""

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
from gateway_operator.domain.actions import CallBackup, CallRestore
from gateway_operator.domain.calls import BackupFile, FileCheck, NotFound
from gateway_operator.domain.reasons import Reason
from gateway_operator.ports import AdminApiError, AdminTarget, Identity

CONNECT_TIMEOUT: Final = 3.0
SHORT_TIMEOUT: Final = 10.0
_BODY_LIMIT: Final = 8 * 1024 * 1024
_CONTEXTS_KEPT: Final = 256
_PAGE: Final = 500

_NO_BACKUP: Final = frozenset({contract.ErrorCode.BackupNotFound, contract.ErrorCode.Deleted})
_NO_RESTORE: Final = frozenset({contract.ErrorCode.RestoreNotFound})

M = TypeVar("M", bound=BaseModel)


class HttpAdminApi:
    """The port AdminApi over aiohttp. ``long_timeout`` bounds the calls that work on files."""

    def __init__(self, *, calls_in_flight: int = 32, long_timeout: float = 120.0) -> None:
        self._long = long_timeout
        self._in_flight = asyncio.Semaphore(calls_in_flight)
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str | None, ssl.SSLContext] = {}

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def health(self, target: AdminTarget) -> contract.SystemHealthData:
        """The detailed health."""
        return await self._call(target, "GET", contract.SYSTEM_HEALTH_PATH, contract.SystemHealthData)

    async def backup(self, target: AdminTarget, call: CallBackup) -> contract.BackupRecord:
        """Make a backup, or return the one that this request id has made."""
        body = {"path": call.path, "request_id": call.request_id, "metadata": dict(call.metadata)}
        limit = min(call.timeout, self._long)
        return await self._call(target, "POST", contract.BACKUP_PATH, contract.BackupResult, body, limit)

    async def read_backup(self, target: AdminTarget, backup_id: str) -> contract.BackupRecord | NotFound:
        """The record of a backup."""
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        return await _or_not_found(self._call(target, "GET", path, contract.BackupRecord))

    async def find_file(self, target: AdminTarget, path: str) -> BackupFile | NotFound:
        """The file at a path of the backup directory."""
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
        """Read a stored file again and verify it; by its path where it has no id."""
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
        """A page of the inventory."""
        more = f"&continue={quote(token, safe='')}" if token else ""
        path = f"{contract.BACKUPS_PATH}?limit={_PAGE}{more}"
        return await self._call(target, "GET", path, contract.BackupPage, limit=self._long)

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        """Delete a backup's file. False if it did not exist."""
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        result = await _or_not_found(self._call(target, "DELETE", path, contract.DeleteResult, limit=self._long))
        return isinstance(result, contract.DeleteResult) and result.existed

    async def restore(
        self, target: AdminTarget, call: CallRestore, identity: Identity | None
    ) -> contract.RestoreResult:
        """Replace the config, or return what this request id has done. An identity is sent only over TLS with a CA."""
        if identity is not None and not target.proven:
            detail = f"{_where(target)} is not proven by a CA: an identity is not sent to it."
            raise AdminApiError(Reason.IdentityNeedsTLS, detail, retryable=False)
        fields: dict[str, Any] = {
            "input_file": call.path,
            "backup_id": call.backup_id,
            "expected_sha256": call.expected_sha256,
            "safety_backup": call.safety_backup,
            "supersede": False,
            "request_id": call.request_id,
            "identity": identity.text if identity is not None else None,
            "accept_unsigned": True if call.accept_unsigned else None,
        }
        body = {key: value for key, value in fields.items() if value is not None}
        limit = min(call.timeout, self._long)
        return await self._call(target, "POST", contract.RESTORE_PATH, contract.RestoreResult, body, limit)

    async def read_restore(self, target: AdminTarget, request_id: str) -> contract.RestoreResult | NotFound:
        """The journal of a restore."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}"
        return await _or_not_found(self._call(target, "GET", path, contract.RestoreResult), _NO_RESTORE)

    async def commit(self, target: AdminTarget, request_id: str) -> contract.RestoreResult:
        """Make a restore final."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/commit"
        return await self._call(target, "POST", path, contract.RestoreResult, {}, self._long)

    async def rollback(self, target: AdminTarget, request_id: str) -> contract.RestoreResult:
        """Put the previous config back, unless the restored one has been changed since."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/rollback"
        return await self._call(target, "POST", path, contract.RestoreResult, {"force": False}, self._long)

    def backup_id(self, volume_id: str, request_id: str) -> str:
        """The id of the backup that a request makes on a volume."""
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
            status, headers, raw = await self._exchange(target, method, path, body, limit)
        if status >= 400:
            raise error_from_response(status, headers, raw)
        try:
            return contract.Envelope[model].model_validate_json(raw).data  # type: ignore[valid-type]
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
            detail = (
                f"{_where(target)} answered {status} with a body that is not the admin API's ({where or 'not JSON'})."
            )
            raise AdminApiError(
                Reason.UnexpectedAnswer, detail, retryable=True, status=status, outcome_unknown=True
            ) from None

    async def _exchange(
        self, target: AdminTarget, method: str, path: str, body: Mapping[str, Any] | None, limit: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        endpoint = target.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        url = f"{'https' if endpoint.tls else 'http'}://{host}:{endpoint.port}{path}"
        try:
            async with self._open().request(
                method,
                url,
                json=body,
                headers={"Authorization": f"Bearer {target.key}"},
                ssl=self._context(target) if endpoint.tls else True,
                server_hostname=endpoint.server_name,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_TIMEOUT),
            ) as response:
                return response.status, response.headers, await _whole(response)
        except aiohttp.ConnectionTimeoutError:
            detail = f"{_where(target)} did not accept a connection within {CONNECT_TIMEOUT:.0f} s."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True) from None
        except TimeoutError:
            detail = f"{_where(target)} did not answer {method} {path} within {limit:.0f} s."
            raise AdminApiError(Reason.CallTimedOut, detail, retryable=True, outcome_unknown=True) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            detail = f"The certificate of {_where(target)} is not trusted: {_tls_words(error)}."
            raise AdminApiError(Reason.CertificateNotTrusted, detail, retryable=True) from None
        except aiohttp.ClientConnectorError as error:
            detail = f"{_where(target)} refused the connection: {error.os_error.strerror or error.os_error}."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True) from None
        except (aiohttp.ClientError, OSError) as error:
            detail = f"The connection to {_where(target)} broke during {method} {path} ({type(error).__name__})."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True, outcome_unknown=True) from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A pod's address may be another pod's tomorrow: idle connections are given up soon.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5, force_close=False)
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _context(self, target: AdminTarget) -> ssl.SSLContext:
        """The trust for a CA, made once: making one costs milliseconds. Only that CA counts, where there is one."""
        known = self._contexts.get(target.ca)
        if known is not None:
            return known
        try:
            context = ssl.create_default_context(cadata=target.ca)
        except (ssl.SSLError, ValueError):
            detail = "The annotated CA Secret does not hold a PEM certificate under ca.crt."
            raise AdminApiError(Reason.CertificateMissing, detail, retryable=True) from None
        if len(self._contexts) >= _CONTEXTS_KEPT:
            self._contexts.clear()
        self._contexts[target.ca] = context
        return context


async def _or_not_found(call: Awaitable[M], codes: Collection[str] = _NO_BACKUP) -> M | NotFound:
    try:
        return await call
    except AdminApiError as error:
        if error.code in codes:
            return NotFound()
        raise


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, unless it is larger than any that the admin API sends."""
    pieces = bytearray()
    async for piece in response.content.iter_any():
        pieces += piece
        if len(pieces) > _BODY_LIMIT:
            raise AdminApiError(
                Reason.UnexpectedAnswer, "The answer is too large to be the admin API's.", retryable=True
            )
    return bytes(pieces)


def _where(target: AdminTarget) -> str:
    endpoint = target.endpoint
    return f"pod {endpoint.pod} ({endpoint.host}:{endpoint.port})"


def _tls_words(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> str:
    inner = getattr(error, "certificate_error", None) or error.os_error
    return str(getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or inner)
