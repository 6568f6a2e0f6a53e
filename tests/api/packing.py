"""What a backup's file holds, for tests that make and open files on their own: from bytes to bytes."""

from __future__ import annotations

from gateway_api import archive, sealed
from gateway_api.archive import Compression, Form
from gateway_api.content import Content


def pack(data: bytes, compression: Compression) -> bytes:
    """The file's bytes."""
    return b"".join(map(bytes, archive.packed(Content.of(data), compression)))


def unpack(stored: bytes, compression: Compression, limit: int) -> bytes:
    """What a file that is not encrypted holds."""
    return archive.unpack(Content.of(stored), compression, limit).data()


def seal(data: bytes, form: Form, recipients: tuple[str, ...]) -> bytes:
    """The bytes of a file that may be encrypted."""
    return sealed.seal(Content.of(data), form, recipients).data()


def unseal(stored: bytes, form: Form, identity: str | None, limit: int) -> bytes:
    """What a file holds that may be encrypted."""
    return sealed.unseal(Content.of(stored), form, identity, limit).data()
