"""One HTTP connection: uvicorn's protocol with limits, and the contract's error body for malformed HTTP.

uvicorn answers malformed HTTP in plain text and waits without limit for the rest of a request. Here a head is limited
in size and in total time, and a body in total time.
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
"""A body gets one more second for each of these pieces that arrives: slow uploads finish, trickled ones do not."""
_REASONS: Final = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class _HeadTooLargeError(Exception):
    """Raised in a callback of the parser, which then refuses the rest."""


class AdminProtocol(HttpToolsProtocol):
    """One connection. ``read_timeout`` is the time limit of a whole head, and of a body's first bytes, in seconds."""

    read_timeout: float = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = 0  # in the head that is not complete yet, also what the parser has not handed over
        self._header_bytes = 0  # handed over by the parser
        self._in_body = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time of the first head."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
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
            # The server does not read now: a pipelined request, or a slow disk. The client is not to blame.
            self._start_timer()
        elif self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._on_timeout)
        elif self._in_body or self._received:
            self._reject(ErrorCode.RequestTimeout)
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser. A header without an end never reaches a callback, so received bytes are counted too."""
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
        """Starts the time of a head, unless it runs since the connection began."""
        super().on_message_begin()
        self._header_bytes = 0
        if self._timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        """Counts the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts a header."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError

    def on_headers_complete(self) -> None:
        """Starts the time of the body."""
        self._received, self._in_body = 0, True
        self._start_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stops the time: what follows is the server's own work."""
        self._in_body = False
        self._cancel_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn calls this when the parser refuses
        """Rejects malformed HTTP and a head that is too large."""
        too_large = self._header_bytes > MAX_HEAD_BYTES
        self._reject(ErrorCode.HeadersTooLarge if too_large else ErrorCode.RequestMalformed)

    def _reject(self, code: ErrorCode) -> None:
        self._cancel_timer()
        logs.event("connection_refused", 30, code=code.value, peer=self.client[0] if self.client else None)
        cycle: Any = self.cycle  # None before the first head is complete
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
