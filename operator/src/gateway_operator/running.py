"""Running kopf: logs, handlers, memory."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket

import kopf

from gateway_operator.settings import Settings


class _WhatMatters(logging.Filter):
    """Kopf logs every TemporaryError as an error, and ours are waits; and that it has called handlers, each time. What
    a probe found it says in one line, and aiohttp once more with the whole stack."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if record.name == "aiohttp.server" and record.exc_info and type(record.exc_info[1]).__name__ == "ActivityError":
            return False
        if record.levelno == logging.ERROR and "failed temporarily: waiting" in message:
            record.levelno, record.levelname = logging.INFO, "INFO"
        called = message.endswith("' succeeded.") or (" is processed: " in message and message.endswith("; 0 failed."))
        return not (record.levelno == logging.INFO and called)


def run(settings: Settings) -> int:
    """Run until a signal comes."""
    log_format = kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.FULL
    kopf.configure(verbose=settings.verbose, log_format=log_format, log_prefix=settings.log_format != "json")
    # A line for every probe tells nobody anything.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_WhatMatters())
    # Importing them registers them.
    from gateway_operator.handlers import backups, imports, lifecycle, restores, schedules

    for module in (backups, imports, lifecycle, restores, schedules):
        logging.getLogger(__name__).debug("handlers of %s", module.__name__)
    # What is imported stays, and what a backup makes is gone with it: the collector need not look at all of it, all the
    # time. A seventh of the CPU.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    # Else kopf asks the password file who we are, and the uid that a cluster gives us is in no such file.
    os.environ.setdefault("POD_ID", socket.gethostname())
    asyncio.run(
        kopf.operator(
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            liveness_endpoint=settings.liveness_url,
            memo=kopf.Memo(settings=settings),
        )
    )
    return 0
