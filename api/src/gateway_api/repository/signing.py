"""Creates and checks Ed25519 signatures over manifests.

A signature covers the canonical JSON (RFC 8785) of the whole object in the file, without its field `signatures`. Fields
that a later version adds are therefore covered too. The packages cryptography and rfc8785 are imported inside the
functions, because a server that signs and checks nothing saves their memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway_api.contract import SignatureState

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX: Final = b"mcpgateway-manifest-v1\n"
"""Part of the signed bytes, so that a signature over other data of this key is never valid for a manifest."""
ALGORITHM: Final = "ed25519"
MAX_SIGNATURES: Final = 16
KEY_ID: Final = re.compile(r"[0-9a-f]{32}")
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


class InvalidKey(Exception):  # noqa: N818 - reads as what it says
    """A key file contains no Ed25519 key. The message contains nothing of the file."""


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """The result for all signatures of one manifest.

    ``keys`` are the ids of the keys whose signatures are valid. For ``unknown`` (no trusted key) they are the ids in
    the manifest, which are not checked. For ``invalid`` it is the trusted key whose signature does not verify.
    """

    state: SignatureState
    keys: tuple[str, ...] = ()


def key_id(public: bytes) -> str:
    """The id of a key in signatures: the first 32 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(public).hexdigest()[:32]


class Signer:
    """Signs manifests with one private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.key_id = key_id(self.public)

    def signature(self, unsigned: Mapping[str, Any]) -> dict[str, str]:
        """The entry for the field ``signatures``. ``unsigned`` is the manifest's JSON object without that field."""
        sig = base64.b64encode(self._private.sign(signed_bytes(unsigned))).decode()
        return {"key_id": self.key_id, "alg": ALGORITHM, "sig": sig}


def new_key() -> bytes:
    """A new private key as PEM (PKCS 8, not encrypted)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_signer(pem: bytes) -> Signer:
    """The signer for the private key in a PEM file. Raises :class:`InvalidKey`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidKey("it contains no private key in PEM format (PKCS 8, without a passphrase)") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidKey("its private key is not an Ed25519 key")
    return Signer(private)


def load_trusted(text: str) -> dict[str, bytes]:
    """The raw public keys in a file of PEM blocks, by key id. Raises :class:`InvalidKey`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    keys: dict[str, bytes] = {}
    for number, block in enumerate(_PEM.finditer(text), 1):
        if block[1] != "PUBLIC KEY":
            raise InvalidKey(f"its PEM block {number} is not a public key")
        try:
            public = serialization.load_pem_public_key(block[0].encode())
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidKey(f"its PEM block {number} cannot be parsed") from None
        if not isinstance(public, Ed25519PublicKey):
            raise InvalidKey(f"its PEM block {number} is not an Ed25519 key")
        raw = public.public_bytes_raw()
        keys[key_id(raw)] = raw
    if not keys and text.strip():
        raise InvalidKey("it contains no public key in PEM format")
    return keys


def signed_bytes(unsigned: Mapping[str, Any]) -> bytes:
    """The bytes that a signature covers. Raises ``ValueError`` for an object without a canonical form."""
    import rfc8785

    return PREFIX + rfc8785.dumps(dict(unsigned))


def check_signatures(received: Mapping[str, Any], trusted: Mapping[str, bytes]) -> SignatureCheck:
    """Checks the signatures of a manifest, given as its unchanged JSON object, against the public keys in ``trusted``.

    The result is ``invalid`` as soon as one signature of a trusted key does not verify, even if others do.
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
        signing_key = entry.get("key_id") if isinstance(entry, dict) else None
        if not isinstance(signing_key, str) or not KEY_ID.fullmatch(signing_key):
            return SignatureCheck("invalid")
        if signing_key not in trusted:
            unknown.append(signing_key)
        elif entry.get("alg") == ALGORITHM and _verify(trusted[signing_key], entry.get("sig"), unsigned):
            valid.append(signing_key)
        else:
            return SignatureCheck("invalid", (signing_key,))
    return SignatureCheck("valid", tuple(valid)) if valid else SignatureCheck("unknown", tuple(unknown))


def _verify(public: bytes, sig: object, unsigned: Mapping[str, Any]) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(sig, str):
        return False
    try:
        raw = base64.b64decode(sig, validate=True)
        # Only the canonical base64 form: a changed character must never leave the signature valid.
        if base64.b64encode(raw).decode() != sig:
            return False
        Ed25519PublicKey.from_public_bytes(public).verify(raw, signed_bytes(unsigned))
    except (InvalidSignature, ValueError, binascii.Error, RecursionError):
        return False
    return True
