"""Additions to the OpenAPI document: the error responses of each route, and the two ways to send the admin key.

A route passes the error codes that it can return to `declares`. The status and an example come from the contract.
The document itself is the file `openapi.json`, which `make docs` writes. To build it takes a third of a second, which
would delay the probes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from gateway_api.contract import ERRORS, ErrorBody, ErrorCode, example_error

OPENAPI_PATH: Final = "/openapi.json"
OPENAPI_FILE: Final = Path(__file__).with_name("openapi.json")
"""The OpenAPI document as it is served."""
ALWAYS: Final = (ErrorCode.MethodNotAllowed, ErrorCode.BodyTooLarge, ErrorCode.InternalError)
KEYED: Final = (ErrorCode.Unauthorized, ErrorCode.AdminKeyTooShort, ErrorCode.TooManyFailures)
BODY: Final = (ErrorCode.InvalidRequest, ErrorCode.UnsupportedMediaType)
OPERATION: Final = (
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
    name="apikey", auto_error=False, description="The admin key, in the header that existing gateway clients send."
)


def _documented(
    _a: Annotated[object, Security(_bearer)] = None, _b: Annotated[object, Security(_apikey)] = None
) -> None:
    """Adds the two security schemes to the OpenAPI document. `AuthMiddleware` checks the key, before the routing."""


KEY_NEEDED: Final = [Depends(_documented)]


def declares(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` argument of a route that can fail with ``codes``, grouped by HTTP status."""
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
    """As :func:`declares`, for a route whose success is not JSON.

    FastAPI would document the errors of such a route with the media type of the success. A schema set by hand
    keeps `application/json` for them.
    """
    responses = declares(*codes)
    for response in responses.values():
        del response["model"]
        response["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/ErrorBody"}
    return responses
