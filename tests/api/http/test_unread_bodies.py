"""A request body that the server rejects without reading does not break the next request of the connection."""

from __future__ import annotations

import httpx
import pytest

from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"


def test_large_body_without_a_key_is_rejected_unread(api: httpx.Client) -> None:
    for _ in range(3):
        answer = api.post(BACKUP, content=b"x" * 3_000_000, headers={"Authorization": "Bearer " + "x" * 40})
        assert_error(answer, "Unauthorized")
    assert_ok(api.get("/health"))


def test_body_too_large_does_not_break_the_next_request(api: httpx.Client) -> None:
    for _ in range(3):
        assert_error(api.post(BACKUP, content=b"x" * 3_000_000), "BodyTooLarge")
        assert_ok(api.post(BACKUP, json={"path": "a.json", "overwrite": True}))
