"""Canonical JSON and its digests, which recognize a repeated request. A value has the same digest in every process.

Signatures use RFC 8785 instead (see `repository/signing.py`). This module imports only the standard library, because
the parse worker loads it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol


class _RequestModel(Protocol):
    def model_dump(self, *, mode: str, exclude_defaults: bool, exclude: set[str]) -> dict[str, Any]: ...


def canonical_json(value: Any) -> bytes:
    """JSON in ASCII with sorted keys and without spaces. Equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def canonical_digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in lower-case hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def request_digest(operation: str, body: _RequestModel) -> str:
    """The digest of a request without its age identity, which is a secret.

    If a known request id comes with another digest, the id was reused for a different request. Defaults are left out,
    so that a field of a later version does not change the digest of an old request.
    """
    return canonical_digest([operation, body.model_dump(mode="json", exclude_defaults=True, exclude={"identity"})])
