"""The bodies of the admin API's restore and reset requests."""

from __future__ import annotations

from typing import Any

from gateway_operator.domain.model.actions import CallReset, CallRestore
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.ports import AdminApiError, AdminTarget, Identity


def restore_body(target: AdminTarget, call: CallRestore, identity: Identity | None) -> dict[str, Any]:
    """The body of a restore. AdminApiError if there is an identity and the target is not ``proven``."""
    # The reconcile checks this as well. The check is repeated where the private key would leave the process.
    if identity is not None and not target.proven:
        detail = f"{describe(target)} has no TLS certificate of a known CA, so no identity is sent to it."
        raise AdminApiError(Reason.IdentityNeedsTLS, detail, retryable=False)
    fields: dict[str, Any] = {
        "input_file": call.path,
        "backup_id": call.backup_id,
        "expected_sha256": call.expected_sha256,
        "safety_backup": call.safety_backup,
        "supersede": call.supersede,
        "request_id": call.request_id,
        "identity": identity.text if identity is not None else None,
        "accept_unsigned": True if call.accept_unsigned else None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def reset_body(call: CallReset) -> dict[str, Any]:
    """The body of a reset, confirmed."""
    return {
        "confirm": True,
        "rotate_admin_key": call.rotate_admin_key,
        "safety_backup": call.safety_backup,
        "supersede": call.supersede,
        "request_id": call.request_id,
    }


def describe(target: AdminTarget) -> str:
    """The pod and the address of an admin API, for a message."""
    endpoint = target.endpoint
    return f"pod {endpoint.pod} ({endpoint.host}:{endpoint.port})"
