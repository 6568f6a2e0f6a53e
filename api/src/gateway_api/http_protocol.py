"""What is no HTTP gets the contract's error body, and nobody may keep a connection waiting for ever.

uvicorn answers what its parser refuses with a line of plain text, and waits without end for a request that has begun.
Here both end: heads are limited in size and time, bodies in the time between two pieces.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import logs
from .contract import REQUEST_ID_HEADER, ErrorCode
from .errors import ApiError, error_body
from .mutations import utc_now

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of a request line and all headers together."""
_REASONS: Final = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class _HeadTooLarge(Exception):  # noqa: N818 - reads as what it says
    """Raised out of the parser's callbacks, which then refuses the rest."""


class Protocol(HttpToolsProtocol):
    """One connection. ``waits`` is how many seconds a whole head, or the next piece of a body, may take."""

    waits: float = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = 0
        self._told = 0
        self._in_head = True
        self._in_body = False
        self._too_large = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing more."""
        self._unwait()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._unwait()
        self._timer = self.loop.call_later(self.waits, self._late)

    def _unwait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self.flow.read_paused:
            # It is us who do not read: a pipelined request, or a body that the disk is slow to take.
            self._wait()
        elif self._in_body or self._head:
            self._refuse(ErrorCode.RequestTimeout)
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, unless the head is too large already: a header without an end is never one to it."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head += len(data)
        elif self._in_body:
            self._wait()
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(ErrorCode.HeadersTooLarge)

    def on_message_begin(self) -> None:
        """Begins a head, whose time runs."""
        super().on_message_begin()
        self._in_head, self._told = True, 0
        if self._timer is None:
            self._wait()

    def on_url(self, url: bytes) -> None:
        """Counts what is kept."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts what is kept."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._told += size
        if self._told > MAX_HEAD_BYTES:
            self._too_large = True
            raise _HeadTooLarge

    def on_headers_complete(self) -> None:
        """Ends a head; now the body's time runs."""
        self._in_head, self._head, self._in_body = False, 0, True
        self._wait()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Ends a body: what takes time now is our own work."""
        self._in_head, self._in_body = True, False
        self._unwait()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's name
        """What the parser refuses. ``msg`` is its word, which says nothing."""
        self._refuse(ErrorCode.HeadersTooLarge if self._too_large else ErrorCode.RequestMalformed)

    def _refuse(self, code: ErrorCode) -> None:
        self._unwait()
        error, name = ApiError(code), secrets.token_hex(8)
        logs.event("connection_refused", 30, code=code.value, peer=self.client[0] if self.client else None)
        cycle: Any = self.cycle  # None before the first head is whole, whatever uvicorn's types say
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = json.dumps(error_body("", error, utc_now())).encode()
            head = [
                f"HTTP/1.1 {error.status} {_REASONS[error.status]}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                f"{REQUEST_ID_HEADER.lower()}: {name}",
                "connection: close",
            ]
            self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()
        if cycle is not None and not cycle.response_complete:
            # What the application still says is for nobody.
            cycle.disconnected = True
            cycle.message_event.set()
