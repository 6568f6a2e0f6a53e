"""The status, the headers and the body of an error answer."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway_api.contract import ERRORS, ErrorCode
from gateway_api.errors import ApiError
from gateway_api.http.error_body import error_body, error_headers, error_status


def test_every_code_has_a_status_and_a_remedy() -> None:
    assert set(ERRORS) == set(ErrorCode)
    assert all(400 <= spec.status < 600 and spec.remedy for spec in ERRORS.values())


def test_body_names_the_failed_operation() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    body = error_body("/api/v1/system/restores/x/commit", ApiError(ErrorCode.Busy), now)
    assert body["error"] == "Restore request failed"
    assert body["timestamp"] == "2026-01-01T00:00:00.000000Z"
    assert error_body("/api/v1/system/backup", ApiError(ErrorCode.Busy), now)["error"] == "System backup failed"


def test_headers_say_when_to_retry_and_how_to_authenticate() -> None:
    assert error_headers(ApiError(ErrorCode.Busy)) == {"Retry-After": "2"}
    assert error_headers(ApiError(ErrorCode.TooManyFailures, retry_after=7)) == {"Retry-After": "7"}
    assert error_headers(ApiError(ErrorCode.Unauthorized)) == {"WWW-Authenticate": "Bearer"}
    assert error_headers(ApiError(ErrorCode.BackupExists)) == {}
    assert error_status(ApiError(ErrorCode.BackupExists)) == 409
