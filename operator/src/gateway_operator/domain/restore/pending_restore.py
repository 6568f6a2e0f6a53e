"""The admin API runs one restore at a time: names the restore that is not committed or rolled back yet."""

from __future__ import annotations

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.commands import both_commands


def pending_request(health: SystemHealthData | Failure | None) -> str | None:
    """The request id of the restore that is neither committed nor rolled back; None if there is none, or no answer."""
    pending = health.pending_restore if isinstance(health, SystemHealthData) else None
    return pending.request_id if pending is not None else None


def pending_message(
    restore: Restore, health: SystemHealthData | Failure | None, owner: str | None, failure: Failure | None = None
) -> str:
    """Which restore of the gateway is unfinished, and how a person ends it."""
    request = pending_request(health)
    prefix = f"{failure.message} " if failure else ""
    prefix += f"Another restore ({request or 'of unknown id'}) is neither committed nor rolled back: "
    supersede = "create this restore under another name with `spec.supersede: true`, which commits the other one."
    if owner is None:
        return f"{prefix}its GatewayRestore no longer exists. To continue, {supersede}"
    return f"{prefix}that of GatewayRestore {owner}. To end it: {both_commands(restore, owner)} Or {supersede}"
