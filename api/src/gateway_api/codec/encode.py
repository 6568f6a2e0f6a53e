"""From a config's bytes to a file's bytes and back: compression first, then encryption, as the name says.

Every new file is decoded again and compared, without any recipient's key: an encrypted file is also encrypted to an
identity that exists only for this check. A file on a disk with the same digest therefore decodes to the config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway_api import logs
from gateway_api.codec import compression, encryption
from gateway_api.codec.compression import StoredFormat
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.storage.content import Blob, BlobWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrage.x25519 import Identity


def encode(content: Blob, form: StoredFormat, recipients: Sequence[str]) -> Blob:
    """The file that holds ``content``, decoded again and compared. ``recipients`` are used exactly if ``form`` is
    encrypted.

    Raises ``OSError`` when there is no memory for it, and ``InternalError`` when it does not decode to ``content``.
    """
    if form == StoredFormat("none", False):
        return content
    once = encryption.ephemeral_identity() if form.encrypted else None
    pieces = compression.compress(content, form.compression)
    out = BlobWriter()
    if once is not None:
        encryption.encrypt(pieces, out, recipients, once)
    else:
        for piece in pieces:
            out.write(piece)
    stored = out.content()
    if not self_check(stored, form, once, content):
        logs.event("proof_failed", 40, compression=form.compression, encrypted=form.encrypted)
        raise ApiError(ErrorCode.InternalError, "the backup does not open to the config; nothing was changed")
    return stored


def self_check(stored: Blob, form: StoredFormat, once: Identity | None, content: Blob) -> bool:
    """Whether ``stored``, which we have sealed, decrypts with ``once`` and unpacks to ``content``."""
    proof = compression.DecodeCheck(form.compression)
    if once is not None:
        return encryption.decrypt_own(stored.pieces(), proof, once) and proof.matches(content)
    for piece in stored.pieces():
        proof.write(piece)
    return proof.matches(content)


def stored_limit(limit: int) -> int:
    """How large a file may be that holds ``limit`` bytes: what does not compress grows a little, age adds its tags."""
    return limit + limit // 500 + 2 * encryption.MAX_HEADER_BYTES


def decode(stored: Blob, form: StoredFormat, identity: str | None, limit: int) -> Blob:
    """The config in a file's bytes, at most ``limit`` bytes.

    Raises ``IdentityRequired``, ``WrongIdentity``, ``BackupTooLarge``, :class:`archive.Undecodable`.
    """
    if form.encrypted:
        if identity is None:
            raise ApiError(ErrorCode.IdentityRequired)
        stored = encryption.decrypt(stored, encryption.parse_identities(identity), stored_limit(limit))
    return compression.decompress(stored, form.compression, limit)
