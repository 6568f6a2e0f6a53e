"""Decides whether a backup may be restored, given the result of its signature check.

A key in a manifest proves nothing, because anyone who changes the file can also replace that key. Trusted keys
therefore come only from the server's own key and its file of trusted keys. A request can restrict the trusted keys
(`trust_key_id`). It can accept an unsigned backup only if the server's settings permit that.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.repository.signing import SignatureCheck
from gateway_api.settings import SignaturePolicy


@dataclass(frozen=True, slots=True)
class SignatureOverrides:
    """The signature options of one request; ``trust_key_id`` requires a valid signature of that key."""

    accept_unsigned: bool = False
    trust_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class SignatureRules:
    """The signature rules in the server's settings. ``unsigned_override`` permits ``accept_unsigned`` in a request."""

    policy: SignaturePolicy = "warn"
    encryption_required: bool = False
    unsigned_override: bool = False

    def demands_signature(self, *, encrypted: bool) -> bool:
        """Whether a file needs a valid signature."""
        # A plain file does not come from a server that requires encryption; anyone with access to the volume can write
        # one. Only a signature shows its origin.
        return self.policy == "require" or (self.encryption_required and not encrypted)


def require_trusted(
    checked: SignatureCheck, rules: SignatureRules, overrides: SignatureOverrides, *, encrypted: bool
) -> None:
    """Returns if the file may be restored.

    Raises ``SignatureInvalid`` for a changed manifest, which no option overrides. Raises ``SignatureRequired`` or
    ``KeyNotTrusted`` if the rules or the request require a signature and no trusted key has signed the manifest.
    """
    if checked.state == "invalid":
        raise ApiError(ErrorCode.SignatureInvalid)
    if overrides.trust_key_id is not None:
        if checked.state == "unsigned":
            raise ApiError(
                ErrorCode.SignatureRequired, "the backup is not signed, and trust_key_id requires a signature"
            )
        if checked.state != "valid" or overrides.trust_key_id not in checked.keys:
            raise ApiError(
                ErrorCode.KeyNotTrusted, "the backup has no signature by a trusted key with the id in trust_key_id"
            )
        return
    if checked.state == "valid" or not rules.demands_signature(encrypted=encrypted):
        return
    if overrides.accept_unsigned and rules.unsigned_override:
        return
    hint = " (this server's settings do not permit accept_unsigned)" if overrides.accept_unsigned else ""
    if checked.state == "unsigned":
        raise ApiError(ErrorCode.SignatureRequired, f"the backup is not signed{hint}")
    raise ApiError(
        ErrorCode.KeyNotTrusted, f"the backup is signed by key {checked.keys[0]}, which is not trusted here{hint}"
    )
