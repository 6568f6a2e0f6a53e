"""Checks answers of the admin API: success or the expected error, always with the body that the contract declares."""

from __future__ import annotations

from typing import Any

import httpx

_MOST_RECOVERY_REQUESTS = 30


def assert_ok(answer: httpx.Response) -> dict[str, Any]:
    """Checks that a request succeeded; returns the data of its body."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"message", "data", "timestamp"}
    data: dict[str, Any] = body["data"]
    return data


def assert_error(answer: httpx.Response, code: str) -> str:
    """Checks that a request failed with this error code and its declared status; returns the detail of the body."""
    from gateway_api.contract import ERRORS, ErrorCode

    body = answer.json()
    assert set(body) - {"existing"} == {"error", "detail", "code", "timestamp"}
    assert ("existing" in body) == (code == "NameUsed")
    assert body["code"] == code, body
    assert answer.status_code == ERRORS[ErrorCode(code)].status
    assert answer.headers["x-request-id"]
    detail: str = body["detail"]
    return detail


def wait_for_recovery(client: httpx.Client) -> None:
    """Returns once the recovery at the start of the server has ended, and the threads for a request exist.

    A request for an operation waits for it, but gets ``Busy`` after two seconds.
    """
    for _ in range(_MOST_RECOVERY_REQUESTS):
        answer = client.post("/api/v1/system/restores/absent/commit")
        if answer.json()["code"] != "Busy":
            break
    assert_error(answer, "RestoreNotFound")
