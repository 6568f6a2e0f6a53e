"""Which signatures a restore accepts under each policy and request."""

from __future__ import annotations

import pytest

from gateway_api.errors import ApiError
from gateway_api.repository.signature_policy import SignatureOverrides, SignatureRules, require_trusted
from gateway_api.repository.signing import SignatureCheck

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
def test_restore_needs_policy_and_request_to_allow_the_signature(
    checked: SignatureCheck, rules: SignatureRules, asked: SignatureOverrides, encrypted: bool, code: str | None
) -> None:
    if code is None:
        require_trusted(checked, rules, asked, encrypted=encrypted)
    else:
        with pytest.raises(ApiError, match=code):
            require_trusted(checked, rules, asked, encrypted=encrypted)
