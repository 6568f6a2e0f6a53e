"""The request id of a restore, derived from its canonical spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway_operator.domain.model.names import DEFAULT_IDENTITY_KEY, canonical_digest

_RESTORE_DEFAULTS: Final[dict[str, Any]] = {
    "acceptUnsigned": False,
    "safetyBackup": "Auto",
    "onFailure": "Rollback",
    "restart": "Auto",
    "healthCheck": {"timeoutSeconds": 180, "consecutive": 3},
    "timeoutSeconds": 600,
    "startingDeadlineSeconds": 300,
}


def canonical_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A restore's spec without what the schema fills in and without the note for people.

    So a later version of the schema, with one more default, gives an old manifest the same request id.
    """
    known = {key: value for key, value in spec.items() if key != "description"}
    health = dict(known.get("healthCheck") or {})
    known["healthCheck"] = {**_RESTORE_DEFAULTS["healthCheck"], **health}
    if "identitySecretRef" in known:
        known["identitySecretRef"] = {"key": DEFAULT_IDENTITY_KEY, **(known["identitySecretRef"] or {})}
    gateway = {"kind": "Deployment", "ordinal": 0, **(known.get("gatewayRef") or {})}
    known["gatewayRef"] = gateway
    return {key: value for key, value in known.items() if _RESTORE_DEFAULTS.get(key) != value}


def restore_request_id(volume_id: str, namespace: str, name: str, spec: Mapping[str, Any]) -> str:
    """One id for one restore: the same volume, name and spec never run twice, whatever was lost or re-applied."""
    return canonical_digest([volume_id, namespace, name, canonical_spec(spec)])
