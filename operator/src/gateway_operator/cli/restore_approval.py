"""The command ``kubectl gateway restore approve``."""

from __future__ import annotations

import argparse
from typing import Final

from gateway_operator.cli.session import FailedError, Session, confirm
from gateway_operator.domain.model.names import APPROVED_BY, RESTORE_KIND
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import is_terminal
from gateway_operator.ports import ConflictError

_QUESTION: Final = "Approve this restore? It replaces the gateway's config with all its users and keys."


async def approve(session: Session, arguments: argparse.Namespace) -> None:
    """``restore approve``: shows the restore, asks, and sets the approving annotation.

    FailedError if it waits for no approval, if the user requested it, or if it changes in between.
    """
    restore = Restore.parse(await session.get(RESTORE_KIND, arguments.name))
    if is_terminal(restore) or not restore.awaits_approval:
        state = f"{restore.phase or 'Pending'} ({restore.reason})" if restore.reason else restore.phase or "new"
        raise FailedError(f"GatewayRestore {arguments.name} waits for no approval: it is {state}")
    user = await session.user_name()
    if user == restore.requested_by:
        raise FailedError(f"{user} requested this restore, so another person must approve it")
    session.print_target()
    for line in _description(restore, user):
        session.stderr(f"  {line}")
    if not arguments.yes:
        confirm(_QUESTION, effect="An approval replaces a config.")
    # The version that was shown: after any change a person has to look again.
    metadata = {"resourceVersion": restore.meta.resource_version, "annotations": {APPROVED_BY: user}}
    try:
        written = await session.patch(RESTORE_KIND, arguments.name, {"metadata": metadata})
    except ConflictError:
        raise FailedError("The restore changed in the meantime. Check it again, then approve it.") from None
    session.print_object(RESTORE_KIND, written, "approved")


def _description(restore: Restore, user: str) -> list[str]:
    source = restore.source
    what = "an empty config (factoryReset)" if restore.factory_reset else str(source.get("path", ""))
    named = f"GatewayBackup {source['backupName']}, " if source.get("backupName") else ""
    values = {
        "restore": restore.meta.ref.name,
        "gateway": str(restore.gateway),
        "source": f"{named}{what}",
        "sha256": str(source.get("sha256", "")),
        "requested by": restore.requested_by,
        "approved by": user,
        "expires": str(restore.approval.get("expiresAt", "")),
    }
    options = {
        "the backup may be of another gateway": restore.allow_other_gateway,
        "no trusted signature is required": restore.accept_unsigned,
        "an unfinished restore is committed first": restore.supersede,
        "no safety backup is made": restore.safety_backup == "Skip",
        "nothing is rolled back on failure": restore.on_failure == "Leave",
        "the admin key changes": restore.factory_reset is not None and restore.factory_reset.rotate_admin_key,
    }
    notes = [("note", text) for text, is_set in options.items() if is_set]
    return [f"{name + ':':<14} {value}" for name, value in (*values.items(), *notes) if value]
