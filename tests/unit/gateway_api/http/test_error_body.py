"""The JSON body of error responses."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.http.error_body import error_body


def test_error_body_names_the_failed_operation() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    body = error_body("/api/v1/system/restores/x/commit", ApiError(ErrorCode.Busy), now)
    assert body["error"] == "Restore request failed"
    assert body["timestamp"] == "2026-01-01T00:00:00.000000Z"
    assert error_body("/api/v1/system/backup", ApiError(ErrorCode.Busy), now)["error"] == "System backup failed"
    assert ApiError(ErrorCode.Busy).headers["Retry-After"]
    assert "Retry-After" not in ApiError(ErrorCode.BackupExists).headers
