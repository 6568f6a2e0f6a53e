"""The tasks whose time grows with the size of a config: parse, diff and read the admin key.

Each task is a function from the bytes of a config to values that JSON can carry. `parser.py` runs it in the calling
thread for a small config and in a worker process for a large one. This module imports the standard library only, so
that the worker starts within milliseconds.
"""

from __future__ import annotations

import json
from typing import Any

from gateway_api.gateway_config import schema
from gateway_api.gateway_config.diff import diff, outline
from gateway_api.gateway_config.schema import InvalidConfig

Bytes = bytes | memoryview
ParseResult = tuple[dict[str, Any], bytes | None]
"""The result as JSON values, and the bytes of the config if they differ from the input (an unwrapped envelope)."""


def parse(data: Bytes, *, unwrap: bool, sections: bool, limit: int) -> ParseResult:
    """Parses, checks and summarizes a config.

    The result holds ``summary``, or ``invalid`` with the reason and ``parsed``, or ``too_large``. With ``unwrap`` the
    input may also be the public gateway's backup envelope. The second part is then the config inside the envelope. It
    is ``too_large`` when it has more than ``limit`` bytes. ``sections`` adds the digest of the data sections.
    """
    try:
        value, enveloped = schema.parse(data), False
        if unwrap:
            value, enveloped = schema.unwrap(value)
        config = schema.check(value)
        content = json.dumps(config, indent=2).encode() if enveloped else None
        if content is not None and len(content) > limit:
            return {"too_large": True}, None
        return {"summary": schema.summarize(config, sections=sections)}, content
    except InvalidConfig as error:
        return {"invalid": str(error), "parsed": error.parsed}, None
    except RecursionError:
        return {"invalid": "the JSON is nested too deeply", "parsed": False}, None


def compare(old: Bytes | None, new: Bytes) -> ParseResult:
    """The result holds ``diff``, the change from one valid config to another; see ``diff.py``."""
    # One after the other: each parsed config is freed before the next one is parsed.
    before = None if old is None else outline(schema.check(schema.parse(old)))
    return {"diff": diff(before, outline(schema.check(schema.parse(new))))}, None


def read_admin_key(data: Bytes) -> ParseResult:
    """The result holds ``admin_key``, which is None when the config has none or is not JSON."""
    return {"admin_key": schema.read_admin_key(data)}, None
