"""The result of a retention plan: the deletions, the status, and a table for `kubectl gateway retention explain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.retention.guards import DeletionHold
from gateway_operator.domain.retention.plan import COMPLETED, FAILED, DeletionCause, RetentionDecision
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
FORGET: Final = -1
"""No policy was applied, so the next pass that applies one is compared with the backups that are there."""


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
    """The number of Completed backups that stay and whose file is not known to be lost."""
    would_delete: int
    """The number of deletions that a hold or ``dryRun`` prevents."""
    inventory: int | None
    """The number to record as left by this pass; None keeps the recorded number, and ``FORGET`` removes it."""
    approvals: tuple[DeletionHold, ...] = ()
    """The holds that wait for a person or that a person has approved."""
    volume_id: str = ""
    """The volume to which the recorded number belongs; empty if it is not known."""
    missing: int = 0
    """The number of Completed backups whose file is missing on the volume."""


def executed_deletions(decisions: Sequence[RetentionDecision], policy: RetentionPolicy) -> list[RetentionDecision]:
    """The deletions that a pass makes without a hold, oldest first. In a dry run only ``ttl`` deletes."""
    planned = (one for one in reversed(decisions) if not one.keep)
    return [one for one in planned if one.cause is DeletionCause.ttl or not policy.dry_run]


def summarize(
    decisions: Sequence[RetentionDecision],
    policy: RetentionPolicy | str,
    hold: DeletionHold | None,
    approvals: Sequence[DeletionHold] = (),
) -> RetentionResult:
    """The result for a set. ``policy`` is a sentence if the policy is invalid; ``hold`` prevents all deletions.

    A hold because of the files does not prevent the deletion of failed records, which have no file.
    """
    completed = [one for one in decisions if one.backup.phase == COMPLETED]
    good = sum(not one.backup.file.is_lost for one in completed)
    missing = sum(one.backup.file is FileState.absent for one in completed)
    if isinstance(policy, str):
        message = f"Nothing is deleted: {policy}"
        return RetentionResult((), False, Reason.PolicyInvalid, message, good, 0, None, missing=missing)
    executed = executed_deletions(decisions, policy)
    planned = sum(not one.keep for one in decisions)
    if hold is not None:
        executed = [one for one in executed if one.backup.phase == FAILED and one.cause is DeletionCause.failed]
        if not hold.spares_records:
            executed = []
        return RetentionResult(
            tuple(executed), False, hold.reason, hold.message, good, planned - len(executed), None,
            tuple(approvals), missing=missing,
        )  # fmt: skip
    deletions = sum(one.deletes_file for one in executed if one.backup.phase == COMPLETED)
    kept, held = good - deletions, planned - len(executed)
    applied = False
    if policy.dry_run:
        reason, message = Reason.DryRun, f"A dry run: {held} of {kept} would be deleted."
    elif not policy.has_rules and policy.failed == FailedLimits():
        reason, message = Reason.NoPolicy, "No rule deletes a backup: all are kept."
    else:
        applied, reason = True, Reason.Applied
        message = "1 backup is kept." if kept == 1 else f"{kept} backups are kept."
    return RetentionResult(
        tuple(executed),
        applied,
        reason,
        message,
        kept,
        held,
        kept if applied else FORGET,
        tuple(approvals),
        missing=missing,
    )


def deletion_event(decision: RetentionDecision) -> KubernetesEvent:
    """The event that reports the deletion of a backup."""
    name, why = decision.backup.name, decision.reasons[0]
    if decision.cause is DeletionCause.ttl:
        return KubernetesEvent(Reason.DeletedByTTL, f"GatewayBackup {name} is deleted with its file: {why}.")
    if decision.cause is DeletionCause.failed:
        return KubernetesEvent(Reason.DeletedByRetention, f"The object GatewayBackup {name} is deleted: {why}.")
    return KubernetesEvent(Reason.DeletedByRetention, f"GatewayBackup {name} is deleted with its file: {why}.")
