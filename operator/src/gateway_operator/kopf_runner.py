"""Running kopf: logs, handlers, memory."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from typing import Final

import kopf

from gateway_operator.settings import OperatorSettings

_QUIET: Final = ("aiohttp.access", "kopf.objects", "kopf.activities.probe")
"""Loggers with a line for every probe and for every event that a handler took. Their warnings stay."""


def run(settings: OperatorSettings) -> int:
    """Run until a signal comes."""
    log_format = kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.FULL
    kopf.configure(verbose=settings.verbose, log_format=log_format, log_prefix=settings.log_format != "json")
    if not settings.verbose:
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
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
