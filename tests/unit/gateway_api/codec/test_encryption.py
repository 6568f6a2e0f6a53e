"""Recipients, identities and limits of age encryption."""

from __future__ import annotations

import base64

import pyrage
import pytest

from gateway_api.codec import compression, encryption
from gateway_api.codec.compression import DecodeError, StoredFormat
from gateway_api.codec.encode import self_check, stored_limit
from gateway_api.errors import ApiError
from gateway_api.storage.content import Blob
from tests.api.support.backup_files import decode_file, encode_file


def _pair() -> tuple[str, str]:
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


IDENTITY, RECIPIENT = _pair()
OTHER_IDENTITY, OTHER_RECIPIENT = _pair()
MISSPELLED = IDENTITY[:-1] + ("7" if IDENTITY[-1] != "7" else "6")


def test_recipients_are_parsed_without_duplicates_and_comments() -> None:
    text = f"# ours\n{RECIPIENT}, {OTHER_RECIPIENT}  # break-glass\n\n{RECIPIENT}\n"
    assert encryption.parse_recipients(text) == (RECIPIENT, OTHER_RECIPIENT)
    assert encryption.parse_recipients(" \n") == ()


@pytest.mark.parametrize("name", ["a.json.age", "a.json.gz.age", "a.json.zst.age"])
def test_each_recipient_can_decrypt_and_the_self_check_passes(name: str) -> None:
    form = compression.format_for_name(name)
    stored = encode_file(b"config" * 1000, form, (RECIPIENT, OTHER_RECIPIENT))
    ephemeral = pyrage.x25519.Identity.from_str(IDENTITY)
    content = Blob.of(b"config" * 1000)
    assert self_check(Blob.of(stored), form, ephemeral, content)
    assert not self_check(Blob.of(stored), form, ephemeral, Blob.of(b"config"))
    assert not self_check(Blob.of(stored[:-1]), form, ephemeral, content)
    for identity in (IDENTITY, OTHER_IDENTITY, f"# created: now\n# public key: {RECIPIENT}\n{IDENTITY}\n"):
        assert decode_file(stored, form, identity, 10_000) == b"config" * 1000


def test_missing_wrong_and_invalid_identities_have_own_errors() -> None:
    form = StoredFormat("none", True)
    stored = encode_file(b"x", form, (RECIPIENT,))
    with pytest.raises(ApiError, match="IdentityRequired"):
        decode_file(stored, form, None, 100)
    for wrong in (OTHER_IDENTITY, MISSPELLED, "", "AGE-PLUGIN-X-1QQ", RECIPIENT, f"{IDENTITY}\n" * 40):
        with pytest.raises(ApiError, match="WrongIdentity") as refused:
            decode_file(stored, form, wrong, 100)
        assert not wrong or wrong not in str(refused.value)


def test_any_damage_to_an_encrypted_file_is_detected() -> None:
    form = StoredFormat("zstd", True)
    stored = encode_file(b"some config" * 50, form, (RECIPIENT,))
    for position in range(len(stored)):
        damaged = bytearray(stored)
        damaged[position] ^= 1
        with pytest.raises((DecodeError, ApiError)):
            decode_file(bytes(damaged), form, IDENTITY, 10_000)
    for bad in (b"", b"age-encryption.org/v1\n", stored[: len(stored) // 2], stored + b"x"):
        with pytest.raises(DecodeError):
            decode_file(bad, form, IDENTITY, 10_000)


def test_decryption_limits_content_and_header() -> None:
    form = StoredFormat("none", True)
    stored = encode_file(b"a" * 5_000_000, form, (RECIPIENT,))
    assert len(stored) < stored_limit(5_000_000)
    with pytest.raises(ApiError, match="BackupTooLarge"):
        decode_file(stored, form, IDENTITY, 1_000_000)
    header, _, _ = stored.partition(b"\n--- ")
    stanza = b"\n" + header.partition(b"\n")[2]
    with pytest.raises(DecodeError):
        decode_file(header + stanza * 2000 + b"\n--- x", form, IDENTITY, 100)


def test_armored_file_is_decrypted_within_the_same_limits() -> None:
    armored = pyrage.encrypt(b"config", [pyrage.x25519.Recipient.from_str(RECIPIENT)], armored=True)
    assert decode_file(armored, StoredFormat("none", True), IDENTITY, 100) == b"config"
    with pytest.raises(DecodeError):
        decode_file(armored[:100], StoredFormat("none", True), IDENTITY, 100)
    endless = base64.b64encode(b"age-encryption.org/v1" + b"\n-> X25519 x\nx" * 10_000)
    with pytest.raises(DecodeError):
        decode_file(b"-----BEGIN AGE ENCRYPTED FILE-----\n" + endless, StoredFormat("none", True), IDENTITY, 100)
