"""Encodes and decodes backup files in memory, for tests that create or open files themselves."""

from __future__ import annotations

import hashlib
from typing import Any

from gateway_api.codec import compression as archive
from gateway_api.codec import encode
from gateway_api.codec.compression import Compression, StoredFormat
from gateway_api.storage.content import Blob


def compress_bytes(data: bytes, compression: Compression) -> bytes:
    """The compressed bytes of a backup file."""
    return b"".join(map(bytes, archive.compress(Blob.of(data), compression)))


def decompress_bytes(stored: bytes, compression: Compression, limit: int) -> bytes:
    """The content of a file that is not encrypted."""
    return archive.decompress(Blob.of(stored), compression, limit).data()


def encode_file(data: bytes, form: StoredFormat, recipients: tuple[str, ...]) -> bytes:
    """The compressed and perhaps encrypted bytes of a backup file."""
    return encode.encode(Blob.of(data), form, recipients).data()


def decode_file(stored: bytes, form: StoredFormat, identity: str | None, limit: int) -> bytes:
    """The content of a file that may be encrypted."""
    return encode.decode(Blob.of(stored), form, identity, limit).data()


def build_manifest(content: bytes, stored: bytes | None = None, /, **changes: Any) -> dict[str, Any]:
    """An unsigned manifest of another volume. ``stored``: the bytes of its file, by default ``content`` itself."""
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
