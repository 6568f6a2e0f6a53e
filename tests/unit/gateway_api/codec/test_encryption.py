"""Who is encrypted to, what opens, whose signature counts: the decisions and the bounds, without a server."""

from __future__ import annotations

import base64
import json
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway_api.codec import compression, encryption
from gateway_api.codec.compression import DecodeError, StoredFormat
from gateway_api.codec.encode import self_check, stored_limit
from gateway_api.errors import ApiError
from gateway_api.repository import manifest as manifests
from gateway_api.repository import signing
from gateway_api.repository.manifest import InvalidManifest
from gateway_api.repository.signature_policy import SignatureOverrides, SignatureRules, require_trusted
from gateway_api.repository.signing import (
    InvalidKey,
    SignatureCheck,
    check,
    load_signer,
    load_trusted,
    message,
    new_key,
)
from gateway_api.settings import SettingsError, load
from gateway_api.storage.content import Blob
from tests.api.support.backup_files import seal, unseal


def _pair() -> tuple[str, str]:
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


IDENTITY, RECIPIENT = _pair()
OTHER_IDENTITY, OTHER_RECIPIENT = _pair()
MISSPELLED = IDENTITY[:-1] + ("7" if IDENTITY[-1] != "7" else "6")


def test_recipients_are_x25519_keys_each_once_between_spaces_commas_and_comments() -> None:
    text = f"# ours\n{RECIPIENT}, {OTHER_RECIPIENT}  # break-glass\n\n{RECIPIENT}\n"
    assert encryption.parse_recipients(text) == (RECIPIENT, OTHER_RECIPIENT)
    assert encryption.parse_recipients(" \n") == ()


@pytest.mark.parametrize(
    "bad",
    [
        RECIPIENT[:-1],
        RECIPIENT[:-1] + ("q" if RECIPIENT[-1] != "q" else "p"),
        RECIPIENT.upper(),
        "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
        "ssh-ed25519",
        "hunter2",
        IDENTITY,
    ],
    ids=["short", "misspelled", "upper case", "plugin", "ssh", "a word", "a secret"],
)
def test_what_is_no_x25519_recipient_is_refused_at_start_and_never_repeated(bad: str) -> None:
    flags = {"config_file": "/c/c", "backup_dir": "/b", "age_recipients": bad}
    with pytest.raises(SettingsError) as refused:
        load(flags)
    assert bad not in str(refused.value)


def test_with_recipients_encryption_is_required_unless_allowed() -> None:
    base = {"config_file": "/c/c", "backup_dir": "/b"}
    assert load(base).encryption == "allow"
    assert load({**base, "age_recipients": RECIPIENT}).encryption == "require"
    assert load({**base, "age_recipients": RECIPIENT, "encryption": "allow"}).encryption == "allow"
    for wrong in ({"encryption": "require"}, {"encryption": "yes"}, {"signature_policy": "x"}):
        with pytest.raises(SettingsError):
            load({**base, **wrong})


@pytest.mark.parametrize("name", ["a.json.age", "a.json.gz.age", "a.json.zst.age"])
def test_either_recipient_opens_a_file_and_so_does_its_writer_once(name: str) -> None:
    form = compression.format_for_name(name)
    stored = seal(b"config" * 1000, form, (RECIPIENT, OTHER_RECIPIENT))
    once = pyrage.x25519.Identity.from_str(IDENTITY)
    content = Blob.of(b"config" * 1000)
    assert self_check(Blob.of(stored), form, once, content)
    assert not self_check(Blob.of(stored), form, once, Blob.of(b"config"))
    assert not self_check(Blob.of(stored[:-1]), form, once, content)
    for identity in (IDENTITY, OTHER_IDENTITY, f"# created: now\n# public key: {RECIPIENT}\n{IDENTITY}\n"):
        assert unseal(stored, form, identity, 10_000) == b"config" * 1000


def test_a_missing_a_wrong_and_a_misspelled_identity_have_their_own_errors() -> None:
    form = StoredFormat("none", True)
    stored = seal(b"x", form, (RECIPIENT,))
    with pytest.raises(ApiError, match="IdentityRequired"):
        unseal(stored, form, None, 100)
    for wrong in (OTHER_IDENTITY, MISSPELLED, "", "AGE-PLUGIN-X-1QQ", RECIPIENT, f"{IDENTITY}\n" * 40):
        with pytest.raises(ApiError, match="WrongIdentity") as refused:
            unseal(stored, form, wrong, 100)
        assert not wrong or wrong not in str(refused.value)


