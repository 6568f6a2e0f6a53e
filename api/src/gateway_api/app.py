"""The application: routes behind the gate, and one shape for every error."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from . import __version__
from .contract import ErrorCode
from .errors import ApiError, error_body
from .gate import Gate
from .mutations import utc_now
from .routes import backups, content, health, restores
from .service import Service
from .validation import describe


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
    return JSONResponse(body, error.status, {**error.headers, **(headers or {})})


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
