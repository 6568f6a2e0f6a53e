"""The result of a retention plan: the deletions, the status, and a table for `kubectl gateway retention explain`."""

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
    """One row of `kubectl gateway retention explain`."""

    name: str
    time: str
    phase: str
    level: str
    decision: str
    """``keep`` or ``delete``."""
    why: str
    expires: str
    """When an age limit will delete it; empty without one."""


def explain(decisions: Sequence[RetentionDecision]) -> list[ExplainRow]:
    """A row for each backup, newest first."""
    return [
        ExplainRow(
            name=one.backup.name,
            time=timestamps.text(one.backup.time),
            phase=one.backup.phase or "Pending",
            level=one.backup.level,
            decision="keep" if one.keep else "delete",
            why=", ".join(one.reasons) or "no rule deletes it",
            expires=timestamps.text(one.expires_at) if one.expires_at is not None else "",
        )
        for one in decisions
    ]


RETENTION_APPLIED: Final = "RetentionApplied"


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """The result of a retention pass over one set."""

    deletions: tuple[RetentionDecision, ...]
    """The deletions of this pass, oldest first, so that the newest remain if the pass ends early."""
    applied: bool
    reason: Reason
    message: str
    """It does not change while the result is the same."""
    kept: int
    """The number of Completed backups that stay."""
    would_delete: int
    """The number of deletions that a hold or ``dryRun`` prevents."""
    inventory: int | None
    """The number of Completed backups after the pass; None keeps the recorded number."""


def summarize(
    decisions: Sequence[RetentionDecision], policy: RetentionPolicy | str, hold: DeletionHold | None
) -> RetentionResult:
    """The result for a set. ``policy`` is a sentence if the policy is invalid; ``hold`` prevents all deletions."""
    planned = [one for one in reversed(decisions) if not one.keep]
    good = sum(1 for one in decisions if one.backup.phase == COMPLETED)
    if isinstance(policy, str):
        return RetentionResult((), False, Reason.PolicyInvalid, f"Nothing is deleted: {policy}", good, 0, None)
    if hold is not None:
        return RetentionResult((), False, hold.reason, hold.message, good, len(planned), None)
    executed = tuple(one for one in planned if one.cause is DeletionCause.ttl or not policy.dry_run)
    left = good - sum(1 for one in executed if one.backup.phase == COMPLETED)
    held = len(planned) - len(executed)
    if policy.dry_run:
        return RetentionResult(
            executed, False, Reason.DryRun, f"A dry run: {held} of {left} would be deleted.", left, held, left
        )
    if not policy.has_rules and policy.failed == FailedLimits():
        return RetentionResult(
            executed, False, Reason.NoPolicy, "No rule deletes a backup: all are kept.", left, 0, left
        )
    message = "1 backup is kept." if left == 1 else f"{left} backups are kept."
    return RetentionResult(executed, True, Reason.Applied, message, left, 0, left)


def deletion_event(decision: RetentionDecision) -> KubernetesEvent:
    """The event that reports the deletion of a backup."""
    name, why = decision.backup.name, decision.reasons[0]
    if decision.cause is DeletionCause.ttl:
        return KubernetesEvent(Reason.DeletedByTTL, f"GatewayBackup {name} is deleted with its file: {why}.")
    if decision.cause is DeletionCause.failed:
        return KubernetesEvent(Reason.DeletedByRetention, f"GatewayBackup {name}, which failed, is deleted: {why}.")
    return KubernetesEvent(Reason.DeletedByRetention, f"GatewayBackup {name} is deleted with its file: {why}.")
