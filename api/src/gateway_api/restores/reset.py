"""Resets the gateway to an empty config.

A reset is a restore whose source is generated instead of read from a file: the same transaction, the same rollback.
The admin key stays the same, so that the caller keeps access. With `rotate_admin_key` a new key is generated. It is
written to the config only, never to a response, a log or a record.
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
    """Replaces the config by the default settings without data, once for each request id.

    Raises ``ResetNotConfirmed``, ``AdminKeyUnknown``, and every error of a restore.
    """
    if request.confirm is not True:
        raise ApiError(ErrorCode.ResetNotConfirmed)
    return replace_config(context, ReplaceRequest("reset", request, True, lambda: empty_config(context, request)))


def empty_config(context: OperationContext, request: ResetRequest) -> StoredFile:
    """The config of a reset, with the live config's admin key or a new one. Raises ``AdminKeyUnknown``."""
    key = secrets.token_urlsafe(KEY_BYTES) if request.rotate_admin_key else _current_key(context)
    config = default_config(key)
    data = json.dumps(config, indent=2).encode()
    return StoredFile("", None, Blob.of(data), summary.read(data), ())


def _current_key(context: OperationContext) -> str | None:
    """The admin key of the live config, also of an invalid one. None if a valid config has none.

    Raises ``AdminKeyUnknown`` if the key cannot be read.
    """
    live = context.config.read()
    try:
        key = None if live.content is None else context.config.parser.read_admin_key(live.content)
    except OSError as error:
        raise config_volume_error(error) from None
    if key is None and live.kind != "valid":
        raise ApiError(ErrorCode.AdminKeyUnknown)
    return key
