"""The middlewares around small ASGI applications: request ids, keys, error bodies and body limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from gateway_api.auth import AcceptedKeys
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.gateway_config.admin_keys import key_digest
from gateway_api.http.admission import KeyAdmission
from gateway_api.http.body_middleware import MAX_BODY_BYTES, BodyLimitMiddleware, HeadMiddleware
from gateway_api.http.middleware import (
    AuthMiddleware,
    ErrorBodyMiddleware,
    ProbesOnlyMiddleware,
    RequestIdMiddleware,
    presented_key,
    request_id_for,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY = b"k" * 40
SYSTEM_PATH = "/api/v1/system/backup"


async def read_whole_body(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the body and returns its size and the kind of the key."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = json.dumps({"size": size, "requested_by": scope.get("state", {}).get("requested_by")}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def admission() -> KeyAdmission:
    accepted = (("config", key_digest(KEY)),)

    async def load() -> AcceptedKeys:
        return accepted

    async def check(digest: str) -> str | None:
        return "config" if digest == accepted[0][1] else None

    return KeyAdmission((load,), check)


def request(
    app: ASGIApp,
    path: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: Sequence[bytes] = (b"",),
    method: str = "POST",
) -> tuple[list[Message], int]:
    """Sends one request and returns the response messages and the number of body pieces that were read."""
    scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "client": ("peer", 1)}
    pieces = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
    pieces[-1]["more_body"] = False
    read = 0
    messages: list[Message] = []

    async def receive() -> Message:
        nonlocal read
        read += 1
        return pieces[read - 1]

    async def send(message: Message) -> None:
        messages.append(message)

    async def run() -> None:
        await app(scope, receive, send)

    asyncio.run(run())
    return messages, read


def json_of(messages: list[Message]) -> Any:
    return json.loads(b"".join(message.get("body", b"") for message in messages))


@pytest.mark.parametrize(
    ("authorization", "apikey", "expected"),
    [
        (b"Bearer abc", None, b"abc"),
        (b"bearer  abc ", None, b"abc"),
        (None, b" abc ", b"abc"),
        (b"Bearer one", b"two", b"one"),
        (b"Basic abc", b"two", b"two"),
        (b"Bearer", None, None),
        (b"Bearer ", None, None),
        (None, b"", None),
        (None, None, None),
    ],
)
def test_key_is_read_from_either_header_authorization_first(
    authorization: bytes | None, apikey: bytes | None, expected: bytes | None
) -> None:
    assert presented_key(authorization, apikey) == expected


def test_request_id_is_never_the_key_or_an_invalid_id() -> None:
    assert request_id_for(b"abc", None) == "abc"
    assert request_id_for(b"abc\n", None) != "abc\n"
    assert request_id_for(KEY, KEY) != KEY.decode()
    assert len(request_id_for(None, None)) == 16


def test_response_returns_the_request_id() -> None:
    messages, _ = request(RequestIdMiddleware(read_whole_body), "/health", [(b"x-request-id", b"r-1")])
    assert (b"x-request-id", b"r-1") in messages[0]["headers"]


def test_body_is_not_read_without_an_accepted_key() -> None:
    app = ErrorBodyMiddleware(AuthMiddleware(read_whole_body, admission()))
    messages, read = request(app, SYSTEM_PATH, [(b"apikey", b"x" * 40)])
    assert (messages[0]["status"], json_of(messages)["code"], read) == (401, "Unauthorized", 0)


def test_accepted_key_passes_its_kind_to_the_route() -> None:
    app = ErrorBodyMiddleware(AuthMiddleware(read_whole_body, admission()))
    messages, _ = request(app, SYSTEM_PATH, [(b"authorization", b"Bearer " + KEY)])
    assert json_of(messages) == {"size": 0, "requested_by": "config"}


def test_websocket_is_closed_without_reaching_the_application() -> None:
    messages: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    app = RequestIdMiddleware(ErrorBodyMiddleware(AuthMiddleware(read_whole_body, admission())))
    asyncio.run(app({"type": "websocket", "path": SYSTEM_PATH, "headers": []}, receive, send))
    assert messages == [{"type": "websocket.close", "code": 1008}]


def test_declared_body_above_the_limit_is_refused_unread() -> None:
    app = ErrorBodyMiddleware(BodyLimitMiddleware(read_whole_body, max_config_bytes=1024))
    for length in (str(MAX_BODY_BYTES + 1), "9" * 5000):
        messages, read = request(app, SYSTEM_PATH, [(b"content-length", length.encode())])
        assert (json_of(messages)["code"], read) == ("BodyTooLarge", 0)


def test_body_without_declared_length_is_cut_off_at_the_limit() -> None:
    pieces = [b"x" * MAX_BODY_BYTES, b"x", b"x"]
    app = BodyLimitMiddleware(read_whole_body, max_config_bytes=1024)
    with pytest.raises(Exception, match="413"):
        request(app, SYSTEM_PATH, body=pieces)
    messages, _ = request(app, SYSTEM_PATH, body=pieces[:1])
    assert json_of(messages)["size"] == MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("content_type", "size", "accepted"),
    [
        (b"application/json", b"2", True),
        (b"application/json; charset=utf-8", b"2", True),
        (b"APPLICATION/JSON", b"2", True),
        (b"application/problem+json", b"2", True),
        (b"application/x-www-form-urlencoded", b"2", False),
        (b"text/json+xml", b"2", False),
        (None, b"2", False),
        (None, b"0", True),
        (None, b"00", True),
        (None, None, True),
    ],
)
def test_body_must_be_declared_as_json(content_type: bytes | None, size: bytes | None, accepted: bool) -> None:
    app = ErrorBodyMiddleware(BodyLimitMiddleware(read_whole_body, max_config_bytes=1024))
    headers = [(b"content-type", content_type), (b"content-length", size)]
    messages, read = request(app, SYSTEM_PATH, [(name, value) for name, value in headers if value is not None])
    assert messages[0]["status"] == (200 if accepted else 415)
    if not accepted:
        assert (json_of(messages)["detail"], read) == ("Send Content-Type: application/json.", 0)


def test_responses_that_can_hold_secrets_are_not_stored() -> None:
    app = RequestIdMiddleware(read_whole_body)
    assert (b"cache-control", b"no-store") in request(app, SYSTEM_PATH)[0][0]["headers"]
    assert (b"cache-control", b"no-store") not in request(app, "/health")[0][0]["headers"]


def test_head_reaches_the_route_as_get() -> None:
    scopes: list[Scope] = []

    async def record(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await read_whole_body(scope, receive, send)

    for method in ("HEAD", "GET"):
        request(HeadMiddleware(record), "/health", method=method)
    assert [(scope["method"], scope.get("state")) for scope in scopes] == [("GET", {"head": True}), ("GET", None)]


@pytest.mark.parametrize(
    ("error", "code"), [(ApiError(ErrorCode.Busy), "Busy"), (ValueError("secret"), "InternalError")]
)
def test_every_exception_becomes_an_error_body(error: Exception, code: str) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    messages, _ = request(ErrorBodyMiddleware(fail), SYSTEM_PATH)
    assert json_of(messages)["code"] == code
    assert "secret" not in json.dumps(json_of(messages))


def test_exception_after_the_response_started_ends_the_connection() -> None:
    async def fail_late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        request(ErrorBodyMiddleware(fail_late), SYSTEM_PATH)


def test_plain_port_serves_probes_and_names_the_tls_port() -> None:
    app = ProbesOnlyMiddleware(read_whole_body, tls_port=8443)
    assert request(app, "/health")[0][0]["status"] == 200
    messages, _ = request(app, SYSTEM_PATH, [(b"apikey", KEY)])
    assert messages[0]["status"] == 404
    assert "port 8443" in json_of(messages)["detail"]
