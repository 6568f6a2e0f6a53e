"""Canonical JSON and the digests made of it: one value has one digest, in every process and after every restart.

Signatures use RFC 8785 instead (see `signing`). This module imports the standard library only, because the parse
worker loads it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol


class _RequestModel(Protocol):
    def model_dump(self, *, mode: str, exclude_defaults: bool, exclude: set[str]) -> dict[str, Any]: ...


def canonical_json(value: Any) -> bytes:
    """JSON in ASCII with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def canonical_digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in lower-case hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def request_digest(operation: str, body: _RequestModel) -> str:
    """Distinguishes a repeated request from a reused request id.

    Defaults are left out, so that a field added by a later version does not change the digest of an old request.
    The age identity is left out because it is a secret.
    """
    return canonical_digest([operation, body.model_dump(mode="json", exclude_defaults=True, exclude={"identity"})])