def test_any_damage_to_an_encrypted_file_is_told() -> None:
    form = StoredFormat("zstd", True)
    stored = seal(b"some config" * 50, form, (RECIPIENT,))
    for place in range(len(stored)):
        damaged = bytearray(stored)
        damaged[place] ^= 1
        with pytest.raises((DecodeError, ApiError)):
            unseal(bytes(damaged), form, IDENTITY, 10_000)
    for bad in (b"", b"age-encryption.org/v1\n", stored[: len(stored) // 2], stored + b"x"):
        with pytest.raises(DecodeError):
            unseal(bad, form, IDENTITY, 10_000)


def test_nothing_is_decrypted_beyond_the_limit_and_no_endless_header_is_read() -> None:
    form = StoredFormat("none", True)
    stored = seal(b"a" * 5_000_000, form, (RECIPIENT,))
    assert len(stored) < stored_limit(5_000_000)
    with pytest.raises(ApiError, match="BackupTooLarge"):
        unseal(stored, form, IDENTITY, 1_000_000)
    header, _, _ = stored.partition(b"\n--- ")
    stanza = b"\n" + header.partition(b"\n")[2]
    with pytest.raises(DecodeError):
        unseal(header + stanza * 2000 + b"\n--- x", form, IDENTITY, 100)


def test_an_armored_file_opens_too_within_the_same_bounds() -> None:
    armored = pyrage.encrypt(b"config", [pyrage.x25519.Recipient.from_str(RECIPIENT)], armored=True)
    assert unseal(armored, StoredFormat("none", True), IDENTITY, 100) == b"config"
    with pytest.raises(DecodeError):
        unseal(armored[:100], StoredFormat("none", True), IDENTITY, 100)
    endless = base64.b64encode(b"age-encryption.org/v1" + b"\n-> X25519 x\nx" * 10_000)
    with pytest.raises(DecodeError):
        unseal(b"-----BEGIN AGE ENCRYPTED FILE-----\n" + endless, StoredFormat("none", True), IDENTITY, 100)


SIGNER = load_signer(new_key())
TRUSTED = {SIGNER.key_id: SIGNER.public}


def _signed(**fields: Any) -> dict[str, Any]:
    unsigned = {"id": "x", "n": 5, "é": ["ü", None, True], **fields}
    return {**unsigned, "signatures": [SIGNER.signature(unsigned)]}


def test_what_is_signed_is_the_canonical_object_whatever_its_order_and_spaces() -> None:
    signed = _signed()
    again = json.loads(json.dumps(dict(reversed(list(signed.items()))), indent=3))
    assert check(again, TRUSTED) == SignatureCheck("valid", (SIGNER.key_id,))
    assert message({"b": 1, "a": "é"}) == 'mcpgateway-manifest-v1\n{"a":"é","b":1}'.encode()


def test_a_changed_an_added_and_a_removed_field_break_the_signature() -> None:
    for change in ({"id": "y"}, {"n": 6}, {"later": 1}):
        assert check({**_signed(), **change}, TRUSTED).verdict == "invalid"
    signed = _signed()
    del signed["n"]
    assert check(signed, TRUSTED).verdict == "invalid"


def test_a_signature_by_another_key_is_unknown_and_never_trusted_for_what_it_says_of_itself() -> None:
    stranger = load_signer(new_key())
    unsigned = {"id": "x", "public_key": base64.b64encode(stranger.public).decode()}
    signed = {**unsigned, "signatures": [{**stranger.signature(unsigned), "public_key": unsigned["public_key"]}]}
    assert check(signed, TRUSTED) == SignatureCheck("unknown", (stranger.key_id,))
    renamed = [{**stranger.signature(unsigned), "key_id": SIGNER.key_id}]
    assert check({**unsigned, "signatures": renamed}, TRUSTED).verdict == "invalid"
    both = [stranger.signature(unsigned), SIGNER.signature(unsigned)]
    assert check({**unsigned, "signatures": both}, TRUSTED) == SignatureCheck("valid", (SIGNER.key_id,))


@pytest.mark.parametrize(
    "entries", [None, "x", {}, [1], [{}], [{"key_id": "x" * 32}], [{"key_id": "0" * 32}] * 17], ids=str
)
def test_signatures_of_another_shape_are_invalid(entries: Any) -> None:
    assert check({"id": "x", "signatures": entries}, TRUSTED).verdict == "invalid"


def test_an_object_with_no_canonical_form_has_no_valid_signature() -> None:
    assert check({**_signed(), "n": 2**60}, TRUSTED).verdict == "invalid"
    assert check({**_signed(), "n": "\ud800"}, TRUSTED).verdict == "invalid"


@pytest.mark.parametrize("change", ["alg", "sig", "padding", "none"])
def test_a_signature_is_exact(change: str) -> None:
    signed = _signed()
    entry = signed["signatures"][0]
    if change == "alg":
        entry["alg"] = "ed448"
    elif change == "sig":
        entry["sig"] = entry["sig"][::-1]
    elif change == "padding":
        # the last character before the padding has four bits that no byte holds
        last = entry["sig"][-3]
        entry["sig"] = entry["sig"][:-3] + chr(ord(last) + 1) + "=="
    else:
        del entry["sig"]
    assert check(signed, TRUSTED).verdict == "invalid"


def test_any_bit_that_is_changed_in_a_signed_manifest_is_told() -> None:
    data = json.dumps(_signed(), indent=1, sort_keys=True).encode()
    same = manifests.receive(data)
    for place in range(len(data)):
        for bit in range(8):
            changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            try:
                received = manifests.receive(changed)
            except InvalidManifest:
                continue
            # An escape may spell its digits in either case: the same object.
            assert received == same or check(received, TRUSTED).verdict != "valid", changed


def _public_pem(private: Ed25519PrivateKey | X25519PrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def test_several_trusted_keys_stand_in_one_file_and_every_block_must_be_one() -> None:
    one, two = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    text = f"gateway one\n{_public_pem(one)}\n# two\n{_public_pem(two)}"
    assert set(load_trusted(text)) == {
        signing.key_id(one.public_key().public_bytes_raw()),
        signing.key_id(two.public_key().public_bytes_raw()),
    }
    assert load_trusted("\n") == {}
    for bad in ("no key", _public_pem(X25519PrivateKey.generate()), new_key().decode(), text.replace("MCow", "MCox")):
        with pytest.raises(InvalidKey):
            load_trusted(bad)
    for broken in (b"", b"junk", text.encode()):
        with pytest.raises(InvalidKey):
            load_signer(broken)


VALID, UNSIGNED = SignatureCheck("valid", ("a" * 32,)), SignatureCheck("unsigned")
UNKNOWN, INVALID = SignatureCheck("unknown", ("b" * 32,)), SignatureCheck("invalid")
WARN, REQUIRE = SignatureRules(), SignatureRules(policy="require")
OVERRIDE = SignatureRules(policy="require", unsigned_override=True)
ENCRYPTED = SignatureRules(encryption_required=True)
ACCEPT, PIN = SignatureOverrides(accept_unsigned=True), SignatureOverrides(trust_key_id="a" * 32)


@pytest.mark.parametrize(
    ("checked", "rules", "asked", "encrypted", "code"),
    [
        (VALID, REQUIRE, SignatureOverrides(), False, None),
        (UNSIGNED, WARN, SignatureOverrides(), False, None),
        (UNKNOWN, WARN, SignatureOverrides(), False, None),
        (INVALID, WARN, SignatureOverrides(), False, "SignatureInvalid"),
        (INVALID, OVERRIDE, ACCEPT, False, "SignatureInvalid"),
        (UNSIGNED, REQUIRE, SignatureOverrides(), False, "SignatureRequired"),
        (UNKNOWN, REQUIRE, SignatureOverrides(), False, "KeyNotTrusted"),
        (UNSIGNED, REQUIRE, ACCEPT, False, "SignatureRequired"),
        (UNSIGNED, OVERRIDE, SignatureOverrides(), False, "SignatureRequired"),
        (UNSIGNED, OVERRIDE, ACCEPT, False, None),
        (UNKNOWN, OVERRIDE, ACCEPT, False, None),
        (UNSIGNED, ENCRYPTED, SignatureOverrides(), True, None),
        (UNSIGNED, ENCRYPTED, SignatureOverrides(), False, "SignatureRequired"),
        (VALID, ENCRYPTED, SignatureOverrides(), False, None),
        (VALID, WARN, PIN, False, None),
        (VALID, WARN, SignatureOverrides(trust_key_id="c" * 32), False, "KeyNotTrusted"),
        (UNKNOWN, WARN, SignatureOverrides(trust_key_id="b" * 32), False, "KeyNotTrusted"),
        (
            UNSIGNED,
            OVERRIDE,
            SignatureOverrides(accept_unsigned=True, trust_key_id="a" * 32),
            False,
            "SignatureRequired",
        ),
    ],
)
def test_a_file_is_restored_exactly_if_policy_and_request_allow(
    checked: SignatureCheck, rules: SignatureRules, asked: SignatureOverrides, encrypted: bool, code: str | None
) -> None:
    if code is None:
        require_trusted(checked, rules, asked, encrypted=encrypted)
    else:
        with pytest.raises(ApiError, match=code):
            require_trusted(checked, rules, asked, encrypted=encrypted)
