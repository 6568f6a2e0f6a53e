"""Canonical JSON and its digests, which recognize a repeated request. A value has the same digest in every process.

Signatures use RFC 8785 instead (see `repository/signing.py`). This module imports only the standard library, because
the parse worker loads it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Protocol


class _RequestModel(Protocol):
    def model_dump(self, *, mode: Literal["json", "python"], exclude_defaults: bool) -> dict[str, Any]: ...


def canonical_json(value: Any) -> bytes:
    """JSON in ASCII with sorted keys and without spaces. Equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def canonical_digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in lower-case hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def request_digest(operation: str, body: _RequestModel) -> str:
    """The digest of a request without its secrets, which may differ in a repeated request and must not be recorded.

    A field is secret if its value is one of pydantic's secret types, at any depth. If a known request id comes with
    another digest, the id was reused for a different request. Defaults are left out, so that a field of a later version
    does not change the digest of an old request.
    """
    values = body.model_dump(mode="python", exclude_defaults=True)
    return canonical_digest([operation, _without_secrets(values, body.model_dump(mode="json", exclude_defaults=True))])


def _without_secrets(values: Any, as_json: Any) -> Any:
    """``as_json`` without the entries that are secret in ``values``, the same structure with the models' own types."""
    if isinstance(values, dict):
        pairs = zip(values.values(), as_json.items(), strict=True)
        return {name: _without_secrets(value, text) for value, (name, text) in pairs if not _is_secret(value)}
    if isinstance(values, list | tuple):
        pairs_of_items = zip(values, as_json, strict=True)
        return [_without_secrets(value, text) for value, text in pairs_of_items if not _is_secret(value)]
    return as_json


def _is_secret(value: Any) -> bool:
    return hasattr(value, "get_secret_value")
