"""Opens the sockets of a listener and accepts connections, under the limits of `connections.py`.

uvicorn would accept every connection and create its objects first. Here a connection is counted before anything else:
above a limit it is closed at once, and a peer that opens connections too fast waits before the TLS handshake.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway_api import logs
from gateway_api.errors import SHORTAGE_ERRNOS, errno_name
from gateway_api.http.connections import Slot, SlotTable
from gateway_api.http.rate_limit import Pacer, peer_group
from gateway_api.settings import SettingsError

ALL_ADDRESSES: Final = "::"
"""Listens on all addresses of both IPv6 and IPv4; on IPv4 alone where the system has no IPv6."""
BACKLOG: Final = 512
ACCEPTS_PER_CALL: Final = 16
"""Connections that are accepted before other events of the loop have their turn."""
PLAIN_COST: Final = 0.25
TLS_COST: Final = 1.0
"""Costs of a connection, in requests of the pacer. A TLS handshake takes about a millisecond."""
SHORTAGE_PAUSE_SECONDS: Final = 0.1
TLS_SHUTDOWN_SECONDS: Final = 5.0
_SHORTAGES: Final = SHORTAGE_ERRNOS | {errno.ENOBUFS}
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT})


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for ``host``: an address, `::` for all addresses, or `localhost` for both loopback addresses.

    Raises :class:`SettingsError` if the port cannot be opened. IPv6 is optional for `::` and `localhost`.
    """
    try:
        if host == ALL_ADDRESSES:
            return [_open_all(port)]
        if host == "localhost":
            first = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
            with suppress(OSError):
                second = ("::1", first.getsockname()[1])
                return [first, socket.create_server(second, family=socket.AF_INET6, backlog=BACKLOG)]
            return [first]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [socket.create_server((host, port), family=family, backlog=BACKLOG)]
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def _open_all(port: int) -> socket.socket:
    try:
        return socket.create_server(
            (ALL_ADDRESSES, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=socket.has_dualstack_ipv6()
        )
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
        return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - all addresses were asked for
    except ValueError:
        # IPv6 exists without dual-stack sockets. IPv4 is then the address family that the probes can rely on.
        return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - as above


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


class Listener:
    """Accepts connections on sockets and gives each one a slot and a protocol.

    ``create_protocol`` makes the protocol of one connection, to which the slot belongs from then on. ``pacer`` is None
    if peers are not limited. ``handshake_seconds`` is the time limit of a TLS handshake.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        slots: SlotTable,
        pacer: Pacer | None,
        create_protocol: Callable[[Slot], asyncio.Protocol],
        ssl_context: ssl.SSLContext | None,
        handshake_seconds: float,
    ) -> None:
        self._sockets = sockets
        self._slots = slots
        self._pacer = pacer
        self._create_protocol = create_protocol
        self._ssl = ssl_context
        self._handshake_seconds = handshake_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port, also if the system chose it."""
        return int(self._sockets[0].getsockname()[1])

    def start(self) -> None:
        """Begins to accept connections on the running event loop."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            sock.setblocking(False)
            loop.add_reader(sock.fileno(), self._accept, sock)

    def stop(self) -> None:
        """Closes the sockets. Open connections are not touched. A second call does nothing."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            if sock.fileno() >= 0:
                loop.remove_reader(sock.fileno())
                sock.close()
        for task in tuple(self._tasks):
            task.cancel()

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_CALL):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self._pause(sock, error)
                return
            self._admit(connection, peer_group(str(address[0])))

    def _pause(self, sock: socket.socket, error: OSError) -> None:
        """Stops accepting for a moment: the socket stays readable, so the loop would spin until a file is closed."""
        logs.limited_event("accept_failed", logging.ERROR, errno=errno_name(error))
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock.fileno())

        def resume() -> None:
            if sock.fileno() >= 0:
                loop.add_reader(sock.fileno(), self._accept, sock)

        loop.call_later(SHORTAGE_PAUSE_SECONDS, resume)

    def _admit(self, connection: socket.socket, peer: str) -> None:
        cost = PLAIN_COST if self._ssl is None else TLS_COST
        delay = 0.0 if self._pacer is None else self._pacer.reserve(peer, time.monotonic(), cost)
        slot = None if delay is None else self._slots.take(peer, connection.close)
        if slot is None or delay is None:
            # A reset frees the connection at once; an orderly close would keep it in the kernel for a minute.
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            connection.close()
            logs.limited_event("connection_limit", logging.WARNING, peer=peer, open=len(self._slots))
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._open(connection, slot, delay))
        slot.close = lambda: _cancel(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, connection: socket.socket, slot: Slot, delay: float) -> None:
        """Hands the connection to its protocol, after the TLS handshake if there is one."""
        opened = False
        try:
            if delay > 0:
                await asyncio.sleep(delay)
            protocol = self._create_protocol(slot)
            tls = self._handshake_seconds if self._ssl is not None else None
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._ssl,
                ssl_handshake_timeout=tls,
                ssl_shutdown_timeout=None if tls is None else TLS_SHUTDOWN_SECONDS,
            )
            # An orderly close lets a client open a new connection. With TLS it would wait for the client.
            slot.close = transport.close if self._ssl is None else transport.abort
            opened = True  # from now on the protocol releases the slot
        except (OSError, asyncio.CancelledError):
            # The client left, the handshake failed or timed out, or the slot was given to another connection.
            return
        finally:
            if not opened:
                slot.release()
                connection.close()
