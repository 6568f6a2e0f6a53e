"""A reset is a restore of an empty config: the same transaction, and the same way back.

The admin key stays what it was, so that whoever resets is not locked out. A new one, when asked for, stands in the
config and nowhere else: in no answer, no log and no record.
"""

from __future__ import annotations

import json
import secrets

from . import config_shape
from .config_file import Live
from .config_shape import NotAConfig
from .context import Context
from .contract import ErrorCode, ResetRequest, RestoreResult
from .errors import ApiError
from .restore_source import Source
from .seed import default_config
from .transaction import Wanted, replace_config

KEY_BYTES = 192


def reset(context: Context, request: ResetRequest) -> RestoreResult:
    """Puts the default settings and no data in the config's place, once. Raises ``ResetNotConfirmed``,
    ``AdminKeyUnknown``, and what a restore raises."""
    if request.confirm is not True:
        raise ApiError(ErrorCode.ResetNotConfirmed)
    return replace_config(context, Wanted("reset", request, True, lambda: _empty(context, request)))


def _empty(context: Context, request: ResetRequest) -> Source:
    key = secrets.token_urlsafe(KEY_BYTES) if request.rotate_admin_key else admin_key_of(context.config.read())
    if key is None:
        raise ApiError(ErrorCode.AdminKeyUnknown)
    config = default_config(key)
    content = json.dumps(config, indent=2).encode()
    return Source("", None, content, config_shape.summarize(content, config), ())


def admin_key_of(live: Live) -> str | None:
    """The admin key of a config, also of one of the wrong shape; None when it cannot be told."""
    try:
        value = config_shape.parse(live.data or b"")
    except NotAConfig:
        return None
    key = value.get("admin_apikey") if isinstance(value, dict) else None
    return key if isinstance(key, str) and key.strip() else None
