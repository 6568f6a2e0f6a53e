"""When nothing is deleted, whatever the policy says: what was seen cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.names import ACCEPT_INVENTORY
from gateway_operator.domain.model.reasons import Reason

TOLERANCE: Final = timedelta(minutes=1)
"""How far two clocks may be apart: those of a gateway's pod, of the API server and ours never agree to the second."""


@dataclass(frozen=True, slots=True)
class DeletionHold:
    """Why nothing is deleted now."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class SetObservation:
    """What a pass saw of a set."""

    complete: bool
    """Whether the listing came to its end."""
    newest: datetime | None
    """When the newest backup was made."""
    server_time: datetime | None
    """The API server's clock, as it stood in its answer."""
    inventory: int
    """How many good backups there are."""
    before: int | None
    """How many the last pass left. None: there was none."""
    accepted: str = ""
    """What a person wrote about a smaller inventory, as ``NOW/BEFORE``."""
    hint: str = ""
    """What to annotate, as ``KIND NAME``."""


def first_hold(seen: SetObservation, now: datetime) -> DeletionHold | None:
    """The first reason to delete nothing; None if there is none."""
    if not seen.complete:
        return DeletionHold(
            Reason.ListingIncomplete,
            "Nothing is deleted: the list of backups could not be read to its end. Tried again.",
        )
    if seen.newest is not None and seen.newest - now > TOLERANCE:
        made = timestamps.text(seen.newest)
        return DeletionHold(
            Reason.ClockBehind, f"Nothing is deleted: the newest backup is of {made}, ahead of the operator's clock."
        )
    if seen.server_time is not None and abs(seen.server_time - now) > TOLERANCE:
        # No time in it: it would be another message at every pass.
        side = "ahead of" if now > seen.server_time else "behind"
        return DeletionHold(
            Reason.ClockDiffers, f"Nothing is deleted: the operator's clock is {side} the API server's."
        )
    if seen.before is not None and inventory_shrank(seen.inventory, seen.before) and not _is_acknowledged(seen):
        message = (
            f"Nothing is deleted: of {seen.before} good backups of the last pass {seen.inventory} are left. If that is "
            f"right: kubectl annotate {seen.hint} --overwrite {ACCEPT_INVENTORY}={seen.inventory}/{seen.before}"
        )
        return DeletionHold(Reason.InventoryShrank, message)
    return None


def restore_pending_hold(restore: str) -> DeletionHold:
    """While a restore has not settled on its source."""
    return DeletionHold(
        Reason.RestoreChoosing, f"Nothing is deleted until GatewayRestore {restore} has chosen its backup."
    )


def inventory_shrank(inventory: int, before: int) -> bool:
    """Whether half or more is gone."""
    return before > 0 and inventory * 2 <= before


def _is_acknowledged(seen: SetObservation) -> bool:
    """A person accepts exactly this loss, or a smaller one. Another loss is another question."""
    now, _, before = seen.accepted.partition("/")
    if not (now.isascii() and now.isdigit() and before.isascii() and before.isdigit()):
        return False
    return int(before) == seen.before and int(now) <= seen.inventory
