"""The admin API over HTTP: one session for all gateways, every answer translated into the operator's own words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ValidationError

from gateway_api import contract
from gateway_operator.domain.actions import CallBackup, CallRestore
from gateway_operator.domain.calls import Counts, Gone, Health, Journal, RestoreRecord, StoredBackup
from gateway_operator.domain.names import ADMIN_KEY_SECRET
from gateway_operator.domain.reasons import Reason
from gateway_operator.ports import AdminApiError, AdminTarget, Identity

CONNECT_TIMEOUT: Final = 3.0
SHORT_TIMEOUT: Final = 10.0
_BODY_LIMIT: Final = 8 * 1024 * 1024
_CONTEXTS_KEPT: Final = 256

_BY_NAME: Final = {code.value: spec for code, spec in contract.ERRORS.items()}
M = TypeVar("M", bound=BaseModel)

KEY_REFUSED: Final = "The admin API refused the operator's key."
KEY_CURE: Final = (
    f"Compare the Secret that the workload's annotation {ADMIN_KEY_SECRET} names with the one that its pod mounts."
)


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

    async def health(self, target: AdminTarget) -> Health:
        """The detailed health."""
        data = await self._call(target, "GET", contract.SYSTEM_HEALTH_PATH, contract.SystemHealthData)
        return Health(
            status=data.status.value,
            config_path=data.config_path,
            config_valid=data.config_valid,
            config_digest=data.config_digest,
            sections_digest=data.sections_digest,
            gateway_id=data.gateway_id,
            volume_id=data.volume_id,
            pending_request=data.pending_restore.request_id if data.pending_restore else None,
            encrypted=data.encryption == "require",
            problems=tuple(issue.message for issue in data.issues[:5]),
        )

    async def backup(self, target: AdminTarget, call: CallBackup) -> StoredBackup:
        """Make a backup, or give the one that this request id has made."""
        sent = {"path": call.path, "request_id": call.request_id, "metadata": dict(call.metadata)}
        data = await self._call(
            target, "POST", contract.BACKUP_PATH, contract.BackupResult, sent, min(call.timeout, self._long)
        )
        return _stored(data)

    async def read_backup(self, target: AdminTarget, backup_id: str) -> StoredBackup | Gone:
        """The record of a backup."""
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        try:
            return _stored(await self._call(target, "GET", path, contract.BackupRecord))
        except AdminApiError as error:
            if error.code in (contract.ErrorCode.BackupNotFound, contract.ErrorCode.Deleted):
                return Gone()
            raise

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        """Delete a backup's file. False if it was gone already."""
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        try:
            data = await self._call(target, "DELETE", path, contract.DeleteResult, limit=self._long)
        except AdminApiError as error:
            if error.code in (contract.ErrorCode.BackupNotFound, contract.ErrorCode.Deleted):
                return False
            raise
        return data.existed

    async def restore(self, target: AdminTarget, call: CallRestore, identity: Identity | None) -> RestoreRecord:
        """Replace the config, or give what this request id has done. An identity goes over proven TLS or not at all."""
        if identity is not None and not target.proven:
            detail = f"{_where(target)} is not proven by a CA: an identity is not sent to it."
            raise AdminApiError(Reason.IdentityNeedsTLS, detail, retryable=False)
        wanted: dict[str, Any] = {
            "input_file": call.path,
            "backup_id": call.backup_id,
            "expected_sha256": call.expected_sha256,
            "safety_backup": call.safety_backup,
            "supersede": False,
            "request_id": call.request_id,
            "identity": identity.text if identity is not None else None,
            "accept_unsigned": True if call.accept_unsigned else None,
        }
        sent = {key: value for key, value in wanted.items() if value is not None}
        data = await self._call(
            target, "POST", contract.RESTORE_PATH, contract.RestoreResult, sent, min(call.timeout, self._long)
        )
        return _record(data)

    async def read_restore(self, target: AdminTarget, request_id: str) -> RestoreRecord | Gone:
        """The journal of a restore."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}"
        try:
            return _record(await self._call(target, "GET", path, contract.RestoreResult))
        except AdminApiError as error:
            if error.code == contract.ErrorCode.RestoreNotFound:
                return Gone()
            raise

    async def commit(self, target: AdminTarget, request_id: str) -> RestoreRecord:
        """Make a restore final."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/commit"
        return _record(await self._call(target, "POST", path, contract.RestoreResult, {}, self._long))

    async def rollback(self, target: AdminTarget, request_id: str) -> RestoreRecord:
        """Put the previous config back, unless something else was written over the restored one."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/rollback"
        return _record(await self._call(target, "POST", path, contract.RestoreResult, {"force": False}, self._long))

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
            raise _refusal(status, headers, raw)
        try:
            return contract.Envelope[model].model_validate_json(raw).data  # type: ignore[valid-type]
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
            detail = (
                f"{_where(target)} answered {status} with a body that is not the admin API's ({where or 'not JSON'})."
            )
            raise AdminApiError(Reason.UnexpectedAnswer, detail, retryable=True, status=status, unsure=True) from None

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
                return response.status, response.headers, await response.content.read(_BODY_LIMIT)
        except aiohttp.ConnectionTimeoutError:
            detail = f"{_where(target)} did not accept a connection within {CONNECT_TIMEOUT:.0f} s."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True) from None
        except TimeoutError:
            detail = f"{_where(target)} did not answer {method} {path} within {limit:.0f} s."
            raise AdminApiError(Reason.CallTimedOut, detail, retryable=True, unsure=True) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            detail = f"The certificate of {_where(target)} is not trusted: {_tls_words(error)}."
            raise AdminApiError(Reason.CertificateNotTrusted, detail, retryable=True) from None
        except aiohttp.ClientConnectorError as error:
            detail = f"{_where(target)} refused the connection: {error.os_error.strerror or error.os_error}."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True) from None
        except (aiohttp.ClientError, OSError) as error:
            detail = f"The connection to {_where(target)} broke during {method} {path} ({type(error).__name__})."
            raise AdminApiError(Reason.Unreachable, detail, retryable=True, unsure=True) from None

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


def _where(target: AdminTarget) -> str:
    endpoint = target.endpoint
    return f"pod {endpoint.pod} ({endpoint.host}:{endpoint.port})"


def _tls_words(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> str:
    inner = getattr(error, "certificate_error", None) or error.os_error
    return str(getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or inner)


def _refusal(status: int, headers: Mapping[str, str], raw: bytes) -> AdminApiError:
    """An error body as an exception. A code this version does not know goes by its HTTP status."""
    try:
        body = contract.ErrorBody.model_validate_json(raw)
    except ValidationError:
        retryable = status >= 500 or status in (408, 429)
        detail = f"HTTP {status} with a body that is not the admin API's."
        return AdminApiError(Reason.UnexpectedAnswer, detail, retryable=retryable, status=status, unsure=status >= 500)
    known = _BY_NAME.get(body.code)
    refused = body.code == contract.ErrorCode.Unauthorized  # the API's own words are for people with curl
    return AdminApiError(
        body.code,
        KEY_REFUSED if refused else body.detail,
        retryable=known.retryable if known else status >= 500,
        status=status,
        cure=KEY_CURE if refused else known.cure if known else "",
        retry_after=_seconds(headers.get("Retry-After")),
        unsure=status >= 500 or body.code == contract.ErrorCode.InProgress,
    )


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


def _stored(data: contract.BackupRecord) -> StoredBackup:
    return StoredBackup(
        backup_id=data.backup_id,
        path=data.path,
        created=data.created,
        gateway_id=data.gateway_id,
        volume_id=data.volume_id,
        gateway_version=data.gateway_version,
        content_sha256=data.content_sha256,
        stored_sha256=data.stored_sha256,
        stored_bytes=data.stored_bytes,
        level=data.level.value,
        counts=_counts(data.counts),
        recipients=tuple(data.recipients),
        signed_by=tuple(data.signed_by),
    )


def _counts(data: contract.Counts) -> Counts:
    return Counts(data.configs, data.projects, data.users, data.api_keys, data.disabled_api_keys)


def _record(data: contract.RestoreResult) -> RestoreRecord:
    return RestoreRecord(
        request_id=data.request_id,
        state=Journal(data.state.value),
        previous_sha256=data.previous_sha256,
        restored_sha256=data.restored_sha256,
        sections_digest=data.sections_digest,
        safety_kind=data.safety_backup.kind,
        safety_path=data.safety_backup.path,
        counts=_counts(data.counts),
    )
