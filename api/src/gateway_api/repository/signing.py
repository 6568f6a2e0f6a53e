"""Ed25519 signatures over manifests: of the received object, in one canonical form, whatever a later version adds.

cryptography and rfc8785 do the work and are imported where they are used: a server at rest needs neither.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX: Final = b"mcpgateway-manifest-v1\n"
ALGORITHM: Final = "ed25519"
MAX_SIGNATURES: Final = 16
KEY_ID: Final = re.compile(r"[0-9a-f]{32}")
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)

SignatureVerdict = Literal["valid", "unsigned", "unknown", "invalid"]


class InvalidKey(Exception):  # noqa: N818 - reads as what it says
    """A key file holds no Ed25519 key. The text is for a person and repeats nothing of the file."""


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """What the signatures say. ``keys`` are the ids of those that verified; where no signature is by a key that is
    trusted here (``unknown``), the ids that they give themselves."""

    verdict: SignatureVerdict
    keys: tuple[str, ...] = ()


def key_id(public: bytes) -> str:
    """How a signature names its key: 32 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(public).hexdigest()[:32]


class Signer:
    """A private key in use."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.key_id = key_id(self.public)

    def signature(self, unsigned: Mapping[str, Any]) -> dict[str, str]:
        """The entry for ``signatures``. ``unsigned`` is the manifest's object without that field."""
        sig = base64.b64encode(self._private.sign(message(unsigned))).decode()
        return {"key_id": self.key_id, "alg": ALGORITHM, "sig": sig}


def new_key() -> bytes:
    """A fresh private key, as PEM (PKCS 8)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_signer(pem: bytes) -> Signer:
    """The signer of a PEM file. Raises :class:`InvalidKey`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidKey("it holds no private key in PEM (PKCS 8, without a passphrase)") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidKey("its private key is not an Ed25519 key")
    return Signer(private)


def load_trusted(text: str) -> dict[str, bytes]:
    """The raw public keys in a file of PEM blocks, by key id. Raises :class:`InvalidKey`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found: dict[str, bytes] = {}
    for number, block in enumerate(_PEM.finditer(text), 1):
        if block[1] != "PUBLIC KEY":
            raise InvalidKey(f"its block {number} is no public key")
        try:
            public = serialization.load_pem_public_key(block[0].encode())
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidKey(f"its block {number} cannot be read") from None
        if not isinstance(public, Ed25519PublicKey):
            raise InvalidKey(f"its block {number} is not an Ed25519 key")
        raw = public.public_bytes_raw()
        found[key_id(raw)] = raw
    if not found and text.strip():
        raise InvalidKey("it holds no public key in PEM")
    return found


def message(unsigned: Mapping[str, Any]) -> bytes:
    """The bytes that are signed. Raises ``ValueError`` for an object that has no canonical form."""
    import rfc8785

    return PREFIX + rfc8785.dumps(dict(unsigned))


def check(received: Mapping[str, Any], trusted: Mapping[str, bytes]) -> SignatureCheck:
    """Judges the signatures of a manifest's object as it was received, before anything else is made of it.

    One by a trusted key that does not verify is ``invalid``, whatever others there are.
    """
    if "signatures" not in received or received["signatures"] == []:
        return SignatureCheck("unsigned")
    entries = received["signatures"]
    if not isinstance(entries, list) or len(entries) > MAX_SIGNATURES:
        return SignatureCheck("invalid")
    unsigned = {name: value for name, value in received.items() if name != "signatures"}
    valid: list[str] = []
    unknown: list[str] = []
    for entry in entries:
        named = entry.get("key_id") if isinstance(entry, dict) else None
        if not isinstance(named, str) or not KEY_ID.fullmatch(named):
            return SignatureCheck("invalid")
        if named not in trusted:
            unknown.append(named)
        elif entry.get("alg") == ALGORITHM and _verifies(trusted[named], entry.get("sig"), unsigned):
            valid.append(named)
        else:
            return SignatureCheck("invalid", (named,))
    return SignatureCheck("valid", tuple(valid)) if valid else SignatureCheck("unknown", tuple(unknown))


def _verifies(public: bytes, sig: object, unsigned: Mapping[str, Any]) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(sig, str):
        return False
    try:
        raw = base64.b64decode(sig, validate=True)
        if base64.b64encode(raw).decode() != sig:
            return False
        Ed25519PublicKey.from_public_bytes(public).verify(raw, message(unsigned))
    except (InvalidSignature, ValueError, binascii.Error, RecursionError):
        return False
    return True
