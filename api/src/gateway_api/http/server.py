"""Runs the admin API on uvicorn until SIGTERM or SIGINT.

Without TLS one plain port serves everything. With TLS the TLS port serves everything, and the plain port serves only
`/health`, `/ready` and `/metrics`. Both listeners share one application, one event loop and one shutdown.
`listener.py` accepts the connections; uvicorn gets no socket and serves only what was accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import resource
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from gateway_api import __version__, logs
from gateway_api.http.app import create_app
from gateway_api.http.connections import PROBE_CONNECTIONS, Slot, SlotTable, connection_capacity
from gateway_api.http.listener import Listener, open_sockets
from gateway_api.http.middleware import ProbesOnlyMiddleware
from gateway_api.http.protocol import AdminProtocol
from gateway_api.http.rate_limit import Pacer
from gateway_api.service import Service
from gateway_api.settings import AdminSettings, SettingsError

GRACE_SECONDS: Final = 25
"""How long a shutdown waits for running requests. Shorter than the 30 seconds that Kubernetes gives a pod."""
CERTIFICATE_POLL_SECONDS: Final = 5.0
_PR_SET_DUMPABLE: Final = 4


def disable_core_dumps() -> None:
    """Disables core dumps for this process and its children, because the memory holds keys.

    The core size limit does not apply where the system pipes cores into a program. The process is therefore also
    marked as not dumpable (see prctl(2)). Only root can then attach a debugger.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class _Server(uvicorn.Server):
    """A uvicorn server without sockets and signal handlers: `_serve` has its own for all listeners."""

    def __init__(self, config: uvicorn.Config, read_timeout: float) -> None:
        super().__init__(config)
        self._read_timeout = read_timeout

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def create_protocol(self, slot: Slot) -> AdminProtocol:
        """The protocol of one accepted connection. It releases ``slot`` when the connection ends."""
        protocol = AdminProtocol(
            config=self.config, server_state=self.server_state, app_state={}, _loop=asyncio.get_running_loop()
        )
        protocol.read_timeout = self._read_timeout
        protocol.slot = slot
        return protocol


def _create_server(app: ASGIApp, settings: AdminSettings, *, tls: bool) -> _Server:
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=AdminProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=settings.keep_alive_seconds,
        ssl_certfile=settings.tls_cert if tls else None,
        ssl_keyfile=settings.tls_key if tls else None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the TLS certificate or key cannot be loaded: {error}") from None
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return _Server(config, settings.idle_seconds)


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
            logs.event("certificate_not_reloaded", logging.WARNING, failed=True)


class _Listeners:
    """The listeners of one process. They share the limits of peers and of open files."""

    def __init__(self, settings: AdminSettings, pacer: Pacer | None) -> None:
        self._settings = settings
        self._pacer = pacer
        self._capacity = connection_capacity(settings.max_connections)
        self.opened: list[tuple[_Server, Listener]] = []

    def open(self, app: ASGIApp, port: int, *, tls: bool) -> Listener:
        """Opens a port for ``app``. Raises :class:`SettingsError` if that is not possible."""
        server = _create_server(app, self._settings, tls=tls)
        # With TLS the probes have a listener of their own, so that clients with keys cannot take their connections.
        reserve = min(PROBE_CONNECTIONS, self._capacity // 2) if self._settings.tls else 0
        slots = SlotTable(
            reserve if self._settings.tls and not tls else self._capacity - reserve,
            self._settings.max_connections_per_peer,
        )
        listener = Listener(
            open_sockets(self._settings.host, port),
            slots,
            self._pacer,
            server.create_protocol,
            server.config.ssl,
            self._settings.idle_seconds,
        )
        self.opened.append((server, listener))
        return listener

    def stop(self) -> None:
        """Accepts no further connection and ends the servers once their running requests are done."""
        for server, listener in self.opened:
            listener.stop()
            server.should_exit = True


async def _serve(settings: AdminSettings) -> None:
    service = Service(settings)
    reload = asyncio.Event()
    pacer = Pacer() if settings.max_connections_per_peer else None
    app: ASGIApp = create_app(service, pacer)
    listeners = _Listeners(settings, pacer)
    tasks: list[asyncio.Task[None]] = []
    probes: ASGIApp = app
    if settings.tls and settings.tls_cert is not None and settings.tls_key is not None:
        secure = listeners.open(app, settings.tls_port, tls=True)
        server, _ = listeners.opened[0]
        tasks.append(asyncio.create_task(_reload_certificate(server, settings.tls_cert, settings.tls_key, reload)))
        probes = ProbesOnlyMiddleware(app, secure.port)
    listeners.open(probes, settings.port, tls=False)

    def request_reload() -> None:
        # The default action of SIGHUP ends the process. Key files need no signal: they are read at each use.
        logs.event("reload_requested")
        reload.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, request_reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, listeners.stop)
    for _, listener in listeners.opened:
        listener.start()
    # Recovery runs while the ports are open already, so that the liveness probe is answered meanwhile.
    tasks.append(asyncio.create_task(service.start()))
    logs.event(
        "started",
        version=__version__,
        ports=[listener.port for _, listener in listeners.opened],
        config_file=str(settings.config_file),
        backup_dir=str(settings.backup_dir),
    )
    try:
        await asyncio.gather(*(server.serve(sockets=[]) for server, _ in listeners.opened))
    finally:
        listeners.stop()
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
