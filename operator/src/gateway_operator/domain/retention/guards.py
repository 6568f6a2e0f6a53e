"""Safety checks: a set is left unchanged while the inputs of its retention plan are unreliable.

All holds clear automatically in a later pass, except InventoryShrank, which a person acknowledges with an annotation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.names import ACCEPT_INVENTORY
from gateway_operator.domain.model.reasons import Reason

TOLERANCE: Final = timedelta(minutes=1)
"""Allowed difference between the clocks of a gateway's pod, the API server and the operator."""


@dataclass(frozen=True, slots=True)
class DeletionHold:
    """The reason why no backup of a set is deleted now."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class SetObservation:
    """The inputs of the safety checks of a set."""

    complete: bool
    """Whether the list of backups was read completely."""
    newest: datetime | None
    """The time of the newest backup that is not adopted; None without one."""
    server_time: datetime | None
    """The API server's clock, from its answer to the list; None without one."""
    inventory: int
    """The number of Completed backups."""
    before: int | None
    """The number after the previous pass; None if there was none."""
    accepted: str = ""
    """The annotation by which a person acknowledges a smaller inventory, as ``NOW/BEFORE``; empty without one."""
    annotate_target: str = ""
    """The arguments of ``kubectl annotate`` that name the schedule."""


def first_hold(observed: SetObservation, now: datetime) -> DeletionHold | None:
    """The first hold that applies; None if deletions are allowed."""
    if not observed.complete:
        return DeletionHold(
            Reason.ListingIncomplete,
            "Nothing is deleted: the list of backups could not be read completely. It is retried.",
        )
    if observed.newest is not None and observed.newest - now > TOLERANCE:
        created = timestamps.text(observed.newest)
        return DeletionHold(
            Reason.ClockBehind,
            f"Nothing is deleted: the newest backup is from {created}, ahead of the operator's clock.",
        )
    if observed.server_time is not None and abs(observed.server_time - now) > TOLERANCE:
        # The message has no time: each new message is a write of the status.
        side = "ahead of" if now > observed.server_time else "behind"
        return DeletionHold(
            Reason.ClockDiffers, f"Nothing is deleted: the operator's clock is {side} the API server's."
        )
    if (
        observed.before is not None
        and inventory_shrank(observed.inventory, observed.before)
        and not _is_acknowledged(observed)
    ):
        left, before = observed.inventory, observed.before
        message = (
            f"Nothing is deleted: {left} of {before} good backups are left since the last pass. To acknowledge this "
            f"change: kubectl annotate {observed.annotate_target} --overwrite {ACCEPT_INVENTORY}={left}/{before}"
        )
        return DeletionHold(Reason.InventoryShrank, message)
    return None


def restore_pending_hold(restore: str) -> DeletionHold:
    """The hold while a restore has not resolved its source."""
    return DeletionHold(
        Reason.RestoreChoosing, f"Nothing is deleted until GatewayRestore {restore} has resolved its source."
    )


def inventory_shrank(inventory: int, before: int) -> bool:
    """Whether at least half of the backups are missing."""
    return before > 0 and inventory * 2 <= before


def _is_acknowledged(observed: SetObservation) -> bool:
    """Whether a person has acknowledged this loss. The acknowledgement applies only to this change or a smaller one."""
    now, _, before = observed.accepted.partition("/")
    if not (now.isascii() and now.isdigit() and before.isascii() and before.isdigit()):
        return False
    return int(before) == observed.before and int(now) <= observed.inventory
