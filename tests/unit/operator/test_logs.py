"""What of kopf's and aiohttp's lines is left out of the log, and what is not."""

from __future__ import annotations

import logging
import sys

from gateway_operator.running import _WhatMatters


class ActivityError(Exception):
    """As kopf's own is called, which is no part of what it offers."""


def _record(name: str, error: Exception, level: int = logging.ERROR) -> logging.LogRecord:
    try:
        raise error
    except Exception:
        return logging.LogRecord(name, level, __file__, 1, "Error handling request", None, sys.exc_info())


def test_a_probe_that_fails_leaves_no_stack_in_the_log_and_every_other_error_does() -> None:
    matters = _WhatMatters()
    assert not matters.filter(_record("aiohttp.server", ActivityError("0 of 5 watches are alive")))
    assert matters.filter(_record("aiohttp.server", ValueError("x")))
    assert matters.filter(_record("kopf", ActivityError("x")))
