"""The admin API over HTTP: one session for all gateways, every answer translated into the operator's own words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ValidationError

from gateway_api import contract
from gateway_operator.adapters.admin_wire import counts_of, refusal, restore_record, stored
from gateway_operator.domain.actions import CallBackup, CallRestore
from gateway_operator.domain.calls import Checked, Gone, Health, Listed, RestoreRecord, StoredBackup
from gateway_operator.domain.reasons import Reason
from gateway_operator.ports import AdminApiError, AdminTarget, Identity

CONNECT_TIMEOUT: Final = 3.0
SHORT_TIMEOUT: Final = 10.0
_BODY_LIMIT: Final = 8 * 1024 * 1024
_CONTEXTS_KEPT: Final = 256
_PAGE: Final = 500

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
        return stored(data)

    async def read_backup(self, target: AdminTarget, backup_id: str) -> StoredBackup | Gone:
        """The record of a backup."""
        path = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}"
        try:
            return stored(await self._call(target, "GET", path, contract.BackupRecord))
        except AdminApiError as error:
            if error.code in (contract.ErrorCode.BackupNotFound, contract.ErrorCode.Deleted):
                return Gone()
            raise

    async def find_file(self, target: AdminTarget, path: str) -> StoredBackup | Gone:
        """What lies at a path of the backup directory."""
        listed = await self._call(
            target, "GET", f"{contract.BACKUPS_PATH}?path={quote(path, safe='')}", contract.BackupPage, limit=self._long
        )
        if not listed.items:
            return Gone()
        (entry,) = listed.items
        if entry.record is not None and entry.kind != "changed":
            return stored(entry.record)
        found = await self._inspect(target, path)
        if found is None:
            return Gone()
        for problem in found.problems:
            raise AdminApiError(problem.code, f"{path}: {problem.message}", retryable=False, status=200)
        return StoredBackup(
            backup_id="",
            path=found.path,
            created=found.modified,
            gateway_id=found.gateway_id or "",
            volume_id=found.volume_id or "",
            gateway_version=None,
            content_sha256=found.content_sha256 or "",
            stored_sha256=found.stored_sha256,
            stored_bytes=found.stored_bytes,
            level=found.level.value if found.level else "",
            counts=counts_of(found.counts) if found.counts else None,
            content_bytes=found.content_bytes,
        )

    async def check_file(self, target: AdminTarget, backup_id: str, path: str) -> Checked | Gone:
        """Read a stored file again and prove it."""
        if not backup_id:
            seen = await self._inspect(target, path)
            if seen is None:
                return Gone()
            problems = tuple((one.code, one.message) for one in seen.problems)
            return Checked(seen.stored_sha256, seen.level.value if seen.level else None, None, problems)
        where = f"{contract.BACKUPS_PATH}/{quote(backup_id, safe='')}/verify"
        try:
            found = await self._call(target, "POST", where, contract.VerificationResult, {}, self._long)
        except AdminApiError as error:
            if error.code in (contract.ErrorCode.BackupNotFound, contract.ErrorCode.Deleted):
                return Gone()
            raise
        return Checked(
            found.stored_sha256,
            found.level.value if found.level else None,
            found.proof,
            tuple((one.code, one.message) for one in found.problems),
        )

    async def _inspect(self, target: AdminTarget, path: str) -> contract.FileInspection | None:
        where = f"{contract.BACKUPS_PATH}/inspect"
        try:
            return await self._call(target, "POST", where, contract.FileInspection, {"path": path}, self._long)
        except AdminApiError as error:
            if error.code == contract.ErrorCode.BackupNotFound:
                return None
            raise

    async def list_files(self, target: AdminTarget, token: str | None) -> tuple[Sequence[Listed], str | None]:
        """A page of the inventory, and the token of the next one, if there is one."""
        more = f"&continue={quote(token, safe='')}" if token else ""
        page = await self._call(
            target, "GET", f"{contract.BACKUPS_PATH}?limit={_PAGE}{more}", contract.BackupPage, limit=self._long
        )
        found = [
            Listed(one.path, one.kind, one.modified, stored(one.record) if one.record is not None else None)
            for one in page.items
        ]
        return found, page.continue_token

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
        return restore_record(data)

    async def read_restore(self, target: AdminTarget, request_id: str) -> RestoreRecord | Gone:
        """The journal of a restore."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}"
        try:
            return restore_record(await self._call(target, "GET", path, contract.RestoreResult))
        except AdminApiError as error:
            if error.code == contract.ErrorCode.RestoreNotFound:
                return Gone()
            raise

    async def commit(self, target: AdminTarget, request_id: str) -> RestoreRecord:
        """Make a restore final."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/commit"
        return restore_record(await self._call(target, "POST", path, contract.RestoreResult, {}, self._long))

    async def rollback(self, target: AdminTarget, request_id: str) -> RestoreRecord:
        """Put the previous config back, unless something else was written over the restored one."""
        path = f"{contract.RESTORES_PATH}/{quote(request_id, safe='')}/rollback"
        return restore_record(
            await self._call(target, "POST", path, contract.RestoreResult, {"force": False}, self._long)
        )

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
            raise refusal(status, headers, raw)
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
                return response.status, response.headers, await _whole(response)
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
