"""The admin API runs one restore at a time: names the restore that is not committed or rolled back yet."""

from __future__ import annotations

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.model.admin_api import Failure


def pending_request(health: SystemHealthData | Failure | None) -> str | None:
    """The request id of the restore that is neither committed nor rolled back; None if there is none, or no answer."""
    pending = health.pending_restore if isinstance(health, SystemHealthData) else None
    return pending.request_id if pending is not None else None


def pending_message(
    health: SystemHealthData | Failure | None, owner: str | None, failure: Failure | None = None
) -> str:
    """Which restore of the gateway is unfinished, and how a person ends it."""
    request = pending_request(health)
    if owner is not None:
        holder = f"GatewayRestore {owner} is not finished, or ended with onFailure: Leave"
    else:
        holder = "its GatewayRestore no longer exists"
    name = request or "REQUEST_ID"
    prefix = f"{failure.message} " if failure else ""
    return (
        f"{prefix}Another restore ({name}) is neither committed nor rolled back: {holder}. If it still runs, wait for "
        f"it; else end it on the gateway's admin API with POST /api/v1/system/restores/{name}/commit (keeps the live "
        "config) or …/rollback (puts the previous config back). Then create the restore again under another name."
    )
