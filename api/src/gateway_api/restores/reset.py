"""A reset is a restore of an empty config: the same transaction, and the same way back.

The admin key stays what it was, so that whoever resets is not locked out. A new one, when asked for, stands in the
config and nowhere else: in no answer, no log and no record.
"""

from __future__ import annotations

import json
import secrets

from gateway_api.contract import ErrorCode, ResetRequest, RestoreResult
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.gateway_config import summary
from gateway_api.gateway_config.defaults import default_config
from gateway_api.operation_context import OperationContext
from gateway_api.repository.reader import StoredFile
from gateway_api.restores.transaction import ReplaceRequest, replace_config
from gateway_api.storage.content import Blob

KEY_BYTES = 192


def reset(context: OperationContext, request: ResetRequest) -> RestoreResult:
    """Puts the default settings and no data in the config's place, once. Raises ``ResetNotConfirmed``,
    ``AdminKeyUnknown``, and what a restore raises."""
    if request.confirm is not True:
        raise ApiError(ErrorCode.ResetNotConfirmed)
    return replace_config(context, ReplaceRequest("reset", request, True, lambda: _empty(context, request)))


def _empty(context: OperationContext, request: ResetRequest) -> StoredFile:
    key = secrets.token_urlsafe(KEY_BYTES) if request.rotate_admin_key else _current_key(context)
    if key is None:
        raise ApiError(ErrorCode.AdminKeyUnknown)
    config = default_config(key)
    data = json.dumps(config, indent=2).encode()
    return StoredFile("", None, Blob.of(data), summary.read(data), ())


def _current_key(context: OperationContext) -> str | None:
    live = context.config.read()
    try:
        return None if live.content is None else context.config.judge.admin_key(live.content)
    except OSError as error:
        raise config_volume_error(error) from None
