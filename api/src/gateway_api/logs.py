"""Structured logs: one JSON object per line on standard error, with the id of the current HTTP request.

An event has a fixed name and separate fields. Text from a caller or from a config is never part of the name.
"""

from __future__ import annotations

import json
import logging
import sys
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


def configure() -> None:
    """Sets up logging for the whole process, including uvicorn. Call this once at start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)


def event(name: str, level: int = logging.INFO, *, failed: bool = False, **fields: object) -> None:
    """Logs the event ``name`` with ``fields``. ``failed`` adds type and frames of the exception being handled."""
    logger.log(level, name, extra={"fields": fields}, exc_info=failed)
