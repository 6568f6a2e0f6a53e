"""Listening: one port on a laptop; with TLS a second one, and probes alone on the first."""

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

from gateway_api import __version__, logs
from gateway_api.http.app import create_app
from gateway_api.http.middleware import App, ProbesOnly
from gateway_api.http.protocol import AdminProtocol
from gateway_api.service import Service
from gateway_api.settings import AdminSettings, SettingsError

PR_SET_DUMPABLE: Final = 4


def forbid_core_files() -> None:
    """For this process and its forks. A program that the system pipes cores into heeds no limit, so the process is also
    marked as one that is not dumped; then only root can attach a debugger to it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


GRACE_SECONDS: Final = 25
CERTIFICATE_POLL_SECONDS: Final = 5.0
BACKLOG: Final = 512


class _Server(uvicorn.Server):
    """A server whose signals are handled for all listeners together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def _uvicorn(app: App, settings: AdminSettings, *, tls: bool) -> _Server:
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


def _stamp(*paths: Path) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns for path in paths)


async def _reload_certificate(server: _Server, cert: Path, key: Path) -> None:
    """Gives new handshakes the new certificate when its files change."""
    context = server.config.ssl
    assert context is not None
    loaded = _stamp(cert, key)
    while True:
        await asyncio.sleep(CERTIFICATE_POLL_SECONDS)
        try:
            now = _stamp(cert, key)
            if now != loaded:
                context.load_cert_chain(cert, key)
                loaded = now
                logs.event("certificate_reloaded")
        except (OSError, ssl.SSLError):
            logs.event("certificate_not_reloaded", 30, failed=True)


async def _serve(settings: AdminSettings) -> None:
    service = Service(settings)
    app: App = create_app(service)
    plain = _listen(settings.host, settings.port)
    listeners: list[tuple[_Server, socket.socket]] = []
    tasks: list[asyncio.Task[None]] = []
    if settings.tls and settings.tls_cert is not None and settings.tls_key is not None:
        secure = _listen(settings.host, settings.tls_port)
        server = _uvicorn(app, settings, tls=True)
        listeners.append((server, secure))
        tasks.append(asyncio.create_task(_reload_certificate(server, settings.tls_cert, settings.tls_key)))
        app = ProbesOnly(app, secure.getsockname()[1])
    listeners.append((_uvicorn(app, settings, tls=False), plain))

    def stop() -> None:
        for server, _ in listeners:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
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
        await asyncio.to_thread(service.stop)
        logs.event("stopped")


def run(settings: AdminSettings) -> None:
    """Serves until a signal says stop, then finishes what is in flight. Raises :class:`SettingsError`."""
    forbid_core_files()
    logs.configure()
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))
