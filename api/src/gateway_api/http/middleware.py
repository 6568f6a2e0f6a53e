"""The ASGI middlewares that every request passes before the framework handles it.

From the outside in: `RequestIdMiddleware`, `AccessLogMiddleware`, `ErrorBodyMiddleware`, `AuthMiddleware`,
`OpenApiMiddleware`, `BodyLimitMiddleware`. `app.py` composes them. The order matters. A request without an accepted
key is refused before its body is read. An error of an inner middleware is logged with its request id.

They are plain ASGI, because a FastAPI dependency would run after the body has been read.
`ProbesOnlyMiddleware` wraps the whole application on the plain port when TLS is on.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

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
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway_api.metrics import Metrics

MAX_BODY_BYTES: Final = 64 * 1024
"""Limit of every request body, except that of an upload."""
PUBLIC_PATHS: Final = (HEALTH_PATH, READY_PATH, METRICS_PATH)
"""These paths need no admin key. With TLS the plain port serves only these."""
OPENAPI_PATH: Final = "/openapi.json"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_REQUEST_ID: Final = re.compile(REQUEST_ID_PATTERN)
_REQUEST_ID_HEADER: Final = REQUEST_ID_HEADER.lower().encode()


def presented_key(authorization: bytes | None, apikey: bytes | None) -> bytes | None:
    """The key in the `Authorization` header, else the one in the `apikey` header, else None."""
    if authorization is not None:
        scheme, _, key = authorization.partition(b" ")
        if scheme.lower() == b"bearer" and key.strip():
            return key.strip()
    if apikey is not None and apikey.strip():
        return apikey.strip()
    return None


def request_id_for(offered: bytes | None, key: bytes | None) -> str:
    """The offered id if it is valid and is not the admin key itself (ids are logged), else a new random id."""
    if offered is not None and offered != key:
        text = offered.decode("latin-1")
        if _REQUEST_ID.match(text) and not text.endswith("\n"):
            return text
    return secrets.token_hex(8)


async def send_error(scope: Scope, send: Send, error: ApiError) -> None:
    """Sends a whole response with the JSON body of ``error``."""
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


def _presented_key(scope: Scope) -> bytes | None:
    return presented_key(_header(scope, b"authorization"), _header(scope, b"apikey"))


class RequestIdMiddleware:
    """Gives each request an id: all log lines of the request carry it, and the response returns it in a header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_for(_header(scope, _REQUEST_ID_HEADER), _presented_key(scope))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (_REQUEST_ID_HEADER, request_id.encode())]
            await send(message)

        token = logs.request_id.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            logs.request_id.reset(token)


class AccessLogMiddleware:
    """Writes one log line a request and counts it in the metrics. Successful requests to public paths are not logged.

    The error code comes from ``scope["state"]["code"]``: the exception handlers and `ErrorBodyMiddleware` put it there.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0  # stays 0 if the client disconnects before the response starts

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started_at = time.monotonic()
        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            self._record(scope, status, time.monotonic() - started_at)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # Methods and routes become metric labels. A client must not be able to create labels, so an unknown method
        # is counted as "other", and a path is counted by its route.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route: str | None = getattr(scope.get("route"), "path", None)
        code: str | None = scope.get("state", {}).get("code")
        self._metrics.observe_response(route, method, status, code, seconds)
        if scope["path"] not in PUBLIC_PATHS or status >= 400:
            milliseconds = round(seconds * 1000, 1)
            logs.event("request", method=method, route=route, status=status, code=code, milliseconds=milliseconds)


class ErrorBodyMiddleware:
    """Turns every exception into the JSON error body of the contract. Unknown exceptions become `InternalError`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response_started = False

        async def send_and_note_start(message: Message) -> None:
            nonlocal response_started
            response_started = response_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_start)
        except ApiError as error:
            scope.setdefault("state", {})["code"] = error.code.value
            if not response_started:
                await send_error(scope, send, error)
        except Exception:
            scope.setdefault("state", {})["code"] = ErrorCode.InternalError.value
            logs.event("internal_error", 40, failed=True)
            if response_started:
                # The status line is sent already. uvicorn closes the connection, so that the client does not take
                # the truncated body for a whole one.
                raise
            await send_error(scope, send, ApiError(ErrorCode.InternalError))


class AuthMiddleware:
    """Requires an admin key below `/api/v1/system` and limits failed attempts per peer. Refuses WebSockets.

    ``find_key_kind`` returns the kind of an accepted key (for example "config"), or None for any other key. The kind
    goes to ``scope["state"]["requested_by"]``. The audit log records it.
    """

    def __init__(self, app: ASGIApp, find_key_kind: Callable[[bytes], Awaitable[str | None]]) -> None:
        self._app = app
        self._find_key_kind = find_key_kind
        self._failures = FailureLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and (scope["path"] == API_PREFIX or scope["path"].startswith(API_PREFIX + "/")):
            await self._authenticate(scope)
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> None:
        key = _presented_key(scope)
        kind = None if key is None else await self._find_key_kind(key)
        if kind is not None:
            scope.setdefault("state", {})["requested_by"] = kind
            return
        # Only failures count: a client with the right key is never limited by another one behind the same address.
        peer = scope["client"][0] if scope.get("client") else "unknown"
        wait = self._failures.record_failure(peer, time.monotonic())
        logs.event("key_refused", 30, peer=peer, limited=wait is not None)
        if wait is not None:
            raise ApiError(ErrorCode.TooManyFailures, retry_after=wait)
        raise ApiError(ErrorCode.Unauthorized)


class OpenApiMiddleware:
    """Builds the OpenAPI document in a thread before its first request. Building it would delay the probes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == OPENAPI_PATH:
            await asyncio.to_thread(scope["app"].openapi)  # FastAPI caches the document
        await self._app(scope, receive, send)


class BodyLimitMiddleware:
    """Limits the request body by its `Content-Length`, and by the bytes received where that header is missing."""

    def __init__(self, app: ASGIApp, max_config_bytes: int) -> None:
        self._app = app
        self._upload_limit = stored_limit(max_config_bytes) + MAX_MANIFEST_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload_limit if _is_upload(scope) else MAX_BODY_BYTES
        declared = _header(scope, b"content-length")
        # Python refuses to convert more than 4300 digits; 18 are enough to exceed every limit.
        if declared is not None and declared.isdigit() and int(declared[:18]) > limit:
            raise ApiError(ErrorCode.BodyTooLarge, f"a body has at most {limit} bytes")
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                # FastAPI wraps other exceptions that are raised while it reads a body.
                raise HTTPException(413)
            return message

        await self._app(scope, receive_limited, send)


def _is_upload(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "PUT" and path.startswith(BACKUPS_PATH) and path.endswith("/content")


class ProbesOnlyMiddleware:
    """Serves only the public paths. For other paths the error names the TLS port."""

    def __init__(self, app: ASGIApp, tls_port: int) -> None:
        self._app = app
        self._detail = f"this port serves {', '.join(PUBLIC_PATHS)} only; use HTTPS on port {tls_port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            await send_error(scope, send, ApiError(ErrorCode.RouteNotFound, self._detail))
            return
        await self._app(scope, receive, send)
