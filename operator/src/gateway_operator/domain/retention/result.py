"""A plan for people: what stays, what goes, and why. `kubectl gateway retention explain` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.retention.guards import DeletionHold
from gateway_operator.domain.retention.plan import COMPLETED, DeletionCause, RetentionDecision
from gateway_operator.domain.retention.policy import FailedLimits, RetentionPolicy


class ExplainRow(NamedTuple):
    """One backup."""

    name: str
    time: str
    phase: str
    level: str
    verdict: str
    """``keep`` or ``delete``."""
    why: str
    expires: str
    """When a limit of age lets it go; empty where that is not known."""


def explain(decisions: Sequence[RetentionDecision]) -> list[ExplainRow]:
    """A row for each backup, newest first."""
    return [
        ExplainRow(
            name=one.backup.name,
            time=timestamps.text(one.backup.time),
            phase=one.backup.phase or "Pending",
            level=one.backup.level,
            verdict="keep" if one.keep else "delete",
            why=", ".join(one.reasons) or "no rule lets it go",
            expires=timestamps.text(one.expires_at) if one.expires_at is not None else "",
        )
        for one in decisions
    ]


RETENTION_APPLIED: Final = "RetentionApplied"


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """The end of a pass over a set."""

    deletions: tuple[RetentionDecision, ...]
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


def summarize(
    decisions: Sequence[RetentionDecision], policy: RetentionPolicy | str, brake: DeletionHold | None
) -> RetentionResult:
    """``policy``: the set's, or a sentence about why it cannot be understood."""
    going = [one for one in reversed(decisions) if not one.keep]
    good = sum(1 for one in decisions if one.backup.phase == COMPLETED)
    if isinstance(policy, str):
        return RetentionResult((), False, Reason.PolicyInvalid, f"Nothing is deleted: {policy}", good, 0, None)
    if brake is not None:
        return RetentionResult((), False, brake.reason, brake.message, good, len(going), None)
    now = tuple(one for one in going if one.cause is DeletionCause.ttl or not policy.dry_run)
    left = good - sum(1 for one in now if one.backup.phase == COMPLETED)
    held = len(going) - len(now)
    if policy.dry_run:
        return RetentionResult(
            now, False, Reason.DryRun, f"A dry run: {held} of {left} would be deleted.", left, held, left
        )
    if not policy.has_rules and policy.failed == FailedLimits():
        return RetentionResult(now, False, Reason.NoPolicy, "No rule lets a backup go: all are kept.", left, 0, left)
    said = "1 backup is kept." if left == 1 else f"{left} backups are kept."
    return RetentionResult(now, True, Reason.Applied, said, left, 0, left)


def deletion_event(decision: RetentionDecision) -> KubernetesEvent:
    """What people are told about a deletion."""
    name, why = decision.backup.name, decision.reasons[0]
    if decision.cause is DeletionCause.ttl:
        return KubernetesEvent(Reason.DeletedByTTL, f"GatewayBackup {name} is deleted with its file: {why}.")
    if decision.cause is DeletionCause.failed:
        return KubernetesEvent(Reason.DeletedByRetention, f"GatewayBackup {name}, which failed, is deleted: {why}.")
    return KubernetesEvent(Reason.DeletedByRetention, f"GatewayBackup {name} is deleted with its file: {why}.")
