"""Creates the Ed25519 key that signs one gateway's backups, and derives the public key that users keep."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class BadKeyError(Exception):
    """The text is not an Ed25519 private key. The message contains no part of it."""


def new_private_key() -> str:
    """Generate a private key; returned as PEM in PKCS 8 format."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def public_key(pem: str) -> tuple[str, str]:
    """The public key as PEM, and the key id in signatures: the first 32 hex digits of the SHA-256 of its raw bytes.

    Raises BadKeyError if ``pem`` is not an Ed25519 private key.
    """
    try:
        private = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKeyError("it is not a private key in PEM (PKCS 8, without a passphrase)") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadKeyError("the private key is not an Ed25519 key")
    public = private.public_key()
    text = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    return text, hashlib.sha256(public.public_bytes_raw()).hexdigest()[:32]
