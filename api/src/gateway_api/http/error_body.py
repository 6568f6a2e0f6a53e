"""Turns an `ApiError` into the status, the headers and the JSON body of its HTTP response."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_api.clock import rfc3339
from gateway_api.contract import API_PREFIX, ERRORS
from gateway_api.errors import ApiError

OPERATIONS: Final[tuple[tuple[str, str], ...]] = (
    (f"{API_PREFIX}/health", "System health check failed"),
    (f"{API_PREFIX}/backups", "Backup request failed"),
    (f"{API_PREFIX}/backup", "System backup failed"),
    (f"{API_PREFIX}/restores", "Restore request failed"),
    (f"{API_PREFIX}/restore", "System restore failed"),
    (f"{API_PREFIX}/reset", "System reset failed"),
    ("/ready", "Not ready"),
)


DEFAULT_RETRY_AFTER_SECONDS: Final = 2


def operation_failed(path: str) -> str:
    """The ``error`` field of the body. The request's path decides which operation failed."""
    for prefix, text in OPERATIONS:
        if path == prefix or path.startswith(prefix + "/"):
            return text
    return "Request failed"


def error_body(path: str, error: ApiError, now: datetime) -> dict[str, Any]:
    """The error body that the contract defines. ``now`` becomes its timestamp."""
    body: dict[str, Any] = {
        "error": operation_failed(path),
        "detail": error.detail,
        "code": error.code.value,
        "timestamp": rfc3339(now),
    }
    if error.existing is not None:
        body["existing"] = error.existing.model_dump(mode="json")
    return body


def error_status(error: ApiError) -> int:
    """The HTTP status that the contract lists for the error's code."""
    return ERRORS[error.code].status


def error_headers(error: ApiError) -> dict[str, str]:
    """The headers of an error answer: ``Retry-After`` in seconds and, on 401, ``WWW-Authenticate``."""
    spec = ERRORS[error.code]
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    elif spec.retryable and spec.status in (409, 503):
        headers["Retry-After"] = str(DEFAULT_RETRY_AFTER_SECONDS)
    if spec.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers
