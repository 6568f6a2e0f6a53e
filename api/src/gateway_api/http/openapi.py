"""What the OpenAPI document says beyond the models: every error answer of every route, and how a key is sent."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from gateway_api.contract import ERRORS, ErrorBody, ErrorCode, example_error

ALWAYS: Final = (ErrorCode.MethodNotAllowed, ErrorCode.BodyTooLarge, ErrorCode.InternalError)
KEYED: Final = (ErrorCode.Unauthorized, ErrorCode.TooManyFailures)
BODY: Final = (ErrorCode.InvalidRequest,)
MUTATION: Final = (
    ErrorCode.Busy,
    ErrorCode.InProgress,
    ErrorCode.ConfigNotReplaceable,
    ErrorCode.VolumeFull,
    ErrorCode.VolumeUnavailable,
    ErrorCode.DurabilityUnknown,
    ErrorCode.WorkerFailed,
)

_bearer = HTTPBearer(auto_error=False, description="The admin key.")
_apikey = APIKeyHeader(
    name="apikey", auto_error=False, description="The admin key, as current gateway clients send it."
)


def _documented(
    _a: Annotated[object, Security(_bearer)] = None, _b: Annotated[object, Security(_apikey)] = None
) -> None:
    """Only documents: the gate has checked the key before the framework saw the request."""


KEY_NEEDED: Final = [Depends(_documented)]


def declares(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that can fail with ``codes``."""
    by_status: dict[int, list[ErrorCode]] = {}
    for code in dict.fromkeys((*codes, *ALWAYS)):
        by_status.setdefault(ERRORS[code].status, []).append(code)
    return {
        status: {
            "model": ErrorBody,
            "description": ", ".join(code.value for code in group),
            "content": {
                "application/json": {
                    "examples": {code.value: {"value": example_error(code)} for code in group},
                }
            },
        }
        for status, group in sorted(by_status.items())
    }


def declares_beside_bytes(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """As :func:`declares`, for a route whose success is no JSON: there the framework would give errors its type too."""
    found = declares(*codes)
    for answer in found.values():
        del answer["model"]
        answer["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/ErrorBody"}
    return found
