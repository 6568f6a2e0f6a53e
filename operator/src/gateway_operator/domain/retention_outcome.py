"""What a pass over a set does and says: which backups go now, and the schedule's condition RetentionApplied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway_operator.domain.actions import Note
from gateway_operator.domain.reasons import Reason
from gateway_operator.domain.retention import COMPLETED, Cause, Decision, Limits, Policy
from gateway_operator.domain.retention_brakes import Brake

RETENTION_APPLIED: Final = "RetentionApplied"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a pass over a set."""

    deletions: tuple[Decision, ...]
    """What goes now, the oldest first: whatever ends the pass early leaves the newest."""
    applied: bool
    reason: Reason
    message: str
    """The same for as long as nothing changes."""
    kept: int
    """How many good backups stay."""
    would_delete: int
    """How many would go if nothing held them back."""
    inventory: int | None
    """How many good backups there are after it; None: what was known stands."""


def conclude(decisions: Sequence[Decision], policy: Policy | str, brake: Brake | None) -> Outcome:
    """``policy``: the set's, or a sentence about why it cannot be understood."""
    going = [one for one in reversed(decisions) if not one.keep]
    good = sum(1 for one in decisions if one.backup.phase == COMPLETED)
    if isinstance(policy, str):
        return Outcome((), False, Reason.PolicyInvalid, f"Nothing is deleted: {policy}", good, 0, None)
    if brake is not None:
        return Outcome((), False, brake.reason, brake.message, good, len(going), None)
    now = tuple(one for one in going if one.cause is Cause.ttl or not policy.dry_run)
    left = good - sum(1 for one in now if one.backup.phase == COMPLETED)
    held = len(going) - len(now)
    if policy.dry_run:
        return Outcome(now, False, Reason.DryRun, f"A dry run: {held} of {left} would be deleted.", left, held, left)
    if not policy.has_rules and policy.failed == Limits():
        return Outcome(now, False, Reason.NoPolicy, "No rule lets a backup go: all are kept.", left, 0, left)
    said = "1 backup is kept." if left == 1 else f"{left} backups are kept."
    return Outcome(now, True, Reason.Applied, said, left, 0, left)


def note(decision: Decision) -> Note:
    """What people are told about a deletion."""
    name, why = decision.backup.name, decision.reasons[0]
    if decision.cause is Cause.ttl:
        return Note(Reason.DeletedByTTL, f"GatewayBackup {name} is deleted with its file: {why}.")
    if decision.cause is Cause.failed:
        return Note(Reason.DeletedByRetention, f"GatewayBackup {name}, which failed, is deleted: {why}.")
    return Note(Reason.DeletedByRetention, f"GatewayBackup {name} is deleted with its file: {why}.")
