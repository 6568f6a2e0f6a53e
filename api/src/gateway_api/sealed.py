"""From a config's bytes to a file's bytes and back: compression first, then encryption, as the name says.

What is sealed is opened again at once, without any recipient's key: an encrypted file is also encrypted to an identity
that nobody else ever sees. Whoever finds the digest of the sealed bytes on a disk knows that they open to the config.
"""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from . import age, archive, logs
from .archive import Form
from .content import Content, ContentWriter
from .contract import ErrorCode
from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from threading import Event

    from pyrage.x25519 import Identity


def seal(content: Content, form: Form, recipients: Sequence[str], unwanted: Event | None = None) -> Content:
    """The file that holds ``content``, proven to open to it. ``recipients`` are used exactly if ``form`` is encrypted.

    Raises ``OSError`` when there is no memory for it, and ``InternalError`` when it does not open. Once ``unwanted`` is
    set it fails soon, in whatever way.
    """
    if form == Form("none", False):
        return content
    once = age.one_time_identity() if form.encrypted else None
    pieces = archive.packed(content, form.compression)
    if unwanted is not None:
        pieces = _while_wanted(pieces, unwanted)
    out = ContentWriter()
    if content.is_large:
        # While one thread seals, another opens what there is already.
        with ThreadPoolExecutor(1, "proof") as proofs:
            opening = proofs.submit(opens, out.following(), form, once, content)
            try:
                _seal(pieces, recipients, once, out)
            finally:
                out.end()
            opened = opening.result()
    else:
        _seal(pieces, recipients, once, out)
        out.end()
        opened = opens(out.following(), form, once, content)
    if not opened:
        logs.event("proof_failed", 40, compression=form.compression, encrypted=form.encrypted)
        raise ApiError(ErrorCode.InternalError, "the backup does not open to the config; nothing was changed")
    return out.content()


def _while_wanted(pieces: Iterable[bytes | memoryview], unwanted: Event) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        if unwanted.is_set():
            raise OSError(errno.ECANCELED, "nobody wants it any more")
        yield piece


def _seal(
    pieces: Iterable[bytes | memoryview], recipients: Sequence[str], once: Identity | None, out: ContentWriter
) -> None:
    if once is not None:
        age.encrypt(pieces, out, recipients, once)
        return
    for piece in pieces:
        out.write(piece)


def opens(stored: Iterable[bytes | memoryview], form: Form, once: Identity | None, content: Content) -> bool:
    """Whether ``stored``, which we have sealed, decrypts with ``once`` and unpacks to ``content``."""
    proof = archive.Proof(form.compression)
    if once is not None:
        return age.decrypt_own(stored, proof, once) and proof.gave(content)
    for piece in stored:
        proof.write(piece)
    return proof.gave(content)


def stored_limit(limit: int) -> int:
    """How large a file may be that holds ``limit`` bytes: what does not compress grows a little, age adds its tags."""
    return limit + limit // 500 + 2 * age.MAX_HEADER_BYTES


def unseal(stored: Content, form: Form, identity: str | None, limit: int) -> Content:
    """The config in a file's bytes, at most ``limit`` bytes.

    Raises ``IdentityRequired``, ``WrongIdentity``, ``BackupTooLarge``, :class:`archive.Undecodable`.
    """
    if form.encrypted:
        if identity is None:
            raise ApiError(ErrorCode.IdentityRequired)
        stored = age.decrypt(stored, age.parse_identities(identity), stored_limit(limit))
    return archive.unpack(stored, form.compression, limit)
