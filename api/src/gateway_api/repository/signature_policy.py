"""Whether a file may be restored, given what its signatures say: the policy, and nothing else.

A key that stands in a manifest proves nothing: whoever changes the file can write another key beside it. So the
server's own key and its file of trusted keys are the only sources of keys, and a request can narrow them, never widen.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.repository.signing import SignatureCheck
from gateway_api.settings import SignaturePolicy


@dataclass(frozen=True, slots=True)
class SignatureOverrides:
    """What the request says about signatures."""

    accept_unsigned: bool = False
    trust_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class SignatureRules:
    """What the server was set to demand."""

    policy: SignaturePolicy = "warn"
    encryption_required: bool = False
    unsigned_override: bool = False

    def demands_signature(self, *, encrypted: bool) -> bool:
        """Whether a file needs a valid signature. Anybody could have written a plain one where all are encrypted."""
        return self.policy == "require" or (self.encryption_required and not encrypted)


def require_trusted(
    checked: SignatureCheck, rules: SignatureRules, asked: SignatureOverrides, *, encrypted: bool
) -> None:
    """Returns if the file may be restored.

    Raises ``SignatureInvalid`` for one that was changed, which nothing overrides; ``SignatureRequired`` or
    ``KeyNotTrusted`` where a signature is demanded, by the rules or by the request, and there is none that counts.
    """
    if checked.verdict == "invalid":
        raise ApiError(ErrorCode.SignatureInvalid)
    if asked.trust_key_id is not None:
        if checked.verdict == "unsigned":
            raise ApiError(
                ErrorCode.SignatureRequired, "the backup is not signed, and trust_key_id asks for a signature"
            )
        if checked.verdict != "valid" or asked.trust_key_id not in checked.keys:
            raise ApiError(ErrorCode.KeyNotTrusted, "no key of that id, known to this server, has signed the backup")
        return
    if checked.verdict == "valid" or not rules.demands_signature(encrypted=encrypted):
        return
    if asked.accept_unsigned and rules.unsigned_override:
        return
    refused = " (this server honours no accept_unsigned)" if asked.accept_unsigned else ""
    if checked.verdict == "unsigned":
        raise ApiError(ErrorCode.SignatureRequired, f"the backup is not signed by a trusted key{refused}")
    raise ApiError(ErrorCode.KeyNotTrusted, f"the backup is signed by key {checked.keys[0]}, unknown here{refused}")
