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
from typing import TYPE_CHECKING, Final

from .archive import Undecodable, too_large
from .contract import ErrorCode
from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self._offset = 0

    def read(self, size: int) -> bytes:
        piece = bytes(self._view[self._offset : self._offset + size])
        self._offset += len(piece)
        return piece


class _Writer:
    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit

    def write(self, piece: bytes) -> int:
        self.data += piece
        if len(self.data) > self._limit:
            raise too_large(self._limit)
        return len(piece)

    def flush(self) -> None:
        """pyrage flushes what it wrote."""


def encrypt(data: bytes, recipients: Sequence[str]) -> tuple[bytes, Identity]:
    """``data`` encrypted to ``recipients`` and to a new identity that exists only here: it proves the file."""
    import pyrage

    once = pyrage.x25519.Identity.generate()
    out = _Writer(2 * len(data) + 2 * MAX_HEADER_BYTES)
    pyrage.encrypt_io(_Reader(data), out, [*map(_recipient, recipients), once.to_public()])
    return bytes(out.data), once


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


def decrypt(data: bytes, identities: Sequence[Identity], limit: int) -> bytes:
    """What ``data`` holds, at most ``limit`` bytes of it, and only once all of it has been authenticated.

    Raises :class:`Undecodable`, ``WrongIdentity``, or ``BackupTooLarge`` as soon as the limit is passed.
    """
    import pyrage

    check_header(data)
    out = _Writer(limit)
    try:
        pyrage.decrypt_io(_Reader(data), out, list(identities))
    except pyrage.DecryptError as error:
        if str(error) == _NO_MATCH:
            raise ApiError(ErrorCode.WrongIdentity) from None
        raise Undecodable("not an age file, or damaged") from None
    except OSError:
        raise Undecodable("the age file is damaged or ends early") from None
    return bytes(out.data)


def check_header(data: bytes) -> None:
    """Raises :class:`Undecodable` for what does not begin as an age file, armored or not, or has a header longer than
    any honest one: nothing is computed from that. All that can be said of a file without its key."""
    head = data[: 2 * MAX_HEADER_BYTES]
    if head.lstrip().startswith(_ARMOR):
        body = b"".join(head.lstrip().split()[4:])
        try:
            head = base64.b64decode(body[: len(body) // 4 * 4].partition(b"-")[0])
        except binascii.Error:
            raise Undecodable("not an age file, or damaged") from None
    if not head.startswith(_BEGINNING) or _END_OF_HEADER not in head[:MAX_HEADER_BYTES]:
        raise Undecodable("not an age file, or damaged")
