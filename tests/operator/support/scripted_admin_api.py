"""An admin API whose faults a test controls, for the errors and delays that the real one cannot produce on demand.

It keeps its backups in memory and has no restores. Requests and answers are built with the models of the wire
contract, so that it cannot differ from the contract.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway_api import contract
from gateway_api.contract import ErrorCode

ADMIN_KEY = "scripted-admin-key-0123456789abcdefghij"
VOLUME_ID = "11111111111111111111111111111111"
GATEWAY_ID = "22222222222222222222222222222222"
CONFIG_DIGEST = "a" * 64


class ScriptedAdminApi:
    """The server in a thread with its own event loop, on one loopback address. Use as a context manager."""

    def __init__(self, host: str, port: int = 8001) -> None:
        self.host = host
        self.port = port
        self.volume_id: str | None = VOLUME_ID
        self.key = ADMIN_KEY
        self.backups: dict[str, contract.BackupRecord] = {}
        """Backups by their id."""
        self.calls: list[tuple[str, str]] = []
        """Method and path of every request."""
        self.backup_requests: list[dict[str, Any]] = []
        """Bodies of the backup calls."""
        self.backup_errors: list[ErrorCode] = []
        """Errors for the next backup calls, one each."""
        self.permanent_error: ErrorCode | None = None
        """The error for every backup call."""
        self.hang = False
        """Whether requests get no answer."""
        self.backup_seconds = 0.0
        """Duration of a backup call in seconds."""
        self.drop_responses = 0
        """How many of the next backup calls succeed, with the connection closed before the answer."""
        self.delete_error: ErrorCode | None = None
        """The error for every deletion."""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> ScriptedAdminApi:
        self._thread.start()
        self._started.wait(10)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self.build_app(), shutdown_timeout=0)
        try:
            self._loop.run_until_complete(runner.setup())
            self._loop.run_until_complete(web.TCPSite(runner, self.host, self.port).start())
        except OSError as error:
            self._error = error
        self._started.set()
        if self._error is None:
            self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def build_app(self) -> web.Application:
        """The application, for callers that run several of them in one event loop."""
        app = web.Application(middlewares=[self._authenticate])
        app.add_routes(
            [
                web.get(contract.SYSTEM_HEALTH_PATH, self._health),
                web.post(contract.BACKUP_PATH, self._backup),
                web.get(contract.BACKUPS_PATH, self._list),
                web.get(contract.BACKUPS_PATH + "/{id}", self._read),
                web.delete(contract.BACKUPS_PATH + "/{id}", self._delete),
                web.get(contract.RESTORES_PATH + "/{id}", self._no_restore),
            ]
        )
        return app

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append((request.method, request.path))
        if self.hang:
            await asyncio.sleep(3600)
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return error_response(ErrorCode.Unauthorized)
        response: web.StreamResponse = await handler(request)
        return response

    async def _health(self, request: web.Request) -> web.Response:
        return success_response(
            contract.SystemHealthData(
                status=contract.SystemStatus.healthy,
                version="0.1.0",
                config_path="/config/config.json",
                backup_path="/backups",
                config_valid=True,
                config_digest=CONFIG_DIGEST,
                sections_digest=CONFIG_DIGEST,
                total_configs=1,
                total_projects=1,
                total_users=1,
                total_api_keys=1,
                cache_enabled=False,
                cache_type="local",
                telemetry_enabled=False,
                guardrails_configured=False,
                uptime_seconds=1.0,
                gateway_id=GATEWAY_ID,
                volume_id=self.volume_id,
            )
        )

    async def _backup(self, request: web.Request) -> web.StreamResponse:
        body = contract.BackupRequest.model_validate(await request.json())
        self.backup_requests.append(body.model_dump())
        await asyncio.sleep(self.backup_seconds)
        if self.permanent_error is not None:
            return error_response(self.permanent_error)
        if self.backup_errors:
            return error_response(self.backup_errors.pop(0))
        assert self.volume_id is not None
        assert body.request_id is not None
        assert body.path is not None
        backup_id = contract.backup_id_for(self.volume_id, body.request_id)
        replayed = backup_id in self.backups
        for holder in self.backups.values():
            if body.record_name and holder.record_name == body.record_name and holder.request_id != body.request_id:
                return error_response(ErrorCode.NameUsed, holder)
        if not replayed:
            digest = hashlib.sha256(body.request_id.encode()).hexdigest()
            self.backups[backup_id] = contract.BackupRecord(
                backup_id=backup_id,
                path=body.path,
                request_id=body.request_id,
                created=datetime.now(UTC),
                gateway_id=GATEWAY_ID,
                volume_id=self.volume_id,
                content_sha256=CONFIG_DIGEST,
                content_bytes=100,
                stored_sha256=digest,
                stored_bytes=80,
                compression="zstd",
                counts=contract.Counts(configs=1, projects=1, users=1, api_keys=1),
                level=contract.BackupLevel.Verified,
                metadata=body.metadata,
                record_name=body.record_name,
            )
        if self.drop_responses:
            self.drop_responses -= 1
            assert request.transport is not None
            request.transport.close()
        return success_response(contract.BackupResult(**self.backups[backup_id].model_dump(), replayed=replayed))

    async def _list(self, request: web.Request) -> web.Response:
        """All backups in one page, or 304 if the client has this list already."""
        items = [
            contract.BackupEntry(
                kind="backup",
                path=one.path,
                size_bytes=one.stored_bytes,
                modified=one.created,
                backup_id=one.backup_id,
                record=one,
            )
            for one in sorted(self.backups.values(), key=lambda one: one.path)
            if request.query.get("path") in (None, one.path)
        ]
        page = contract.BackupPage(items=items, volume_id=self.volume_id, listed_at=datetime.now(UTC))
        content = page.model_dump_json(exclude={"listed_at"})
        etag = f'W/"{hashlib.sha256(content.encode()).hexdigest()}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        response = success_response(page)
        response.headers["ETag"] = etag
        return response

    async def _read(self, request: web.Request) -> web.Response:
        record = self.backups.get(request.match_info["id"])
        return error_response(ErrorCode.BackupNotFound) if record is None else success_response(record)

    async def _no_restore(self, request: web.Request) -> web.Response:
        return error_response(ErrorCode.RestoreNotFound)

    async def _delete(self, request: web.Request) -> web.Response:
        if self.delete_error is not None:
            return error_response(self.delete_error)
        backup_id = request.match_info["id"]
        existed = self.backups.pop(backup_id, None) is not None
        return success_response(contract.DeleteResult(backup_id=backup_id, existed=existed))


def success_response(data: Any) -> web.Response:
    body = {
        "message": "done",
        "data": data.model_dump(mode="json", by_alias=True),
        "timestamp": datetime.now(UTC).isoformat(),
    }
    return web.json_response(body)


def error_response(code: ErrorCode, existing: contract.BackupRecord | None = None) -> web.Response:
    body = {**contract.example_error(code), "detail": f"the test says {code.value}"}
    if existing is not None:
        body["existing"] = contract.ExistingBackup(
            backup_id=existing.backup_id, path=existing.path, created=existing.created
        ).model_dump(mode="json")
    return web.json_response(body, status=contract.ERRORS[code].status)
