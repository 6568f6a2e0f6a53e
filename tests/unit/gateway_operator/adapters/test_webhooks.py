"""The webhook adapter against real HTTP servers: accepted, refused, redirected, hanging, closed, and over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.notifications.webhooks import HttpWebhooks, retry_after_seconds
from gateway_operator.ports.notifications import SLACK, WEBHOOK
from tests.cluster.certificates import Authority

SECRET_PATH = "services/T0/B0/s3cr3t"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def receiver(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server for all paths. Gives the URL with a secret path."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening, ssl_context=context).start()
    scheme = "https" if context else "http"
    try:
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/{SECRET_PATH}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def webhooks(directory: Path, timeout: float = 5.0, **files: str) -> AsyncIterator[HttpWebhooks]:
    """The adapter on the session of the admin API adapter. ``files`` are the keys of the Secret."""
    for name, text in files.items():
        (directory / name.replace("_", "-")).write_text(text)
    admin_api = HttpAdminApi()
    try:
        yield HttpWebhooks(directory, admin_api.session, timeout)
    finally:
        await admin_api.close()


async def test_request_has_the_body_and_only_the_token_of_its_receiver(tmp_path: Path) -> None:
    requests: list[tuple[str, Any, str | None]] = []

    async def handle(request: web.Request) -> web.Response:
        assert request.headers["User-Agent"] == "gateway-backup-operator"
        requests.append((request.path, await request.json(), request.headers.get("Authorization")))
        return web.Response(status=204)

    async with (
        receiver(handle) as url,
        webhooks(tmp_path, slack_url=url, webhook_url=f"{url}\n", webhook_authorization="Bearer t0ken\n") as adapter,
    ):
        for name in (SLACK, WEBHOOK):
            assert adapter.is_configured(name)
            assert (await adapter.send(name, {"text": name})).accepted
    path = f"/{SECRET_PATH}"
    assert requests == [(path, {"text": SLACK}, None), (path, {"text": WEBHOOK}, "Bearer t0ken")]


@pytest.mark.parametrize(
    ("status", "headers", "retry_after", "content_refused"),
    [
        (500, {}, None, False),
        (503, {"Retry-After": "30"}, 30.0, False),
        (429, {"Retry-After": "7"}, 7.0, False),
        (404, {}, None, False),
        (400, {}, None, True),
        (413, {}, None, True),
        # A redirect is not followed: it could lead the token to another host.
        (307, {"Location": "http://127.0.0.1:1/"}, None, False),
    ],
)
async def test_answer_that_is_no_success(
    tmp_path: Path, status: int, headers: dict[str, str], retry_after: float | None, content_refused: bool
) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, text="x" * 100_000)

    async with receiver(handle) as url, webhooks(tmp_path, slack_url=url) as adapter:
        result = await adapter.send(SLACK, {})
    assert (result.accepted, result.retry_after, result.content_refused) == (False, retry_after, content_refused)
    assert result.detail == f"It answered HTTP {status}."


async def test_hanging_receiver_ends_at_the_timeout(tmp_path: Path) -> None:
    async def handle(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with receiver(handle) as url, webhooks(tmp_path, timeout=0.2, slack_url=url) as adapter:
        began = time.monotonic()
        result = await adapter.send(SLACK, {})
    assert time.monotonic() - began < 5
    assert (result.accepted, result.detail) == (False, "It did not answer within 0 s.")


@pytest.mark.parametrize(
    "url",
    [
        "", "s3cr3t", "ftp://s3cr3t.invalid/", "http://", "http://[s3cr3t", "http://h:99999999/s3cr3t",
        "http://h:0/s3cr3t", "https://127.0.0.1:1/s3cr3t", "http://s3cr3t.invalid/s3cr3t",
        "http://user:s3cr3t@127.0.0.1:1/", "http://127.0.0.1:1/s3cr3t\r\nX: y", "http://\x00s3cr3t/",
    ],
)  # fmt: skip
async def test_no_url_raises_or_appears_in_the_result(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with webhooks(tmp_path, slack_url=url) as adapter:
        result = await adapter.send(SLACK, {})
    assert not result.accepted
    assert "s3cr3t" not in result.detail + repr(result) + caplog.text


async def test_request_goes_through_the_proxy_of_the_secret(tmp_path: Path) -> None:
    targets: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        targets.append(str(request.url))
        return web.Response()

    target = "http://receiver.invalid/s3cr3t"
    async with receiver(handle) as proxy, webhooks(tmp_path, slack_url=target, proxy_url=proxy) as adapter:
        assert (await adapter.send(SLACK, {})).accepted
        assert targets == [target]
        (tmp_path / "proxy-url").write_text("http://user:s3cr3t@")
        result = await adapter.send(SLACK, {})
    assert not result.accepted
    assert "s3cr3t" not in result.detail


async def test_changed_secret_needs_no_restart(tmp_path: Path) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response()

    async with receiver(handle) as url, webhooks(tmp_path) as adapter:
        assert not adapter.is_configured(SLACK)
        (tmp_path / "slack-url").write_text(url)
        assert adapter.is_configured(SLACK)
        assert (await adapter.send(SLACK, {})).accepted
        (tmp_path / "slack-url").unlink()
        assert not adapter.is_configured(SLACK)


async def test_certificate_is_verified_with_the_ca_of_the_secret(tmp_path: Path) -> None:
    authority = Authority()
    authority.save(tmp_path / "authority.pem")
    authority.issue(tmp_path, "server", "receiver", hosts=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    async def handle(_: web.Request) -> web.Response:
        return web.Response()

    async with receiver(handle, context) as url, webhooks(tmp_path, slack_url=url) as adapter:
        assert not (await adapter.send(SLACK, {})).accepted
        (tmp_path / "ca.crt").write_bytes((tmp_path / "authority.pem").read_bytes())
        assert (await adapter.send(SLACK, {})).accepted
        (tmp_path / "ca.crt").write_text("no certificate")
        assert not (await adapter.send(SLACK, {})).accepted


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("0", 0.0), (" 5", 5.0), ("-1", None), ("soon", None), ("9" * 400, 999_999_999_999.0),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("Thu, 01 Jan 1970 00:00:00", 0.0), ("", None)],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value) == seconds
