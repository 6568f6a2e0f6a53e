"""The request id of a restore, derived from the volume, the name and the canonical spec.

The admin API runs each request id once. So the same name and spec run once on a volume, even when the GatewayRestore or
the whole cluster was lost in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway_operator.domain.model.names import DEFAULT_IDENTITY_KEY, canonical_digest

_RESTORE_DEFAULTS: Final[dict[str, Any]] = {
    "mode": "Apply",
    "acceptUnsigned": False,
    "allowOtherGateway": False,
    "supersede": False,
    "safetyBackup": "Auto",
    "onFailure": "Rollback",
    "restart": "Auto",
    "healthCheck": {"timeoutSeconds": 180, "consecutive": 3},
    "timeoutSeconds": 600,
    "startingDeadlineSeconds": 300,
}
_NOT_PART_OF_THE_RESTORE: Final = ("description", "requestedBy", "end", "job")
"""Fields that do not change what is restored. Another person's copy of a finished restore must not run again."""


def canonical_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A restore's spec without its notes and without the defaults of the schema.

    So an old manifest keeps its request id when a later version of the schema adds a default.
    """
    canonical = {key: value for key, value in spec.items() if key not in _NOT_PART_OF_THE_RESTORE}
    health = dict(canonical.get("healthCheck") or {})
    canonical["healthCheck"] = {**_RESTORE_DEFAULTS["healthCheck"], **health}
    if "identitySecretRef" in canonical:
        canonical["identitySecretRef"] = {"key": DEFAULT_IDENTITY_KEY, **(canonical["identitySecretRef"] or {})}
    if "factoryReset" in canonical:
        canonical["factoryReset"] = {"rotateAdminKey": False, **(canonical["factoryReset"] or {})}
    gateway = {"kind": "Deployment", "ordinal": 0, **(canonical.get("gatewayRef") or {})}
    canonical["gatewayRef"] = gateway
    return {key: value for key, value in canonical.items() if _RESTORE_DEFAULTS.get(key) != value}


def restore_request_id(volume_id: str, namespace: str, name: str, spec: Mapping[str, Any]) -> str:
    """The same id for the same volume, name and spec, so that they never run twice."""
    return canonical_digest([volume_id, namespace, name, canonical_spec(spec)])
