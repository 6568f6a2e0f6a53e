"""Encodes a config to a backup file and decodes it: compression, then age encryption, as the file's suffix says.

Every new file is decoded again and compared with the config before it is used. The server has no recipient's private
key. It therefore also encrypts each file to an ephemeral identity, which exists only in memory during this check. A
file on disk with the same digest as the checked bytes is then known to decode to the config.
"""

from __future__ import annotations

import logging
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


def encode(content: Blob, stored_format: StoredFormat, recipients: Sequence[str]) -> Blob:
    """The bytes of the file for ``content``, already checked. ``recipients`` are age public keys.

    They are ignored if ``stored_format`` is not encrypted. Raises ``OSError`` when memory is short and
    ``InternalError`` if the file does not decode to ``content``.
    """
    if stored_format == StoredFormat("none", False):
        return content
    ephemeral = encryption.ephemeral_identity() if stored_format.encrypted else None
    pieces = compression.compress(content, stored_format.compression)
    out = BlobWriter()
    if ephemeral is not None:
        encryption.encrypt(pieces, out, recipients, ephemeral)
    else:
        for piece in pieces:
            out.write(piece)
    stored = out.to_blob()
    # A file that nobody can decode must never replace a backup or be reported as stored.
    if not self_check(stored, stored_format, ephemeral, content):
        logs.event(
            "self_check_failed", logging.ERROR, compression=stored_format.compression, encrypted=stored_format.encrypted
        )
        raise ApiError(ErrorCode.InternalError, "the new backup does not decode to the config; nothing was changed")
    return stored


def self_check(stored: Blob, stored_format: StoredFormat, ephemeral: Identity | None, content: Blob) -> bool:
    """Whether ``stored``, which this process has encoded, decodes to ``content``.

    ``ephemeral`` is the identity of an encrypted file, else None.
    """
    check = compression.DecodeCheck(stored_format.compression)
    if ephemeral is not None:
        return encryption.try_decrypt(stored.pieces(), check, ephemeral) and check.matches(content)
    for piece in stored.pieces():
        check.write(piece)
    return check.matches(content)


def stored_limit(limit: int) -> int:
    """The largest possible file, in bytes, for a config of ``limit`` bytes.

    Incompressible data grows slightly, and age adds a header and 16 bytes per 64 KiB.
    """
    return limit + limit // 500 + 2 * encryption.MAX_HEADER_BYTES


def decode(stored: Blob, stored_format: StoredFormat, identity: str | None, limit: int) -> Blob:
    """The config in a file's bytes. ``identity`` is the text of one or more age identities.

    Raises ``IdentityRequired``, ``WrongIdentity``, ``BackupTooLarge`` for more than ``limit`` bytes, and
    :class:`compression.DecodeError`.
    """
    if stored_format.encrypted:
        if identity is None:
            raise ApiError(ErrorCode.IdentityRequired)
        stored = encryption.decrypt(stored, encryption.parse_identities(identity), stored_limit(limit))
    return compression.decompress(stored, stored_format.compression, limit)
