"""Creates the FastAPI application: routes, middlewares, and one JSON body for every error.

A request passes the middlewares (pace, request id, log, errors, key, body size) and then reaches its route. A route
returns an `Envelope` or raises `ApiError`. The exception handlers here turn errors of the framework into the same error
body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from gateway_api import __version__
from gateway_api.clock import utc_now
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.http.admission import KeyAdmission
from gateway_api.http.body_middleware import BodyLimitMiddleware, HeadMiddleware
from gateway_api.http.error_body import error_body, error_headers, error_status
from gateway_api.http.middleware import (
    AccessLogMiddleware,
    AuthMiddleware,
    ErrorBodyMiddleware,
    PacingMiddleware,
    RequestIdMiddleware,
)
from gateway_api.http.openapi import OPENAPI_FILE, OPENAPI_PATH
from gateway_api.http.rate_limit import Pacer
from gateway_api.http.routes import backups, content, health, restores
from gateway_api.http.validation import describe
from gateway_api.service import Service

_CODE_BY_STATUS: Final = {
    400: ErrorCode.InvalidRequest,
    404: ErrorCode.RouteNotFound,
    405: ErrorCode.MethodNotAllowed,
    413: ErrorCode.BodyTooLarge,
}


def create_app(service: Service, pacer: Pacer | None) -> FastAPI:
    """The ASGI application that serves ``service``. ``pacer`` limits peers, None if they are not limited."""
    keys = KeyAdmission((service.load_file_keys, service.load_config_keys), service.find_key_kind)
    app = create_routes(
        # The first is the outermost. The body limit comes after the key: without a key no body is read.
        [
            Middleware(PacingMiddleware, keys=keys, pacer=pacer),
            Middleware(RequestIdMiddleware),
            Middleware(AccessLogMiddleware, metrics=service.metrics),
            Middleware(ErrorBodyMiddleware),
            Middleware(AuthMiddleware, keys=keys),
            Middleware(BodyLimitMiddleware, max_config_bytes=service.settings.max_config_bytes),
            Middleware(HeadMiddleware),
        ]
    )
    app.state.service = service
    app.add_route(OPENAPI_PATH, _serve_document(OPENAPI_FILE.read_bytes()), include_in_schema=False)
    app.add_exception_handler(ApiError, _handle_api_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    return app


def create_routes(middleware: Sequence[Middleware] = ()) -> FastAPI:
    """The application with its routes alone. Its `openapi()` is the content of :data:`OPENAPI_FILE`."""
    app = FastAPI(
        title="Gateway admin API",
        version=__version__,
        # FastAPI would build the document at the first request, which delays the probes by a third of a second.
        openapi_url=None,
        redirect_slashes=False,
        summary="Backs up and restores the config of a Secure MCP Gateway.",
        separate_input_output_schemas=False,
        middleware=middleware,
    )
    for router in (health.router, backups.router, content.router, restores.router):
        app.include_router(router)
    return app


def _serve_document(document: bytes) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_: Request) -> Response:
        return Response(document, media_type="application/json")

    return serve


def _error_response(request: Request, error: ApiError, headers: dict[str, str] | None = None) -> JSONResponse:
    request.scope.setdefault("state", {})["code"] = error.code.value  # for the access log
    body = error_body(request.url.path, error, utc_now())
    return JSONResponse(body, error_status(error), {**error_headers(error), **(headers or {})})


async def _handle_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return _error_response(request, error)


async def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _error_response(request, ApiError(ErrorCode.InvalidRequest, describe(error.errors())))


async def _handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODE_BY_STATUS.get(error.status_code, ErrorCode.InternalError)
    detail = "the body cannot be read" if code is ErrorCode.InvalidRequest else None
    # Keeps headers such as `Allow` of a 405.
    return _error_response(request, ApiError(code, detail), dict(error.headers or {}))
