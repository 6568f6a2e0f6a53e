"""From a config's bytes to a file's bytes and back: compression first, then encryption, as the name says.

What is sealed can be proven by whoever sealed it, without any recipient's key: an encrypted file is also encrypted
to an identity that is forgotten with the :class:`Sealed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import age, archive
from .archive import Form
from .contract import ErrorCode
from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrage.x25519 import Identity


@dataclass(frozen=True, slots=True)
class Sealed:
    """A file's bytes, and what opens them again for the proof."""

    form: Form
    stored: bytes
    once: Identity | None

    def opens_to(self, again: bytes, content: bytes) -> bool:
        """Whether ``again``, the bytes read back, are these, and unpack to ``content``."""
        if again != self.stored:
            return False
        try:
            if self.once is not None:
                again = age.decrypt(again, [self.once], stored_limit(len(content)))
            return archive.unpack(again, self.form.compression, len(content)) == content
        except (archive.Undecodable, ApiError):
            return False


def seal(content: bytes, form: Form, recipients: Sequence[str]) -> Sealed:
    """The file that holds ``content``. ``recipients`` are used exactly if ``form`` is encrypted."""
    packed = archive.pack(content, form.compression)
    if not form.encrypted:
        return Sealed(form, packed, None)
    stored, once = age.encrypt(packed, recipients)
    return Sealed(form, stored, once)


def stored_limit(limit: int) -> int:
    """How large a file may be that holds ``limit`` bytes: what does not compress grows a little, age adds its tags."""
    return limit + limit // 500 + 2 * age.MAX_HEADER_BYTES


def unseal(stored: bytes, form: Form, identity: str | None, limit: int) -> bytes:
    """The config in a file's bytes, at most ``limit`` bytes.

    Raises ``IdentityRequired``, ``WrongIdentity``, ``BackupTooLarge``, :class:`archive.Undecodable`.
    """
    if form.encrypted:
        if identity is None:
            raise ApiError(ErrorCode.IdentityRequired)
        stored = age.decrypt(stored, age.parse_identities(identity), stored_limit(limit))
    return archive.unpack(stored, form.compression, limit)
