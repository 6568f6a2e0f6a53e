"""What a pass writes into a schedule's status: RetentionApplied, ObjectiveMet, and what the next pass must know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain import conditions, durations, times
from gateway_operator.domain.actions import Note
from gateway_operator.domain.objective import judge
from gateway_operator.domain.reasons import Reason
from gateway_operator.domain.retention_outcome import RETENTION_APPLIED, Outcome
from gateway_operator.domain.retention_sets import BackupSet
from gateway_operator.domain.scheduled import GatewayBackupSchedule

OBJECTIVE_MET: Final = "ObjectiveMet"
_QUIET: Final = frozenset({Reason.Applied, Reason.NoPolicy, Reason.DryRun})


@dataclass(frozen=True, slots=True)
class Standing:
    """A status to write, and the transitions to tell."""

    status: Mapping[str, Any]
    notes: list[Note] = field(default_factory=list)


def remembered(schedule: GatewayBackupSchedule, outcome: Outcome, deleted: int, now: datetime) -> dict[str, Any]:
    """``status.retention``. It changes, its time included, only when there is another result."""
    before = schedule.retention_status
    after: dict[str, Any] = {
        "kept": outcome.kept,
        "wouldDelete": outcome.would_delete,
        "deletedTotal": _number(before, "deletedTotal") + deleted,
    }
    inventory = outcome.inventory if outcome.inventory is not None else before.get("inventory")
    if inventory is not None:
        after["inventory"] = inventory
    if all(before.get(name) == value for name, value in after.items()):
        return dict(before)
    return {**after, "lastPassTime": times.text(now)}


def _number(status: Mapping[str, Any], name: str) -> int:
    value = status.get(name)
    return value if isinstance(value, int) else 0


def inventory_before(schedule: GatewayBackupSchedule) -> int | None:
    """How many good backups the last pass left."""
    value = schedule.retention_status.get("inventory")
    return value if isinstance(value, int) else None


def standing(
    schedule: GatewayBackupSchedule,
    backups: BackupSet | None,
    outcome: Outcome,
    deleted: int,
    now: datetime,
    unowned: int | None = None,
) -> Standing:
    """``backups``: None where they could not be listed; the objective then stands as it was judged last. ``unowned``:
    how many files no GatewayBackup names; None where the volume was not looked at."""
    present = [dict(one) for one in schedule.status.get("conditions") or ()]
    generation, notes = schedule.meta.generation, []
    wanted = [(RETENTION_APPLIED, outcome.applied, outcome.reason, outcome.message)]
    limit = durations.parse_or_none(schedule.objective)
    if limit is None:
        present = [one for one in present if one.get("type") != OBJECTIVE_MET]
    elif backups is not None:
        verdict = judge(limit, backups.newest_verified, schedule.meta.created, now)
        wanted.append((OBJECTIVE_MET, verdict.met, verdict.reason, verdict.message))
    for kind, holds, reason, message in wanted:
        old = next((one for one in present if one.get("type") == kind), {})
        fine = holds or reason in _QUIET
        if old.get("reason") != reason and (old or not fine):
            notes.append(Note(str(reason), message, warning=not fine))
        present = conditions.with_condition(present, kind, holds, str(reason), message, generation, now)
    status: dict[str, Any] = {"conditions": present}
    if backups is not None:
        status["retention"] = remembered(schedule, outcome, deleted, now)
    if unowned is not None:
        status["unownedFiles"] = unowned
    return Standing(status, notes)
