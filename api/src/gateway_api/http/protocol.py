"""uvicorn's HTTP protocol with limits of size and time, and a JSON error body for malformed HTTP.

uvicorn itself waits without limit for the rest of a request and answers malformed HTTP in plain text. This subclass
limits the head (request line and headers) in size and total time, and the body in total time. It overrides documented
asyncio callbacks, the callbacks of the httptools parser, and uvicorn's `send_400_response`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway_api import logs
from gateway_api.clock import utc_now
from gateway_api.contract import REQUEST_ID_HEADER, ErrorCode
from gateway_api.errors import ApiError
from gateway_api.http.error_body import error_body, error_status

MAX_HEAD_BYTES: Final = 64 * 1024
"""Limit of the request line and all headers together."""
MIN_BODY_BYTES_PER_SECOND: Final = 64 * 1024
"""The average rate that a long body must have: each 64 KiB received extends its time limit by one second.

A slow upload can therefore finish. A client that sends single bytes to hold the connection open cannot.
"""
_REASONS: Final = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class _HeadTooLargeError(Exception):
    """Raised in a parser callback. The parser then fails, and uvicorn calls `send_400_response`."""


class AdminProtocol(HttpToolsProtocol):
    """One client connection.

    ``read_timeout`` is the time limit of a whole head in seconds, and the initial time limit of a body.
    """

    read_timeout: float = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = 0  # bytes of the incomplete head, with those that the parser still buffers
        self._header_bytes = 0  # bytes of the head that the parser has passed to callbacks
        self._in_body = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._cancel_timer()
        self._deadline = self.loop.time() + self.read_timeout
        self._timer = self.loop.call_at(self._deadline, self._on_timeout)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        if self.flow.read_paused:
            # The server has paused reading (a pipelined request or a slow disk), so the client is not late.
            self._start_timer()
        elif self.loop.time() < self._deadline:
            # `data_received` has extended the deadline since the timer was set.
            self._timer = self.loop.call_at(self._deadline, self._on_timeout)
        elif self._in_body or self._received:
            self._reject(ErrorCode.RequestTimeout)
        else:
            # No byte of a request has arrived, so there is no request to answer.
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Passes the data to the parser and counts it.

        The parser calls back only for complete headers. A header without an end is limited by the count here.
        """
        if self.transport.is_closing():
            return
        if self._in_body:
            self._deadline += len(data) / MIN_BODY_BYTES_PER_SECOND
        else:
            self._received += len(data)
        super().data_received(data)
        if not self._in_body and self._received > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._reject(ErrorCode.HeadersTooLarge)

    def on_message_begin(self) -> None:
        """Starts the time limit of a head. The limit of the first head runs since the connection was opened."""
        super().on_message_begin()
        self._header_bytes = 0
        if self._timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)  # 4: the colon, a space, and the line end
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError

    def on_headers_complete(self) -> None:
        """Ends the time limit of the head and starts that of the body."""
        self._received, self._in_body = 0, True
        self._start_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stops the timer: the request is complete, and the time that the server takes is not limited here."""
        self._in_body = False
        self._cancel_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn calls this when the parser refuses
        """Replaces uvicorn's plain-text response to a request that the parser refuses."""
        too_large = self._header_bytes > MAX_HEAD_BYTES
        self._reject(ErrorCode.HeadersTooLarge if too_large else ErrorCode.RequestMalformed)

    def _reject(self, code: ErrorCode) -> None:
        self._cancel_timer()
        logs.event("connection_refused", 30, code=code.value, peer=self.client[0] if self.client else None)
        cycle: Any = self.cycle  # uvicorn's current request and response; None before the first complete head
        # A second status line must not be written into a response that has begun.
        if cycle is None or cycle.response_complete or not cycle.response_started:
            error = ApiError(code)
            status = error_status(error)
            body = json.dumps(error_body("", error, utc_now())).encode()
            head = [
                f"HTTP/1.1 {status} {_REASONS[status]}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                f"{REQUEST_ID_HEADER.lower()}: {secrets.token_hex(8)}",
                "connection: close",
            ]
            self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()
