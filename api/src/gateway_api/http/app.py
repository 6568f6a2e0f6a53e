"""The application: routes behind the gate, and one shape for every error."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway_api import __version__
from gateway_api.clock import utc_now
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.http.error_body import error_body, error_headers, error_status
from gateway_api.http.middleware import Gate
from gateway_api.http.routes import backups, content, health, restores
from gateway_api.http.validation import describe
from gateway_api.service import Service


def create_app(service: Service) -> FastAPI:
    """The ASGI application around ``service``."""
    app = FastAPI(
        title="Gateway admin API",
        version=__version__,
        redoc_url=None,
        redirect_slashes=False,
        summary="Backups and restores of a Secure MCP Gateway's config.",
        separate_input_output_schemas=False,
    )
    app.state.service = service
    for group in (health, backups, content, restores):
        app.include_router(group.router)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Gate, service=service)
    return app


def _answer(request: Request, error: ApiError, headers: dict[str, str] | None = None) -> JSONResponse:
    request.scope.setdefault("state", {})["code"] = error.code.value
    body = error_body(request.url.path, error, utc_now())
    return JSONResponse(body, error_status(error), {**error_headers(error), **(headers or {})})


async def _api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return _answer(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _answer(request, ApiError(ErrorCode.InvalidRequest, describe(error.errors())))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known = {
        404: ErrorCode.RouteNotFound,
        405: ErrorCode.MethodNotAllowed,
        400: ErrorCode.InvalidRequest,
        413: ErrorCode.BodyTooLarge,
    }
    code = known.get(error.status_code, ErrorCode.InternalError)
    detail = "the body cannot be read" if code is ErrorCode.InvalidRequest else None
    return _answer(request, ApiError(code, detail), dict(error.headers or {}))
