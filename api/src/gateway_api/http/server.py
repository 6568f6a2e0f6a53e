"""Runs the admin API on uvicorn until SIGTERM or SIGINT.

Without TLS one plain port serves everything. With TLS the TLS port serves everything, and the plain port serves only
`/health`, `/ready` and `/metrics`. Both listeners share one application, one event loop and one shutdown.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from gateway_api import __version__, logs
from gateway_api.http.app import create_app
from gateway_api.http.middleware import ProbesOnlyMiddleware
from gateway_api.http.protocol import AdminProtocol
from gateway_api.service import Service
from gateway_api.settings import AdminSettings, SettingsError

GRACE_SECONDS: Final = 25
"""How long a shutdown waits for running requests. Shorter than the 30 seconds that Kubernetes gives a pod."""
CERTIFICATE_POLL_SECONDS: Final = 5.0
BACKLOG: Final = 512
_PR_SET_DUMPABLE: Final = 4


def disable_core_dumps() -> None:
    """Disables core dumps for this process and its children, because the memory holds keys.

    The core size limit does not apply where the system pipes cores into a program. The process is therefore also
    marked as not dumpable (see prctl(2)). Only root can then attach a debugger.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class _Server(uvicorn.Server):
    """A uvicorn server without signal handlers: `_serve` installs one handler for all listeners."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def _create_server(app: ASGIApp, settings: AdminSettings, *, tls: bool) -> _Server:
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=type("Protocol", (AdminProtocol,), {"read_timeout": settings.idle_seconds}),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=30,
        ssl_certfile=settings.tls_cert if tls else None,
        ssl_keyfile=settings.tls_key if tls else None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the TLS certificate or key cannot be loaded: {error}") from None
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return _Server(config)


def _modification_times(*paths: Path) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns for path in paths)


async def _reload_certificate(server: _Server, cert: Path, key: Path, requested: asyncio.Event) -> None:
    """Loads the certificate again when its files change. New connections use it; open ones keep the old one.

    The files are checked every five seconds, and at once when ``requested`` is set.
    """
    context = server.config.ssl
    assert context is not None
    loaded_times = _modification_times(cert, key)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CERTIFICATE_POLL_SECONDS):
                await requested.wait()
        requested.clear()
        try:
            current_times = _modification_times(cert, key)
            if current_times != loaded_times:
                context.load_cert_chain(cert, key)
                loaded_times = current_times
                logs.event("certificate_reloaded")
        except (OSError, ssl.SSLError):
            # The two files may be of different certificates for a moment. The next poll tries again.
            logs.event("certificate_not_reloaded", 30, failed=True)


async def _serve(settings: AdminSettings) -> None:
    service = Service(settings)
    reload = asyncio.Event()
    app: ASGIApp = create_app(service)
    plain_socket = _listen(settings.host, settings.port)
    listeners: list[tuple[_Server, socket.socket]] = []
    tasks: list[asyncio.Task[None]] = []
    if settings.tls and settings.tls_cert is not None and settings.tls_key is not None:
        tls_socket = _listen(settings.host, settings.tls_port)
        server = _create_server(app, settings, tls=True)
        listeners.append((server, tls_socket))
        tasks.append(asyncio.create_task(_reload_certificate(server, settings.tls_cert, settings.tls_key, reload)))
        app = ProbesOnlyMiddleware(app, tls_socket.getsockname()[1])
    listeners.append((_create_server(app, settings, tls=False), plain_socket))

    def request_shutdown() -> None:
        for server, _ in listeners:
            server.should_exit = True

    def request_reload() -> None:
        # The default action of SIGHUP ends the process. Key files need no signal: they are read at each use.
        logs.event("reload_requested")
        reload.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, request_reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request_shutdown)
    # Recovery runs while the ports are open already, so that the liveness probe is answered meanwhile.
    tasks.append(asyncio.create_task(service.start()))
    logs.event(
        "started",
        version=__version__,
        ports=[sock.getsockname()[1] for _, sock in listeners],
        config_file=str(settings.config_file),
        backup_dir=str(settings.backup_dir),
    )
    try:
        await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in listeners))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Last: no request and no task uses the service any more.
        await asyncio.to_thread(service.stop)
        logs.event("stopped")


def run(settings: AdminSettings) -> None:
    """Serves until SIGTERM or SIGINT, then finishes running requests.

    Raises :class:`SettingsError` if a port cannot be opened or the TLS files cannot be loaded.
    """
    disable_core_dumps()
    logs.configure()
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))
