"""Answers conform to the OpenAPI document: each is declared and none is a 500, with and without a key.

Schemathesis generates valid and invalid requests for each operation of a real server. Further tests send bytes that no
HTTP library sends.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_ok

pytestmark = [
    pytest.mark.api,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12


@pytest.fixture(scope="module")
def served(
    fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayDirs, httpx.Client]]:
    dirs = GatewayDirs(tmp_path_factory.mktemp("served"))
    # A generated reset may change the key in the config, so the test uses a key file.
    keys = dirs.config.parent.parent / "keys"
    keys.write_text(dirs.key)
    limits: dict[str, Any] = {"max_config_bytes": 200_000, "settle_seconds": 0.0}
    with fork_server.server(dirs.config, dirs.backups, dirs.key, admin_key_file=str(keys), **limits) as client:
        for number in range(2):
            assert_ok(
                client.post("/api/v1/system/backup", json={"path": f"{number}.json.zst", "request_id": f"b{number}"})
            )
        yield dirs, client


def _operations(client: httpx.Client) -> list[Any]:
    document = client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    return [operation.ok() for operation in schema.get_all_operations() if isinstance(operation, Ok)]


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_declared_and_none_is_a_500(
    keyed: bool, mode: str, served: tuple[GatewayDirs, httpx.Client]
) -> None:
    dirs, client = served
    headers = {"Authorization": f"Bearer {dirs.key}" if keyed else "Bearer none"}
    generation = schemathesis.GenerationMode(mode)
    seen: set[int] = set()
    for operation in _operations(client):
        if mode == "negative" and not (operation.body or operation.path_parameters or operation.query):
            continue

        @settings(
            max_examples=EXAMPLES if keyed else 3,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=generation))
        def one(case: Any) -> None:
            answer = case.call(base_url=str(client.base_url), headers=headers, timeout=20)
            if answer.status_code in (400, 431) and answer.json()["code"] in ("RequestMalformed", "HeadersTooLarge"):
                return  # rejected by the HTTP parser, before a route is chosen
            seen.add(answer.status_code)
            case.validate_response(answer, checks=CHECKS, headers=headers)
            assert set(answer.headers) >= {"x-request-id"}

        one()
    assert 500 not in seen
    assert (401 in seen) is not keyed or 429 in seen
    # After all these requests the server still has a valid config and accepts the key.
    assert assert_ok(client.get("/api/v1/system/health"))["config_valid"]


def _send(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
            if len(answer) > 1 << 20:
                break
        return answer


MALFORMED = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /%zz%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nA: \x00\x01\r\n\r\n",
    b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /api/v1/system/backup HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/v1/system/backup HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /api/v1/system/backup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/v1/system/backup HTTP/1.1\r\nHost: x\r\nContent-Length: 9" + b"9" * 40 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://elsewhere/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/v1/system/../system/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_malformed_requests_do_no_harm(number: int, served: tuple[GatewayDirs, httpx.Client]) -> None:
    _, client = served
    try:
        answer = _send(client.base_url.port or 0, MALFORMED[number])
    except OSError:  # the server closed the connection while the request was being sent
        answer = b""
    assert not answer.startswith(b"HTTP/1.1 500")
    assert b'"config_valid"' not in answer
    assert client.get("/health").status_code == 200


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=200))
def test_random_bytes_do_no_harm(served: tuple[GatewayDirs, httpx.Client], data: bytes) -> None:
    _, client = served
    try:
        answer = _send(client.base_url.port or 0, b"POST /api/v1/system/" + data)
    except OSError:  # the server closed the connection while the request was being sent
        answer = b""
    assert not answer.startswith(b"HTTP/1.1 500")
    assert client.get("/health").status_code == 200
