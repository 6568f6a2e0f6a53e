"""The readings of a config that take time in proportion to its size, as functions from bytes to what JSON can carry.

They run in a thread for a small config and in a worker process for a large one: `judging.py` chooses. The standard
library alone, so that the worker starts at once.
"""

from __future__ import annotations

import json
from typing import Any

from gateway_api.gateway_config import schema
from gateway_api.gateway_config.diff import diff
from gateway_api.gateway_config.schema import InvalidConfig

Bytes = bytes | memoryview
ParseResult = tuple[dict[str, Any], bytes | None]
"""What was found, and the bytes of a config that is not the bytes that were read."""


def parse(data: Bytes, *, unwrap: bool, sections: bool, limit: int) -> ParseResult:
    """``facts`` of a config, or ``refused`` with the reason. ``unwrap`` accepts the public gateway's envelope: then the
    second part is the config within, unless it has more than ``limit`` bytes, which is ``too_large``."""
    try:
        value, enveloped = schema.parse(data), False
        if unwrap:
            value, enveloped = schema.unwrap(value)
        config = schema.check(value)
        content = json.dumps(config, indent=2).encode() if enveloped else None
        if content is not None and len(content) > limit:
            return {"too_large": True}, None
        return {"facts": schema.summarize(config, sections=sections)}, content
    except InvalidConfig as problem:
        return {"refused": str(problem), "parsed": problem.parsed}, None
    except RecursionError:
        return {"refused": "the JSON is nested too deeply", "parsed": False}, None


def difference(old: Bytes | None, new: Bytes) -> ParseResult:
    """``diff`` from one config to another; both have been judged before."""
    before, after = (None if data is None else schema.check(schema.parse(data)) for data in (old, new))
    assert after is not None
    return {"diff": diff(before, after)}, None


def admin_key(data: Bytes) -> ParseResult:
    """``admin_key``, or None when it cannot be told."""
    return {"admin_key": schema.admin_key_of(data)}, None
