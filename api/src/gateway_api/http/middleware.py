"""The ASGI middlewares that every request passes before the framework handles it.

From the outside in: `PacingMiddleware`, `RequestIdMiddleware`, `AccessLogMiddleware`, `ErrorBodyMiddleware`,
`AuthMiddleware`, and those of `body_middleware.py`. `app.py` composes them. The order matters.
A request without an accepted key is refused before its body is read. An error of an inner middleware is logged with
its request id.

They are plain ASGI, because a FastAPI dependency would run after the body has been read.
`ProbesOnlyMiddleware` wraps the whole application on the plain port when TLS is on.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Final

from gateway_api import logs
from gateway_api.clock import utc_now
from gateway_api.contract import (
    API_PREFIX,
    HEALTH_PATH,
    METRICS_PATH,
    READY_PATH,
    REQUEST_ID_HEADER,
    REQUEST_ID_PATTERN,
    ErrorCode,
)
from gateway_api.errors import ApiError
from gateway_api.gateway_config.admin_keys import key_digest
from gateway_api.http.admission import KeyAdmission, wait_for_pace
from gateway_api.http.error_body import error_body, error_headers, error_status
from gateway_api.http.protocol import CONNECTION_SCOPE_KEY, AdminProtocol
from gateway_api.http.rate_limit import Pacer, peer_group

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway_api.metrics import Metrics

PUBLIC_PATHS: Final = (HEALTH_PATH, READY_PATH, METRICS_PATH)
"""These paths need no admin key. With TLS the plain port serves only these."""
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


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of the first header ``name``, given in lower case, or None."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def _presented_key(scope: Scope) -> bytes | None:
    return presented_key(header(scope, b"authorization"), header(scope, b"apikey"))


class RequestIdMiddleware:
    """Gives each request an id: all log lines of the request carry it, and the response returns it in a header.

    Responses of paths that need a key can hold secrets, so they also forbid caches to store them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_for(header(scope, _REQUEST_ID_HEADER), _presented_key(scope))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (_REQUEST_ID_HEADER, request_id.encode())]
                if _needs_key(scope):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
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

        async def send_and_record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started_at = time.monotonic()
        try:
            await self._app(scope, receive, send_and_record_status)
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
            # A client without a key must not be able to fill the log.
            log = logs.event if "requested_by" in scope.get("state", {}) else logs.limited_event
            log("request", method=method, route=route, status=status, code=code, milliseconds=milliseconds)


class ErrorBodyMiddleware:
    """Turns every exception into the JSON error body of the contract. Unknown exceptions become `InternalError`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response_started = False

        async def send_and_record_start(message: Message) -> None:
            nonlocal response_started
            response_started = response_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_and_record_start)
        except ApiError as error:
            scope.setdefault("state", {})["code"] = error.code.value
            if not response_started:
                await send_error(scope, send, error)
        except Exception:
            scope.setdefault("state", {})["code"] = ErrorCode.InternalError.value
            logs.event("internal_error", logging.ERROR, failed=True)
            if response_started:
                # The status line is sent already. uvicorn closes the connection, so that the client does not take
                # the truncated body for a whole one.
                raise
            await send_error(scope, send, ApiError(ErrorCode.InternalError))


def _peer(scope: Scope) -> str:
    return peer_group(scope["client"][0]) if scope.get("client") else "unknown"


def _needs_key(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["type"] == "http" and (path == API_PREFIX or path.startswith(API_PREFIX + "/"))


class PacingMiddleware:
    """Delays the requests of a peer that sends too many without an accepted key. ``pacer`` is None if it is off."""

    def __init__(self, app: ASGIApp, keys: KeyAdmission, pacer: Pacer | None) -> None:
        self._app = app
        self._keys = keys
        self._pacer = pacer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._pacer is not None and scope["type"] == "http":
            # A recognized key is not delayed. It is checked later: this decides about time only.
            recognized = _needs_key(scope) and self._keys.recognizes(_presented_key(scope))
            if not recognized:
                await wait_for_pace(self._pacer, _peer(scope))
        await self._app(scope, receive, send)


class AuthMiddleware:
    """Requires an admin key below `/api/v1/system` and limits failed attempts per peer. Refuses WebSockets.

    The kind of the accepted key (for example "config") goes to ``scope["state"]["requested_by"]``. The audit log
    records it. The key's SHA-256 goes to ``key_sha256``: a dry run tells whether the key is accepted afterwards.
    """

    def __init__(self, app: ASGIApp, keys: KeyAdmission) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if _needs_key(scope):
            presented = _presented_key(scope)
            kind = await self._keys.authenticate(presented, _peer(scope))
            scope.setdefault("state", {}).update(requested_by=kind, key_sha256=key_digest(presented or b""))
            connection = scope.get(CONNECTION_SCOPE_KEY)
            if isinstance(connection, AdminProtocol):
                connection.accept_key()
        await self._app(scope, receive, send)


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
