"""Encodes and decodes the files of a backup, for tests that make and open files on their own: from bytes to bytes."""

from __future__ import annotations

import hashlib
from typing import Any

from gateway_api.codec import compression as archive
from gateway_api.codec import encode
from gateway_api.codec.compression import Compression, StoredFormat
from gateway_api.storage.content import Blob


def pack(data: bytes, compression: Compression) -> bytes:
    """The file's bytes."""
    return b"".join(map(bytes, archive.compress(Blob.of(data), compression)))


def unpack(stored: bytes, compression: Compression, limit: int) -> bytes:
    """What a file that is not encrypted holds."""
    return archive.decompress(Blob.of(stored), compression, limit).data()


def seal(data: bytes, form: StoredFormat, recipients: tuple[str, ...]) -> bytes:
    """The bytes of a file that may be encrypted."""
    return encode.encode(Blob.of(data), form, recipients).data()


def unseal(stored: bytes, form: StoredFormat, identity: str | None, limit: int) -> bytes:
    """What a file holds that may be encrypted."""
    return encode.decode(Blob.of(stored), form, identity, limit).data()


def manifest_of(content: bytes, stored: bytes | None = None, /, **changes: Any) -> dict[str, Any]:
    """A manifest from another volume, without a signature, of a file that holds ``stored``, by default ``content``."""
    stored = content if stored is None else stored
    return {
        "format_version": 1,
        "id": "x",
        "path": "x.json",
        "gateway_id": "0" * 32,
        "volume_id": "0" * 32,
        "created": "2026-01-01T00:00:00Z",
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "content_bytes": len(content),
        "stored_sha256": hashlib.sha256(stored).hexdigest(),
        "stored_bytes": len(stored),
        "compression": "none",
        "counts": {},
    } | changes
