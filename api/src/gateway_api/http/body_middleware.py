"""The ASGI middlewares for bodies: limits of request bodies, and HEAD, which is GET without a response body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

from gateway_api.codec.encode import stored_limit
from gateway_api.contract import BACKUPS_PATH, ErrorCode
from gateway_api.errors import ApiError
from gateway_api.http.middleware import header
from gateway_api.repository.manifest import MAX_MANIFEST_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 64 * 1024
"""Limit of every request body, except that of an upload."""


class BodyLimitMiddleware:
    """Limits the request body by its `Content-Length`, and by the bytes received where that header is missing.

    Refuses a body that is not declared as JSON: `curl -d` declares a form.
    """

    def __init__(self, app: ASGIApp, max_config_bytes: int) -> None:
        self._app = app
        self._upload_limit = stored_limit(max_config_bytes) + MAX_MANIFEST_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload_limit if _is_upload(scope) else MAX_BODY_BYTES
        declared = header(scope, b"content-length")
        # Python refuses to convert more than 4300 digits; 18 are enough to exceed every limit.
        if declared is not None and declared.isdigit() and int(declared[:18]) > limit:
            raise ApiError(ErrorCode.BodyTooLarge, f"a body has at most {limit} bytes")
        has_body = (declared or b"0").strip(b"0") != b"" or header(scope, b"transfer-encoding") is not None
        if has_body and not _is_upload(scope) and not _is_json(header(scope, b"content-type")):
            raise ApiError(ErrorCode.UnsupportedMediaType)
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


def _is_json(content_type: bytes | None) -> bool:
    media_type = (content_type or b"").partition(b";")[0].strip().lower()
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


class HeadMiddleware:
    """Answers HEAD as GET without a body. uvicorn drops the body; the scope of the routes says GET.

    ``scope["state"]["head"]`` tells a route that streams a file that nobody reads it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope.setdefault("state", {})["head"] = True
            # A copy: uvicorn and the access log still see HEAD.
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
