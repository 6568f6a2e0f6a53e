"""The commands that end a restore, and the message about another restore that a person must end first."""

from __future__ import annotations

from typing import Final

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.restore_resource import Restore

COMMIT: Final = "Commit"
ROLLBACK: Final = "Rollback"
"""The values of ``spec.end``."""


def end_command(restore: Restore, action: str, name: str = "") -> str:
    """The command that commits or rolls back a restore. ``name``: another restore in the same namespace."""
    ref = restore.meta.ref
    return f"`kubectl gateway restore {action.lower()} -n {ref.namespace} {name or ref.name}`"


def both_commands(restore: Restore, name: str = "") -> str:
    """A sentence with both commands and their effects."""
    return (
        f"{end_command(restore, COMMIT, name)} keeps the live config; {end_command(restore, ROLLBACK, name)} puts the "
        "previous config back."
    )


def ways_on(restore: Restore) -> str:
    """How a person ends a restore that the operator could not end. An end can be requested once."""
    if not restore.end:
        return both_commands(restore)
    backup = (restore.status.get("safetyBackup") or {}).get("backupName")
    source = f"the safety backup {backup}" if backup else "a backup"
    return (
        f"spec.end was carried out once. To continue, restore {source} with a new GatewayRestore and "
        f"`spec.supersede: true`, which ends this one. Or delete this object, which commits it if the gateway answers."
    )


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
