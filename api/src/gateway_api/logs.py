"""Structured logs: one JSON object per line on standard error, with the id of the current HTTP request.

An event has a fixed name and separate fields. Text from a caller or from a config is never part of the name.
Logging never blocks: a line that standard error does not take at once is dropped and counted.
"""

from __future__ import annotations

import json
import logging
import os
import select
import threading
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from gateway_api.clock import rfc3339

request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the HTTP request that this task or thread handles."""
logger: Final = logging.getLogger("gateway_admin")


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON. An exception gives its type and frames, never its text, which may quote a config."""

    def format(self, record: logging.LogRecord) -> str:
        """The JSON object without a newline."""
        line: dict[str, Any] = {
            "time": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = [
                f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-8:]
            ]
        return json.dumps(line, ensure_ascii=True)


class NonBlockingHandler(logging.Handler):
    """Writes lines to a descriptor without ever waiting for its reader.

    A pipe that nobody reads fills up. A blocking write would then stop the event loop, and with it the probes and the
    reaction to SIGTERM. The number of dropped lines is written before the next line that fits.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._dropped = 0
        self._ends_inside_line = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record as one line, or counts it as dropped."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace")
        except Exception:  # a field that is no JSON value must not end the request that logs it
            line = b'{"event": "log_line_failed"}'
        if self._dropped:
            notice = {"time": rfc3339(datetime.now(UTC)), "event": "log_lines_dropped", "lines": self._dropped}
            if not self._write(json.dumps(notice).encode()):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._write(line):
            self._dropped += 1

    def _write(self, line: bytes) -> bool:
        data = (b"\n" if self._ends_inside_line else b"") + line + b"\n"
        written = 0
        while written < len(data):
            # A pipe that is ready takes PIPE_BUF bytes without waiting; see pipe(7).
            piece = data[written : written + select.PIPE_BUF]
            try:
                ready = self._poll.poll(0)
                if not ready or not ready[0][1] & select.POLLOUT:
                    break
                written += os.write(self._fd, piece)
            except OSError:
                break
        if written:
            self._ends_inside_line = written < len(data)
        return written == len(data)


def configure() -> None:
    """Sets up logging for the whole process, including uvicorn. Call this once at start."""
    handler = NonBlockingHandler(2)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)


def event(name: str, level: int = logging.INFO, *, failed: bool = False, **fields: object) -> None:
    """Logs the event ``name`` with ``fields``. ``failed`` adds type and frames of the exception being handled."""
    logger.log(level, name, extra={"fields": fields}, exc_info=failed)


_LIMITED_BURST: Final = 50.0
_LIMITED_PER_SECOND: Final = 10.0


class _EventLimit:
    """A token bucket for one event name, with the number of lines that were left out."""

    def __init__(self) -> None:
        self._tokens = _LIMITED_BURST
        self._updated_at = time.monotonic()
        self._left_out = 0
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """The number of lines left out since the last one, or None if this one is to be left out too."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(_LIMITED_BURST, self._tokens + (now - self._updated_at) * _LIMITED_PER_SECOND)
            self._updated_at = now
            if self._tokens < 1:
                self._left_out += 1
                return None
            self._tokens -= 1
            left_out, self._left_out = self._left_out, 0
            return left_out


_limits: Final[dict[str, _EventLimit]] = {}


def limited_event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """As :func:`event`, for what a client without a key can cause: about ten lines a second for each name."""
    left_out = _limits.setdefault(name, _EventLimit()).take()
    if left_out is not None:
        extra = {"left_out": left_out} if left_out else {}
        logger.log(level, name, extra={"fields": {**fields, **extra}})
