"""Safety checks: a set is left unchanged while the inputs or the effect of its retention plan are doubtful.

Most holds clear in a later pass by themselves. InventoryShrank and LargeDeletion wait for a person, who approves
exactly this hold by its nonce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.retention.approval import approval_nonce, approved_nonces
from gateway_operator.domain.retention.plan import TOLERANCE
from gateway_operator.domain.retention.volume import EMPTY, SetInventory
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

_LEAST_LARGE: Final = 3
"""A plan that deletes fewer backups is never a large deletion."""


@dataclass(frozen=True, slots=True)
class DeletionHold:
    """The reason why no backup of a set is deleted now. ``nonce`` is empty if a person cannot approve it."""

    reason: Reason
    message: str
    nonce: str = ""
    spares_records: bool = False
    """Whether failed records, which have no file, are deleted in spite of it."""


@dataclass(frozen=True, slots=True)
class SetObservation:
    """The inputs of the safety checks of a set."""

    complete: bool
    """Whether the lists of backups and restores were read completely."""
    newest: datetime | None = None
    """The time of the newest backup that is not adopted; None without one."""
    server_time: datetime | None = None
    """The API server's clock, from its answer to the list; None without one."""
    files_problem: str = ""
    """Why the volume is not listed; empty if it is, or if the set needs no listing."""
    inventory: SetInventory = EMPTY
    deletions: Sequence[str] = ()
    """The uids of the backups that the whole plan deletes with their files."""
    present: int = 0
    """The number of Completed backups whose file is not known to be lost."""
    left_before: int | None = None
    """The number that the last applied pass has left; None if there was none."""
    schedule: GatewayBackupSchedule | None = None
    """The schedule that a person can annotate; None for a set without one."""
    approval_problem: str = ""
    """Why no approval counts now: the admission policy that protects them is not in force. Empty if one counts."""


def first_hold(observed: SetObservation, now: datetime) -> DeletionHold | None:
    """The first hold that applies and is not approved; None if deletions are allowed."""
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
    if observed.files_problem:
        message = f"No file is deleted: the files on the volume are not known. {observed.files_problem}"
        return DeletionHold(Reason.ListingIncomplete, message, spares_records=True)
    # Without the policy, anyone who may update the schedule could approve.
    schedule = None if observed.approval_problem else observed.schedule
    approved = approved_nonces(schedule) if schedule is not None else frozenset()
    return next((one for one in approvable_holds(observed) if one.nonce not in approved), None)


def approvable_holds(observed: SetObservation) -> list[DeletionHold]:
    """The holds that a person can approve, approved or not. Only sets with a schedule have them."""
    schedule, inventory = observed.schedule, observed.inventory
    if schedule is None:
        return []
    holds = []
    if inventory.shrank:
        nonce = approval_nonce(schedule, Reason.InventoryShrank, (*inventory.without_file, *inventory.without_object))
        message = (
            f"Nothing is deleted: of {inventory.members} members of the set, {len(inventory.without_file)} have lost "
            f"their file and {len(inventory.without_object)} files have no GatewayBackup. Bring the files back or "
            f"import them. {_command(observed, schedule, nonce)}"
        )
        holds.append(DeletionHold(Reason.InventoryShrank, message, nonce))
    leaves = observed.present - len(observed.deletions)
    before = observed.present if observed.left_before is None else observed.left_before
    if len(observed.deletions) >= _LEAST_LARGE and leaves * 2 <= before:
        nonce = approval_nonce(schedule, Reason.LargeDeletion, observed.deletions)
        message = (
            f"Nothing is deleted: the policy deletes {len(observed.deletions)} of {observed.present} backups and "
            f"leaves {leaves}. Check it with `kubectl gateway retention explain {schedule.name}`. "
            f"{_command(observed, schedule, nonce)}"
        )
        holds.append(DeletionHold(Reason.LargeDeletion, message, nonce))
    return holds


def _command(observed: SetObservation, schedule: GatewayBackupSchedule, nonce: str) -> str:
    if observed.approval_problem:
        return f"It cannot be approved: {observed.approval_problem}"
    namespace = schedule.meta.ref.namespace
    return f"To approve: kubectl gateway retention approve -n {namespace} {schedule.name} (nonce {nonce})"


def restore_pending_hold(restore: str) -> DeletionHold:
    """The hold while a restore has not resolved its source."""
    return DeletionHold(
        Reason.RestoreChoosing, f"Nothing is deleted until GatewayRestore {restore} has resolved its source."
    )
