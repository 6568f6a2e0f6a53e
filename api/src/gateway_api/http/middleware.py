"""What every request passes through before the framework sees it: a name for the logs, the key, the size of the body.

Plain ASGI, because a dependency would run after the body had been read. Whatever escapes from below becomes a body
of the contract here, so no other shape of error can leave the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException

from gateway_api import logs
from gateway_api.clock import utc_now
from gateway_api.codec.encode import stored_limit
from gateway_api.contract import (
    API_PREFIX,
    BACKUPS_PATH,
    HEALTH_PATH,
    METRICS_PATH,
    READY_PATH,
    REQUEST_ID_HEADER,
    REQUEST_ID_PATTERN,
    ErrorCode,
)
from gateway_api.errors import ApiError
from gateway_api.http.error_body import error_body, error_headers, error_status
from gateway_api.http.rate_limit import FailureLimit
from gateway_api.repository.manifest import MAX_MANIFEST_BYTES

if TYPE_CHECKING:
    from gateway_api.service import Service


def presented_key(authorization: bytes | None, apikey: bytes | None) -> bytes | None:
    """The key in the two headers that may carry one, Authorization first; None when there is none."""
    if authorization is not None:
        scheme, _, key = authorization.partition(b" ")
        if scheme.lower() == b"bearer" and key.strip():
            return key.strip()
    if apikey is not None and apikey.strip():
        return apikey.strip()
    return None


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES: Final = 64 * 1024
OPEN_PATHS: Final = (HEALTH_PATH, READY_PATH, METRICS_PATH)
"""What needs no key, and is served on the plain port when there is TLS."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_NAME: Final = re.compile(REQUEST_ID_PATTERN)
_ID_HEADER: Final = REQUEST_ID_HEADER.lower().encode()


async def send_error(scope: Scope, send: Send, error: ApiError) -> None:
    """Answers with the error's body."""
    body = json.dumps(error_body(scope["path"], error, utc_now())).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error_headers(error).items()]
    await send({"type": "http.response.start", "status": error_status(error), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def request_id_for(offered: bytes | None, key: bytes | None) -> str:
    """The id a request goes by: the one offered if it looks like one and is not the key itself, else a new one."""
    if offered is not None and offered != key:
        text = offered.decode("latin-1")
        if _NAME.match(text) and not text.endswith("\n"):
            return text
    return secrets.token_hex(8)


class Gate:
    """The outermost layer of the whole API."""

    def __init__(self, app: App, service: Service) -> None:
        self._app = app
        self._service = service
        self._failures = FailureLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        key = presented_key(_header(scope, b"authorization"), _header(scope, b"apikey"))
        name = request_id_for(_header(scope, _ID_HEADER), key)
        token = logs.request_id.set(name)
        began = time.monotonic()
        answer = _ResponseObserver(send, name)
        code: str | None = None
        try:
            await self._admit(scope, key)
            if scope["path"] == "/openapi.json":
                # Made once, which takes long enough to be felt by a probe.
                await asyncio.to_thread(scope["app"].openapi)
            await self._app(scope, _limited(scope, receive, self._limit(scope)), answer.send)
        except ApiError as error:
            code = error.code.value
            if not answer.status:
                await send_error(scope, answer.send, error)
        except Exception:
            code = ErrorCode.InternalError.value
            logs.event("internal_error", 40, failed=True)
            if answer.status:
                raise
            await send_error(scope, answer.send, ApiError(ErrorCode.InternalError))
        finally:
            seconds = time.monotonic() - began
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route: str | None = getattr(scope.get("route"), "path", None)
            code = code or scope.get("state", {}).get("code")
            self._service.metrics.answered(route, method, answer.status, code, seconds)
            if scope["path"] not in OPEN_PATHS or answer.status >= 400:
                logs.event(
                    "request",
                    method=method,
                    route=route,
                    status=answer.status,
                    code=code,
                    milliseconds=round(seconds * 1000, 1),
                )
            logs.request_id.reset(token)

    def _limit(self, scope: Scope) -> int:
        """How large a body may be: only an upload carries a file."""
        if scope["method"] == "PUT" and scope["path"].startswith(BACKUPS_PATH) and scope["path"].endswith("/content"):
            return stored_limit(self._service.settings.max_config_bytes) + MAX_MANIFEST_BYTES
        return MAX_BODY_BYTES

    async def _admit(self, scope: Scope, key: bytes | None) -> None:
        path: str = scope["path"]
        if path != API_PREFIX and not path.startswith(API_PREFIX + "/"):
            return
        kind = None if key is None else await self._service.accepts(key)
        if kind is None:
            peer = scope["client"][0] if scope.get("client") else "unknown"
            wait = self._failures.failed(peer, time.monotonic())
            logs.event("key_refused", 30, peer=peer, limited=wait is not None)
            if wait is not None:
                raise ApiError(ErrorCode.TooManyFailures, retry_after=wait)
            raise ApiError(ErrorCode.Unauthorized)
        scope.setdefault("state", {})["requested_by"] = kind


class _ResponseObserver:
    """Passes messages on, adds the request id, and remembers the status."""

    def __init__(self, send: Send, name: str) -> None:
        self._send = send
        self._name = name.encode()
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), (_ID_HEADER, self._name)]
        await self._send(message)


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    declared = _header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared[:18]) > limit:
        raise ApiError(ErrorCode.BodyTooLarge, f"a body has at most {limit} bytes")
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            # The one kind of exception that the framework passes on from here.
            raise HTTPException(413)
        return message

    return limited


class ProbesOnly:
    """The door on the plain port when TLS is on: probes pass, everything else is told where to go."""

    def __init__(self, app: App, tls_port: int) -> None:
        self._app = app
        self._hint = f"this port serves {', '.join(OPEN_PATHS)} only; use HTTPS on port {tls_port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            await send_error(scope, send, ApiError(ErrorCode.RouteNotFound, self._hint))
            return
        await self._app(scope, receive, send)
