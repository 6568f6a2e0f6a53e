"""Which manifests have a valid signature of a trusted key."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway_api.repository import manifest as manifests
from gateway_api.repository import signing
from gateway_api.repository.manifest import InvalidManifest
from gateway_api.repository.signing import (
    InvalidKey,
    SignatureCheck,
    check_signatures,
    load_signer,
    load_trusted,
    new_key,
    signed_bytes,
)

SIGNER = load_signer(new_key())
TRUSTED = {SIGNER.key_id: SIGNER.public}


def _signed(**fields: Any) -> dict[str, Any]:
    unsigned = {"id": "x", "n": 5, "é": ["ü", None, True], **fields}
    return {**unsigned, "signatures": [SIGNER.signature(unsigned)]}


def test_signature_ignores_field_order_and_white_space() -> None:
    signed = _signed()
    reordered = json.loads(json.dumps(dict(reversed(list(signed.items()))), indent=3))
    assert check_signatures(reordered, TRUSTED) == SignatureCheck("valid", (SIGNER.key_id,))
    assert signed_bytes({"b": 1, "a": "é"}) == 'mcpgateway-manifest-v1\n{"a":"é","b":1}'.encode()


def test_changed_added_or_removed_field_breaks_the_signature() -> None:
    for change in ({"id": "y"}, {"n": 6}, {"later": 1}):
        assert check_signatures({**_signed(), **change}, TRUSTED).state == "invalid"
    signed = _signed()
    del signed["n"]
    assert check_signatures(signed, TRUSTED).state == "invalid"


def test_signature_of_another_key_is_unknown_whatever_it_claims() -> None:
    stranger = load_signer(new_key())
    unsigned = {"id": "x", "public_key": base64.b64encode(stranger.public).decode()}
    signed = {**unsigned, "signatures": [{**stranger.signature(unsigned), "public_key": unsigned["public_key"]}]}
    assert check_signatures(signed, TRUSTED) == SignatureCheck("unknown", (stranger.key_id,))
    renamed = [{**stranger.signature(unsigned), "key_id": SIGNER.key_id}]
    assert check_signatures({**unsigned, "signatures": renamed}, TRUSTED).state == "invalid"
    both = [stranger.signature(unsigned), SIGNER.signature(unsigned)]
    assert check_signatures({**unsigned, "signatures": both}, TRUSTED) == SignatureCheck("valid", (SIGNER.key_id,))


@pytest.mark.parametrize(
    "entries", [None, "x", {}, [1], [{}], [{"key_id": "x" * 32}], [{"key_id": "0" * 32}] * 17], ids=str
)
def test_malformed_signatures_are_invalid(entries: Any) -> None:
    assert check_signatures({"id": "x", "signatures": entries}, TRUSTED).state == "invalid"


def test_object_without_canonical_form_has_no_valid_signature() -> None:
    assert check_signatures({**_signed(), "n": 2**60}, TRUSTED).state == "invalid"
    assert check_signatures({**_signed(), "n": "\ud800"}, TRUSTED).state == "invalid"


@pytest.mark.parametrize("change", ["alg", "sig", "padding", "none"])
def test_altered_signature_is_invalid(change: str) -> None:
    signed = _signed()
    entry = signed["signatures"][0]
    if change == "alg":
        entry["alg"] = "ed448"
    elif change == "sig":
        entry["sig"] = entry["sig"][::-1]
    elif change == "padding":
        # The last character before the padding has four bits that belong to no byte.
        last = entry["sig"][-3]
        entry["sig"] = entry["sig"][:-3] + chr(ord(last) + 1) + "=="
    else:
        del entry["sig"]
    assert check_signatures(signed, TRUSTED).state == "invalid"


def test_any_changed_bit_in_a_signed_manifest_is_detected() -> None:
    data = json.dumps(_signed(), indent=1, sort_keys=True).encode()
    same = manifests.parse_json(data)
    for position in range(len(data)):
        for bit in range(8):
            changed = data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
            try:
                received = manifests.parse_json(changed)
            except InvalidManifest:
                continue
            # The digits of an escape may be in either case without changing the object.
            assert received == same or check_signatures(received, TRUSTED).state != "valid", changed


def _public_pem(private: Ed25519PrivateKey | X25519PrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def test_trusted_keys_file_contains_only_public_ed25519_keys() -> None:
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
