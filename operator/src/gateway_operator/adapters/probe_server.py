"""Serves ``/healthz`` for the kubelet, on IPv4 and IPv6 at once: a node may have either.

kopf has a probe endpoint of its own. It listens on one host, and asyncio never gives an IPv6 socket IPv4 as well.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from aiohttp import web

PATH: Final = "/healthz"


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

    app = web.Application()
    app.add_routes([web.get(PATH, healthz)])
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner
