"""uvicorn's HTTP protocol with limits of size and time, and a JSON error body for malformed HTTP.

uvicorn itself waits without limit for the rest of a request and answers malformed HTTP in plain text. This subclass
limits the head (request line and headers) in size, number of headers and total time. It limits the total time of the
body, and the time in which a client takes no byte of its response. It overrides documented asyncio callbacks, the
callbacks of the httptools parser, and uvicorn's `send_400_response` and `on_response_complete`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway_api import logs
from gateway_api.clock import utc_now
from gateway_api.contract import REQUEST_ID_HEADER, ErrorCode
from gateway_api.errors import ApiError
from gateway_api.http.connections import Rank, Slot
from gateway_api.http.error_body import error_body, error_status

MAX_HEAD_BYTES: Final = 64 * 1024
"""Limit of the request line and all headers together."""
MAX_HEADERS: Final = 128
"""Limit of the number of headers. A short header costs fifty times its size in memory."""
MIN_BODY_BYTES_PER_SECOND: Final = 64 * 1024
"""The average rate that a long body must have: each 64 KiB received extends its time limit by one second.

A slow upload can therefore finish. A client that sends single bytes to hold the connection open cannot. Only a request
with an accepted key gets more time.
"""
CONNECTION_SCOPE_KEY: Final = "gateway_admin.connection"
"""The entry of the ASGI scope that holds the :class:`AdminProtocol` of the request."""
_REASONS: Final = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


MAX_PIPELINED: Final = 8
"""Requests that a client may send before it has the responses to earlier ones. The usual clients send none.

The parser creates the objects of all requests in a piece of data at once, long before they are served.
"""


class _TooManyPipelinedError(Exception):
    """Raised in a parser callback. The parser then fails, and uvicorn calls `send_400_response`."""


class _HeadTooLargeError(Exception):
    """Raised in a parser callback. The parser then fails, and uvicorn calls `send_400_response`."""


class AdminProtocol(HttpToolsProtocol):
    """One client connection.

    ``read_timeout`` is in seconds. It limits a whole head, a body without an accepted key, and the time in which a
    client takes no byte of its response. ``slot`` counts the connection in its listener.
    """

    read_timeout: float = 30.0
    slot: Slot | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = 0  # bytes of the incomplete head, with those that the parser still buffers
        self._header_bytes = 0  # bytes of the head that the parser has passed to callbacks
        self._header_count = 0
        self._has_key = False
        self._in_body = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def accept_key(self) -> None:
        """The current request has an accepted key: its body may take longer, and no other connection replaces it."""
        self._has_key = True
        if self.slot is not None:
            self.slot.protect()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self._cancel_write_timer()
        if self.slot is not None:
            self.slot.release()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Starts the time limit of a client that does not read its response."""
        super().pause_writing()
        self._cancel_write_timer()
        self._write_timer = self.loop.call_later(self.read_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        self._cancel_write_timer()
        super().resume_writing()

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

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
        if not self._in_body:
            self._received += len(data)
            cycle: Any = self.cycle  # None before the first complete head
            if self._timer is None and (cycle is None or cycle.response_complete):
                # Bytes between two requests, such as empty lines, end uvicorn's keep-alive timer but begin no request.
                self._start_timer()
        elif self._has_key:
            self._deadline += len(data) / MIN_BODY_BYTES_PER_SECOND
        super().data_received(data)
        if not self._in_body and self._received > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._reject(ErrorCode.HeadersTooLarge)

    def on_message_begin(self) -> None:
        """Starts the time limit of a head. The limit of the first head runs since the connection was opened."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _TooManyPipelinedError
        super().on_message_begin()
        scope: Any = self.scope
        scope[CONNECTION_SCOPE_KEY] = self
        self._header_bytes = self._header_count = 0
        if self._timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._count(len(name) + len(value) + 4)  # 4: the colon, a space, and the line end
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._head_too_large():
            raise _HeadTooLargeError

    def _head_too_large(self) -> bool:
        return self._header_bytes > MAX_HEAD_BYTES or self._header_count > MAX_HEADERS

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

    def on_response_complete(self) -> None:
        """The connection waits for its client again, and loses its protection."""
        if self.slot is not None:
            self.slot.wait_for_client(Rank.HadKey if self._has_key else Rank.Answered)
        self._has_key = False
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn calls this when the parser refuses
        """Replaces uvicorn's plain-text response to a request that the parser refuses."""
        if self.pipeline:
            # Earlier requests wait for their responses, so an error response would be taken for one of those.
            logs.limited_event(
                "connection_refused", logging.WARNING, code=None, peer=self.client[0] if self.client else None
            )
            self._cancel_timer()
            self.transport.close()
            return
        self._reject(ErrorCode.HeadersTooLarge if self._head_too_large() else ErrorCode.RequestMalformed)

    def _reject(self, code: ErrorCode) -> None:
        self._cancel_timer()
        logs.limited_event(
            "connection_refused", logging.WARNING, code=code.value, peer=self.client[0] if self.client else None
        )
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
