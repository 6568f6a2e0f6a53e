"""Builds the detail of a 422 response: the first three invalid fields and the reason for each.

The detail never contains a value or an undeclared field name from the request, because either may be a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway_api.contract import BackupRequest, ResetRequest, RestoreRequest, RollbackRequest, VerifyRequest

_DECLARED_NAMES: Final = frozenset(
    name
    for model in (BackupRequest, ResetRequest, RestoreRequest, RollbackRequest, VerifyRequest)
    for name in model.model_fields
) | {"body", "path", "query", "backup_id", "request_id", "limit", "continue", "part"}
_MAX_SHOWN: Final = 3


def _field_path(location: Sequence[Any]) -> str:
    parts = [str(part) if isinstance(part, int) or part in _DECLARED_NAMES else "…" for part in location]
    return ".".join(parts[1:] if len(parts) > 1 else parts) or "body"


def describe(errors: Sequence[Mapping[str, Any]]) -> str:
    """One sentence for the errors that pydantic lists. Only declared field names appear; other names become "…"."""
    shown = [f"{_field_path(error['loc'])}: {_reason(error)}" for error in errors[:_MAX_SHOWN]]
    more = len(errors) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return "the body is not JSON"
    return str(error["msg"])
