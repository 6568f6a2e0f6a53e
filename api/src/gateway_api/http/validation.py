"""What a 422 says: the first few fields at fault and what they should be, and never what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway_api.contract import BackupRequest, ResetRequest, RestoreRequest, RollbackRequest, VerifyRequest

_FIELDS: Final = frozenset(
    name
    for model in (BackupRequest, ResetRequest, RestoreRequest, RollbackRequest, VerifyRequest)
    for name in model.model_fields
) | {"body", "path", "query", "backup_id", "request_id", "limit", "continue", "part"}
_SHOWN: Final = 3


def _field_path(location: Sequence[Any]) -> str:
    parts = [str(part) if isinstance(part, int) or part in _FIELDS else "…" for part in location]
    return ".".join(parts[1:] if len(parts) > 1 else parts) or "body"


def describe(errors: Sequence[Mapping[str, Any]]) -> str:
    """One sentence for ``errors`` as pydantic lists them. Only declared field names appear; other names are "…"."""
    shown = [f"{_field_path(error['loc'])}: {_reason(error)}" for error in errors[:_SHOWN]]
    more = len(errors) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return "the body is not JSON"
    return str(error["msg"])
