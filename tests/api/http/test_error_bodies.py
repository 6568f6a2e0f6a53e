"""Every error has the body of the contract, and the OpenAPI document declares every answer."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
FORM = "application/x-www-form-urlencoded"
BACKUP = "/api/v1/system/backup"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nope", "RouteNotFound"),
        ("GET", "/api/v1/system/nope", "RouteNotFound"),
        ("GET", "/health/", "RouteNotFound"),
        ("POST", "/health", "MethodNotAllowed"),
        ("GET", BACKUP, "MethodNotAllowed"),
        ("PUT", BACKUP, "MethodNotAllowed"),
        ("GET", "/api/v1/system/backups/a%20b", "InvalidRequest"),
        ("GET", "/api/v1/system/backups/" + "x" * 65, "InvalidRequest"),
    ],
)
def test_unknown_path_or_method_has_the_contract_error_body(
    method: str, path: str, code: str, api: httpx.Client
) -> None:
    answer = api.request(method, path)
    assert_error(answer, code)
    if code == "MethodNotAllowed":
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"path": 5}',
        b'{"path": ""}',
        b'{"path": "a", "output_file": "/b"}',
        b'{"path": "a", "unknown": 1}',
        b'{"path": "a", "request_id": "a b"}',
        b'{"path": "a", "request_id": "a\\n"}',
        b'{"path": "a", "metadata": {"a": 5}}',
        b'{"path": "\\ud800"}',
        b'{"path": "a", "metadata": {"a": "\\ud800"}}',
        b"[" * 30000,
        b"\xff\xfe",
    ],
)
def test_invalid_body_is_an_invalid_request(body: bytes, api: httpx.Client) -> None:
    assert_error(api.post(BACKUP, content=body, headers={"Content-Type": "application/json"}), "InvalidRequest")


def test_metadata_and_bodies_have_limits(api: httpx.Client) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json", "metadata": {"k": "v" * 4095}}))
    assert_error(api.post(BACKUP, json={"path": "b.json", "metadata": {"k": "v" * 4096}}), "InvalidRequest")
    assert_error(api.post(BACKUP, content=b" " * 70_000), "BodyTooLarge")
    pieces = iter([b" " * 40_000, b" " * 40_000])
    assert_error(api.post(BACKUP, content=pieces, headers={"Content-Type": "application/json"}), "BodyTooLarge")


def test_answer_to_a_body_without_json_type_names_the_header_to_send(api: httpx.Client) -> None:
    refused = api.post(BACKUP, content=b'{"path": "a.json"}', headers={"Content-Type": FORM})
    assert assert_error(refused, "UnsupportedMediaType") == "Send Content-Type: application/json."


def test_request_id_header_is_echoed_or_generated(api: httpx.Client) -> None:
    assert api.get("/health", headers={"X-Request-ID": "my-id_1"}).headers["x-request-id"] == "my-id_1"
    created = api.get("/health", headers={"X-Request-ID": "not an id"}).headers["x-request-id"]
    assert created != "not an id"


def test_openapi_declares_every_error_with_the_contract_body(api: httpx.Client) -> None:
    document: dict[str, Any] = api.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            statuses = set(operation["responses"])
            assert {"200", "405", "413", "500"} <= statuses
            if path.startswith("/api/"):
                assert {"401", "429"} <= statuses
                assert operation["security"] == [{"HTTPBearer": []}, {"APIKeyHeader": []}]
            for status, answer in operation["responses"].items():
                if status not in ("200", "206", "304"):
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
