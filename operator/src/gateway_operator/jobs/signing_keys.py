"""The Ed25519 key that signs one gateway's backups, as the admin API reads it, and the public half that people keep."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class BadKeyError(Exception):
    """What is there is no Ed25519 key. The text repeats nothing of it."""


def new_private_key() -> str:
    """A fresh private key in PEM (PKCS 8)."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def public_half(pem: str) -> tuple[str, str]:
    """The public key in PEM, and the id that signatures give it: 32 hex digits of the SHA-256 of its raw bytes.

    Raises :class:`BadKeyError`.
    """
    try:
        private = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKeyError("it holds no private key in PEM (PKCS 8, without a passphrase)") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadKeyError("its private key is not an Ed25519 key")
    public = private.public_key()
    text = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    return text, hashlib.sha256(public.public_bytes_raw()).hexdigest()[:32]
