"""One JSON object a line on standard error, each with the id of the request it belongs to.

Messages are written by this package from fixed words; what a caller sent is never formatted into one.
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
logger: Final = logging.getLogger("gateway_admin")


class JsonFormatter(logging.Formatter):
    """Turns a record into a line. An exception is told by type and places; its text may quote a config."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
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
    """Sends every logger of the process, uvicorn's included, through the formatter. Call once, at start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)


def event(name: str, level: int = logging.INFO, *, failed: bool = False, **fields: object) -> None:
    """Logs ``name`` with ``fields``; ``failed`` adds type and places of the exception being handled."""
    logger.log(level, name, extra={"fields": fields}, exc_info=failed)
