"""HEAD on all GET endpoints, headers against caching, and the addresses on which the server listens."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import subprocess
import time

import httpx
import pytest

from gateway_api.http.listener import open_sockets
from gateway_api.settings import AdminSettings
from tests.api.support.admin_process import AdminProcess
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_ok

pytestmark = pytest.mark.api
PREFIX = "/api/v1/system"


def test_head_answers_as_get_without_a_body_on_every_get_endpoint(api: httpx.Client) -> None:
    created = assert_ok(api.post(f"{PREFIX}/backup", json={"path": "a.json", "request_id": "r"}))
    backup = f"{PREFIX}/backups/{created['backup_id']}"
    assert_ok(api.post(f"{PREFIX}/restore", json={"backup_id": created["backup_id"], "request_id": "r"}))
    document = api.get("/openapi.json").json()
    paths = [path for path, operations in document["paths"].items() if "get" in operations]
    for path in (*paths, "/openapi.json", f"{PREFIX}/backups/nothing"):
        url = path.replace("{backup_id}", created["backup_id"]).replace("{request_id}", "r")
        got, head = api.get(url), api.head(url)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
        assert ("no-store" in head.headers.get("cache-control", "")) is url.startswith(PREFIX)
    whole = api.head(f"{backup}/content")
    assert int(whole.headers["content-length"]) == created["stored_bytes"]
    part = api.head(f"{backup}/content", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.headers["content-length"]) == (206, "4")
    assert api.head(f"{PREFIX}/backup").status_code == 405
    assert assert_ok(api.get(backup))["path"] == "a.json", "the connection is still in step"


def test_page_that_would_load_scripts_from_the_internet_is_absent(api: httpx.Client) -> None:
    for path in ("/docs", "/redoc"):
        assert api.get(path).json()["code"] == "RouteNotFound"


@pytest.mark.parametrize("host", ["::", "localhost"])
def test_server_listens_on_ipv4_and_ipv6(host: str, dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with fork_server.server(dirs.config, dirs.backups, dirs.key, host=host) as api:
        port = api.base_url.port
        assert api.get("/health").status_code == 200
        if not _has_ipv6():
            pytest.skip("this machine has no IPv6 loopback address: enable it with sysctl")
        assert httpx.get(f"http://[::1]:{port}/health", trust_env=False).status_code == 200


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


# Only an address of both families needs dual-stack sockets, so a system without them matters for "::" alone.
@pytest.mark.parametrize(
    ("host", "missing"),
    [*itertools.product(["::", "localhost"], [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL]), ("::", None)],
)
def test_server_listens_where_ipv6_is_off(host: str, missing: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def without_ipv6(address: tuple[str, int], **options: object) -> socket.socket:
        if ":" in address[0]:
            raise OSError(missing, "no IPv6") if missing else ValueError("no dual-stack")
        return create(address, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    (opened,) = open_sockets(host, 0)
    with opened:
        assert opened.family == socket.AF_INET


def test_idle_connection_outlives_the_timeout_of_a_proxy(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    assert AdminSettings.model_fields["keep_alive_seconds"].default > 60
    with (
        fork_server.server(dirs.config, dirs.backups, dirs.key, idle_seconds=2) as api,
        socket.create_connection(("127.0.0.1", api.base_url.port or 0), timeout=40) as connection,
    ):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        # Empty lines begin no request, so they must not hold the connection open either.
        for _ in range(2):
            time.sleep(0.2)
            connection.sendall(b"\r\n")
        received = b""
        while piece := connection.recv(65536):
            received += piece
        assert received.startswith(b"HTTP/1.1 200")


def test_full_log_pipe_blocks_neither_health_nor_termination(dirs: GatewayDirs) -> None:
    process = AdminProcess(dirs.config, dirs.backups)
    reader, writer = os.pipe()
    process.process = subprocess.Popen(process.command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
    os.close(writer)
    try:
        process.wait_until_up()
        with process.client(dirs.key) as client:
            for _ in range(1500):
                assert client.get(f"{PREFIX}/backups/nothing").status_code == 404
            assert client.get("/health").status_code == 200
        process.process.terminate()
        assert process.process.wait(20) == 0
    finally:
        os.close(reader)
        process.process.kill()
        process.process.wait()
        process.log_file.unlink(missing_ok=True)
