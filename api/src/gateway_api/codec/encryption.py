"""age encryption: to X25519 recipients only, in pieces, and with a bound on everything that is read.

pyrage does the cryptography. It is imported where it is used, because a server without recipients never needs it, and
called through its streaming functions, because one call for a large config would hold the interpreter and with it
every probe.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final, Protocol

from gateway_api.codec.compression import DecodeError, LimitedBlobWriter
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.storage.content import Blob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyrage.x25519 import Identity, Recipient

MAX_HEADER_BYTES: Final = 64 * 1024
"""A header names each recipient in about 100 bytes; reading one costs an X25519 operation each."""
MAX_IDENTITIES: Final = 32
_RECIPIENT: Final = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_IDENTITY: Final = re.compile(r"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}")
_BEGINNING: Final = b"age-encryption.org/v1\n"
_ARMOR: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
_END_OF_HEADER: Final = b"\n--- "
_NO_MATCH: Final = "No matching keys found"


def _words(text: str) -> list[str]:
    """What stands in ``text``, between white space and commas, but for comments."""
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [word for line in lines for word in line.replace(",", " ").split()]


def parse_recipients(text: str) -> tuple[str, ...]:
    """The recipients in ``text``, each once. Raises ``ValueError`` with a sentence for the person who set them."""
    found = tuple(dict.fromkeys(_words(text)))
    for number, word in enumerate(found, 1):
        if word.upper().startswith("AGE-SECRET-KEY-"):
            raise ValueError(f"recipient {number} is a secret key: give the public one, which begins with age1")
        if not _RECIPIENT.fullmatch(word):
            raise ValueError(
                f"recipient {number} is no X25519 recipient (age1…); plugins, passphrases and SSH keys are not used"
            )
        _recipient(word, number)
    return found


def _recipient(text: str, number: int = 0) -> Recipient:
    import pyrage

    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise ValueError(f"recipient {number} is misspelled: its checksum is wrong") from None


def fingerprint(recipient: str) -> str:
    """How a manifest names a recipient: 32 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(recipient.encode()).hexdigest()[:32]


class Sink(Protocol):
    """What takes bytes in order."""

    def write(self, piece: bytes, /) -> int:
        """Takes the next ones."""
        ...

    def flush(self) -> None:
        """Called at the end."""
        ...


class _Reader:
    """Gives what an iterator gives, in the sizes that are asked for."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = iter(pieces)
        self._view = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._view:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._view = memoryview(piece)
        part, self._view = self._view[:size], self._view[size:]
        return bytes(part)


def ephemeral_identity() -> Identity:
    """A new identity that exists only here: a file that is also encrypted to it can be proven without any key."""
    import pyrage

    return pyrage.x25519.Identity.generate()


def encrypt(pieces: Iterable[bytes | memoryview], out: Sink, recipients: Sequence[str], once: Identity) -> None:
    """Writes ``pieces`` to ``out``, encrypted to ``recipients`` and to ``once``."""
    import pyrage

    pyrage.encrypt_io(_Reader(pieces), out, [*map(_recipient, recipients), once.to_public()])


def decrypt_own(pieces: Iterable[bytes | memoryview], out: Sink, once: Identity) -> bool:
    """Writes to ``out`` what we have just encrypted ourselves; whether all of it was authentic."""
    import pyrage

    try:
        pyrage.decrypt_io(_Reader(pieces), out, [once])
    except (pyrage.DecryptError, OSError):
        return False
    return True


def parse_identities(text: str) -> list[Identity]:
    """The identities in ``text``, which is one or a file of several as age-keygen writes it.

    Raises ``WrongIdentity``; no message repeats any of it.
    """
    import pyrage

    words = _words(text)
    if not words or len(words) > MAX_IDENTITIES or not all(_IDENTITY.fullmatch(word) for word in words):
        raise ApiError(ErrorCode.WrongIdentity, "the identity is not an X25519 age key (AGE-SECRET-KEY-1…)")
    try:
        return [pyrage.x25519.Identity.from_str(word) for word in words]
    except pyrage.IdentityError:
        raise ApiError(ErrorCode.WrongIdentity, "the identity is misspelled: its checksum is wrong") from None


def decrypt(data: Blob, identities: Sequence[Identity], limit: int) -> Blob:
    """What ``data`` holds, at most ``limit`` bytes of it, and only once all of it has been authenticated.

    Raises :class:`DecodeError`, ``WrongIdentity``, or ``BackupTooLarge`` as soon as the limit is passed.
    """
    import pyrage

    check_header(data)
    out = LimitedBlobWriter(limit)
    try:
        pyrage.decrypt_io(_Reader(data.pieces()), out, list(identities))
    except pyrage.DecryptError as error:
        if str(error) == _NO_MATCH:
            raise ApiError(ErrorCode.WrongIdentity) from None
        raise DecodeError("not an age file, or damaged") from None
    except OSError:
        raise DecodeError("the age file is damaged or ends early") from None
    return out.content()


def is_age_prefix(data: bytes) -> bool:
    """Whether ``data``, perhaps only a few bytes, may be how an age file begins, armored or not."""
    text = data.lstrip()
    return any(begun.startswith(mark[: len(begun)]) for begun, mark in ((data, _BEGINNING), (text, _ARMOR)))


def check_header(data: Blob) -> None:
    """Raises :class:`DecodeError` for what does not begin as an age file, armored or not, or has a header longer than
    any honest one: nothing is computed from that. All that can be said of a file without its key."""
    head = bytes(next(data.pieces(), b"")[: 2 * MAX_HEADER_BYTES])
    if head.lstrip().startswith(_ARMOR):
        body = b"".join(head.lstrip().split()[4:])
        try:
            head = base64.b64decode(body[: len(body) // 4 * 4].partition(b"-")[0])
        except binascii.Error:
            raise DecodeError("not an age file, or damaged") from None
    if not head.startswith(_BEGINNING) or _END_OF_HEADER not in head[:MAX_HEADER_BYTES]:
        raise DecodeError("not an age file, or damaged")
