"""age encryption to X25519 recipients, in pieces, with a limit on everything that is read.

pyrage does the cryptography. It is imported where it is used, because a server without recipients never needs it. Its
streaming functions are used, because one call for a large config would block the interpreter and with it the probes.
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
"""About 100 bytes per recipient. Decryption costs an X25519 operation per recipient and identity."""
MAX_IDENTITIES: Final = 32
_RECIPIENT: Final = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_IDENTITY: Final = re.compile(r"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}")
_MAGIC: Final = b"age-encryption.org/v1\n"
_ARMOR_MAGIC: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
_END_OF_HEADER: Final = b"\n--- "
_NO_MATCH: Final = "No matching keys found"
"""pyrage reports a wrong key only by this text."""


def _words(text: str) -> list[str]:
    """The words of ``text``, separated by white space or commas, without comments."""
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [word for line in lines for word in line.replace(",", " ").split()]


def parse_recipients(text: str) -> tuple[str, ...]:
    """The recipients in ``text``, without duplicates. Raises ``ValueError`` with a message for the administrator."""
    recipients = tuple(dict.fromkeys(_words(text)))
    for number, word in enumerate(recipients, 1):
        if word.upper().startswith("AGE-SECRET-KEY-"):
            raise ValueError(f"recipient {number} is a secret key; use its public key, which begins with age1")
        if not _RECIPIENT.fullmatch(word):
            raise ValueError(
                f"recipient {number} is no X25519 recipient (age1…); plugins and SSH keys are not supported"
            )
        _recipient(word, number)
    return recipients


def _recipient(text: str, number: int = 0) -> Recipient:
    import pyrage

    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise ValueError(f"recipient {number} has a wrong checksum; check it for typing errors") from None


def recipient_fingerprint(recipient: str) -> str:
    """The name of a recipient in manifests: the first 32 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(recipient.encode()).hexdigest()[:32]


class Sink(Protocol):
    """A writable binary stream, as pyrage expects it."""

    def write(self, piece: bytes, /) -> int: ...

    def flush(self) -> None: ...


class _Reader:
    """A readable binary stream over pieces, as pyrage expects it."""

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
    """A new identity for one self-check. It is never stored; see `encode`."""
    import pyrage

    return pyrage.x25519.Identity.generate()


def encrypt(pieces: Iterable[bytes | memoryview], out: Sink, recipients: Sequence[str], ephemeral: Identity) -> None:
    """Writes ``pieces`` to ``out``, encrypted to ``recipients`` and to ``ephemeral``."""
    import pyrage

    pyrage.encrypt_io(_Reader(pieces), out, [*map(_recipient, recipients), ephemeral.to_public()])


def try_decrypt(pieces: Iterable[bytes | memoryview], out: Sink, identity: Identity) -> bool:
    """Writes the decrypted ``pieces`` to ``out``. Returns whether all of them were authentic.

    Only for files that this process has just encrypted: nothing is limited.
    """
    import pyrage

    try:
        pyrage.decrypt_io(_Reader(pieces), out, [identity])
    except (pyrage.DecryptError, OSError):
        return False
    return True


def parse_identities(text: str) -> list[Identity]:
    """The identities in ``text``: a single one or the content of a file of age-keygen.

    Raises ``WrongIdentity``. No message repeats any part of ``text``, because it is a secret.
    """
    import pyrage

    words = _words(text)
    if not words or len(words) > MAX_IDENTITIES or not all(_IDENTITY.fullmatch(word) for word in words):
        raise ApiError(ErrorCode.WrongIdentity, "the identity is not an X25519 age key (AGE-SECRET-KEY-1…)")
    try:
        return [pyrage.x25519.Identity.from_str(word) for word in words]
    except pyrage.IdentityError:
        raise ApiError(
            ErrorCode.WrongIdentity, "the identity has a wrong checksum; check it for typing errors"
        ) from None


def decrypt(data: Blob, identities: Sequence[Identity], limit: int) -> Blob:
    """The decrypted bytes. Nothing is returned before all of them are authenticated.

    Raises :class:`DecodeError`, ``WrongIdentity``, and ``BackupTooLarge`` as soon as more than ``limit`` bytes are
    decrypted.
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
        raise DecodeError("the age file is damaged or truncated") from None
    return out.to_blob()


def is_age_prefix(data: bytes) -> bool:
    """Whether an age file, armored or not, may begin with ``data``, which can be only a few bytes."""
    text = data.lstrip()
    return any(start.startswith(magic[: len(start)]) for start, magic in ((data, _MAGIC), (text, _ARMOR_MAGIC)))


def check_header(data: Blob) -> None:
    """Checks, without a key, that ``data`` begins as an age file, armored or not. Raises :class:`DecodeError`.

    A header over :data:`MAX_HEADER_BYTES` is refused before any of it is used: each of its stanzas would cost an
    X25519 operation.
    """
    head = bytes(next(data.pieces(), b"")[: 2 * MAX_HEADER_BYTES])
    if head.lstrip().startswith(_ARMOR_MAGIC):
        # The four words before the Base64 text are those of the "BEGIN" line.
        body = b"".join(head.lstrip().split()[4:])
        try:
            head = base64.b64decode(body[: len(body) // 4 * 4].partition(b"-")[0])
        except binascii.Error:
            raise DecodeError("not an age file, or damaged") from None
    if not head.startswith(_MAGIC) or _END_OF_HEADER not in head[:MAX_HEADER_BYTES]:
        raise DecodeError("not an age file, or damaged")
