"""Malformed HTTP, oversized heads and silent clients get an error or a closed connection; the server goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from gateway_api.contract import ERRORS, ErrorCode
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_ok

pytestmark = pytest.mark.api
IDLE = 1
POST = b"POST /api/v1/system/backup HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n"
POST += b"Content-Type: application/json\r\n"


@pytest.fixture
def client(dirs: GatewayDirs, fork_server: ForkServer) -> Iterator[httpx.Client]:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, idle_seconds=IDLE) as client:
        yield client
        assert client.get("/health").status_code == 200
        assert assert_ok(client.get("/api/v1/system/health"))["config_valid"]


def _open(client: httpx.Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=20)


def _all(sock: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := sock.recv(65536):
            answer += piece
    except ConnectionResetError:
        # Bytes that the server has not read make the kernel reset the connection, and the answer is lost with it.
        pass
    return answer


def _is(answer: bytes, code: ErrorCode) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {ERRORS[code].status} ".encode()), answer[:300]
    assert b"x-request-id: " in head
    assert b"content-type: application/json" in head
    error = json.loads(body)
    assert set(error) == {"error", "detail", "code", "timestamp"}
    assert error["code"] == code.value


@pytest.mark.parametrize(
    "data",
    [
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nA: \x00\x01\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        POST + b"Content-Length: 9" + b"9" * 40 + b"\r\n\r\n",
    ],
)
def test_malformed_http_has_the_contract_error_body(data: bytes, client: httpx.Client) -> None:
    with _open(client) as sock:
        sock.sendall(data)
        _is(_all(sock), ErrorCode.RequestMalformed)


def test_malformed_chunk_ends_the_request(client: httpx.Client, dirs: GatewayDirs) -> None:
    with _open(client) as sock:
        sock.sendall(
            POST.replace(b"KEY", dirs.key.encode()) + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"
        )
        _is(_all(sock), ErrorCode.RequestMalformed)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET /health HTTP/1.1\r\nA: " + b"a" * 300_000,
        b"GET /" + b"a" * 200_000,
        b"\r\n" * 50_000,
    ],
)
def test_head_is_limited_to_64_kibibytes(data: bytes, client: httpx.Client) -> None:
    with _open(client) as sock:
        try:
            for start in range(0, len(data), 8192):
                sock.sendall(data[start : start + 8192])
                time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = _all(sock)
    if answer:
        _is(answer, ErrorCode.HeadersTooLarge)


def test_head_just_below_the_limit_is_accepted(client: httpx.Client) -> None:
    with _open(client) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nConnection: close\r\nA: " + b"a" * 60_000 + b"\r\n\r\n")
        assert _all(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "start", [b"G", b"GET /health HTTP/1.1\r\nHost: x\r\n", POST + b"Content-Length: 500\r\n\r\n{"]
)
def test_silent_client_within_a_request_gets_408(start: bytes, dirs: GatewayDirs, client: httpx.Client) -> None:
    with _open(client) as sock:
        sock.sendall(start.replace(b"KEY", dirs.key.encode()))
        _is(_all(sock), ErrorCode.RequestTimeout)


@pytest.mark.parametrize("start", [b"GET /", POST + b"Content-Length: 5000\r\n\r\n"], ids=["head", "body"])
def test_slow_bytes_do_not_extend_the_time_limit(start: bytes, dirs: GatewayDirs, client: httpx.Client) -> None:
    with _open(client) as sock:
        sock.sendall(start.replace(b"KEY", dirs.key.encode()))
        sent = 0
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < 1000:
                sock.sendall(b"A")
                sent += 1
                time.sleep(0.1)
        assert sent < 1000


def test_client_that_sends_nothing_is_disconnected_without_answer(client: httpx.Client) -> None:
    with _open(client) as sock:
        assert _all(sock) == b""


def test_second_request_of_a_connection_has_its_own_time_limit(client: httpx.Client) -> None:
    with _open(client) as sock:
        for _ in range(3):
            time.sleep(0.7 * IDLE)
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b"healthy" not in answer:
                piece = sock.recv(65536)
                assert piece
                answer += piece


def test_three_hundred_silent_connections_do_not_block_requests(client: httpx.Client) -> None:
    held = [_open(client) for _ in range(300)]
    try:
        for sock in held:
            sock.sendall(b"GET /health HTTP/1.1\r\n")
        assert client.get("/health").status_code == 200
    finally:
        for sock in held:
            sock.close()
