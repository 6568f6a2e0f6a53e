"""Serves ``/healthz`` for the kubelet and ``/metrics`` for Prometheus, on IPv4 and IPv6: a node may have either.

kopf has a probe endpoint of its own. It listens on one host, and asyncio never gives an IPv6 socket IPv4 as well.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

PATH: Final = "/healthz"
METRICS_PATH: Final = "/metrics"

_log: Final = logging.getLogger("gateway_operator.metrics")


def listening_socket(address: str) -> socket.socket:
    """A socket that listens on HOST:PORT. Without a host it accepts connections over IPv4 and IPv6.

    OSError if the port is in use or the host is not one of this machine.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError:
            # IPv6 may be compiled in and switched off by a sysctl. A port in use fails again below.
            pass
    return socket.create_server(("", int(port)))


async def serve_probes(listening: socket.socket, problem: Callable[[], str]) -> web.AppRunner:
    """Answer ``/healthz`` with 200, or with 503 and the text of ``problem`` if it is not empty.

    The caller ends it with ``cleanup()``. A blocked event loop gives no answer at all.
    """

    async def healthz(_: web.Request) -> web.Response:
        text = problem()
        return web.Response(status=503 if text else 200, text=text or "ok")

    return await _serve(listening, PATH, healthz)


async def serve_metrics(
    listening: socket.socket, page: Callable[[], Awaitable[bytes]], content_type: str
) -> web.AppRunner:
    """Answer ``/metrics`` with the text of ``page``, or with 500 if it fails. The caller ends it with ``cleanup()``.

    The endpoint needs no key, as is usual for Prometheus, and its text contains no secret.
    """

    async def metrics(_: web.Request) -> web.Response:
        try:
            return web.Response(body=await page(), headers={"Content-Type": content_type})
        except Exception:  # a defect here must not be answered with an error page, which Prometheus cannot show
            _log.exception("The metrics cannot be rendered.")
            return web.Response(status=500, text="The metrics cannot be rendered; the operator's log has the error.")

    return await _serve(listening, METRICS_PATH, metrics)


async def _serve(
    listening: socket.socket, path: str, handler: Callable[[web.Request], Awaitable[web.Response]]
) -> web.AppRunner:
    app = web.Application()
    app.add_routes([web.get(path, handler)])
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner
