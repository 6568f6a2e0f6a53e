"""Attacks of one peer without a key, each an endless loop in a process of its own.

Run as a program: ``python -m tests.bench.admission.attacks NAME PLAIN_PORT TLS_PORT``. All connections come from
127.0.0.2. Only loopback addresses are used. The parent ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import secrets
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Final

ATTACKER: Final = ("127.0.0.2", 0)
SYSTEM_HEALTH: Final = b"/api/v1/system/health"
MANY: Final = 7500


async def _connect(port: int, **options: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=ATTACKER, **options)  # type: ignore[arg-type]


async def _hold(port: int, start: bytes, drip: bytes = b"", seconds: float = 1.0) -> None:
    """Opens a connection, sends ``start``, then ``drip`` once a period, and opens the next one when it is closed."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await _connect(port)
            try:
                writer.write(start)
                await writer.drain()
                while not reader.at_eof():
                    if drip:
                        writer.write(drip)
                        await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(65536), seconds)
            finally:
                writer.close()
        await asyncio.sleep(0.01)


async def _many(count: int, job: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(job())  # type: ignore[arg-type]
            if number % 100 == 0:
                await asyncio.sleep(0.01)


async def unfinished_heads(plain: int, _: int) -> None:
    """7,500 connections, each with a head of 60 KB that does not end."""
    start = b"GET /health HTTP/1.1\r\nX: " + b"a" * 60_000
    await _many(MANY, lambda: _hold(plain, start))


async def tiny_headers(_: int, tls: int) -> None:
    """As many short headers as a connection may send, over TLS, without an end."""
    context = _trusting()

    async def flood() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await _connect(tls, ssl=context)
                writer.write(b"GET /health HTTP/1.1\r\n" + b"a:b\r\n" * 12_000)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(), 5)
                writer.close()
            await asyncio.sleep(0.01)

    await _many(400, flood)


async def idle_connections(plain: int, tls: int) -> None:
    """Connections that send nothing, on both ports, up to the limit of open files."""
    ports = itertools.cycle((plain, tls))
    await _many(3000, lambda: _hold(next(ports), b""))


async def connection_flood(plain: int, tls: int) -> None:
    """Connections that are opened and closed as fast as possible, on both ports."""
    ports = itertools.cycle((plain, tls))

    async def flood() -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await _connect(next(ports))
                writer.close()
            await asyncio.sleep(0)

    await _many(50, flood)


async def wrong_keys(_: int, tls: int) -> None:
    """Requests with another wrong key each, as fast as the server answers."""
    context = _trusting()

    async def flood() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await _connect(tls, ssl=context)
                while True:
                    key = secrets.token_hex(24).encode()
                    writer.write(b"GET " + SYSTEM_HEALTH + b" HTTP/1.1\r\nHost: x\r\napikey: " + key + b"\r\n\r\n")
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    await reader.readexactly(length)
            await asyncio.sleep(0.01)

    await _many(100, flood)


async def slow_bodies(_: int, tls: int) -> None:
    """Bodies that arrive one byte a second, without a key, over TLS."""
    context = _trusting()
    start = b"POST /api/v1/system/backup HTTP/1.1\r\nHost: x\r\n"
    start += b"Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n"

    async def hold() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await _connect(tls, ssl=context)
                writer.write(start + b" " * 40_000)
                while not reader.at_eof():
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(1)
            await asyncio.sleep(0.01)

    await _many(1000, hold)


async def unread_answers(plain: int, _: int) -> None:
    """Thousands of pipelined requests whose answers are never read."""
    requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2000

    async def flood() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", plain, local_addr=ATTACKER, limit=1024)
                writer.write(requests)
                await asyncio.wait_for(writer.drain(), 20)
                await asyncio.sleep(20)
                del reader
                writer.close()
            await asyncio.sleep(0.01)

    await _many(400, flood)


async def unread_documents(_: int, tls: int) -> None:
    """A few pipelined requests for the largest answer that needs no key, over TLS; the answers are never read."""
    context = _trusting()
    requests = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 8

    async def flood() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", tls, local_addr=ATTACKER, limit=1024, ssl=context
                )
                writer.write(requests)
                await asyncio.sleep(20)
                writer.close()
            await asyncio.sleep(0.01)

    await _many(400, flood)


async def request_flood(plain: int, _: int) -> None:
    """Requests that need no key, over 400 connections, as fast as the server answers."""

    async def flood() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await _connect(plain)
                while True:
                    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                    if not await reader.read(4096):
                        break
            await asyncio.sleep(0.01)

    await _many(400, flood)


async def unfinished_handshakes(_: int, tls: int) -> None:
    """TLS handshakes that stop after the first bytes of the client's hello."""
    await _many(3000, lambda: _hold(tls, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100))


async def finished_handshakes(_: int, tls: int) -> None:
    """Complete TLS handshakes, as many a second as possible, without a request."""
    context = _trusting()

    async def flood() -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await _connect(tls, ssl=context)
                writer.transport.abort()
            await asyncio.sleep(0)

    await _many(50, flood)


async def malformed(plain: int, _: int) -> None:
    """Requests that are no HTTP, each on a connection of its own."""

    async def flood() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await _connect(plain)
                writer.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
                await reader.read()
                writer.close()
            await asyncio.sleep(0)

    await _many(50, flood)


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


ATTACKS: Final = {
    attack.__name__: attack
    for attack in (
        unfinished_heads,
        tiny_headers,
        idle_connections,
        connection_flood,
        wrong_keys,
        slow_bodies,
        unread_answers,
        unread_documents,
        request_flood,
        unfinished_handshakes,
        finished_handshakes,
        malformed,
    )
}


def main() -> None:
    """Runs one attack until the process is killed."""
    name, plain, tls = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65536, hard))
    asyncio.run(ATTACKS[name](int(plain), int(tls)))


if __name__ == "__main__":
    main()
