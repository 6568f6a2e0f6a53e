"""The part of a schedule's status that a retention pass writes: conditions and ``retention``.

The recovery point objective is met if the newest Verified backup is young enough. The cause of an old backup does not
matter here. It may be a suspended CronJob, failed backups or an operator that was down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from gateway_operator.domain.gateway.health import GATEWAY_HEALTHY, GatewayHealth
from gateway_operator.domain.gateway.volumes import BACKUP_VOLUME_RETAINED
from gateway_operator.domain.model import conditions, durations, timestamps
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.durations import span
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.retention.result import FORGET, RETENTION_APPLIED, RetentionResult
from gateway_operator.domain.retention.sets import BackupSet
from gateway_operator.domain.schedule.certificate import CERTIFICATE_VALID, check_certificate
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule


@dataclass(frozen=True, slots=True)
class ObjectiveResult:
    """The value of the condition ObjectiveMet."""

    met: bool
    reason: Reason
    message: str
    """It contains no age, so that it does not change while nothing happens."""


def check_objective(max_age: timedelta, newest: datetime | None, created: datetime, now: datetime) -> ObjectiveResult:
    """Whether the objective is met. ``newest`` is the time of the newest Verified backup.

    Without one, the time since the creation of the schedule counts.
    """
    since = created if newest is None else newest
    met = now - since <= max_age
    limit = f"objective.maxAge is {span(max_age)}"
    if newest is None:
        message = (
            f"There is no Verified backup since the creation of the schedule at {timestamps.text(created)}; {limit}."
        )
    else:
        message = f"The newest Verified backup is from {timestamps.text(newest)}; {limit}."
    if met:
        return ObjectiveResult(True, Reason.ObjectiveMet, message)
    return ObjectiveResult(False, Reason.ObjectiveMissed, f"{message} The objective is missed.")


OBJECTIVE_MET: Final = "ObjectiveMet"
_PASS_TIME_INTERVAL: Final = timedelta(hours=1)
"""One write per schedule and hour shows that retention is running."""
QUIET_REASONS: Final = frozenset({Reason.Applied, Reason.NoPolicy, Reason.DryRun})
"""The reasons of RetentionApplied that are not a problem, also where the condition is False."""


@dataclass(frozen=True, slots=True)
class ScheduleRetentionStatus:
    """The status to write, and the events for its transitions."""

    status: Mapping[str, Any]
    events: list[KubernetesEvent] = field(default_factory=list)


def next_retention_status(
    schedule: GatewayBackupSchedule, outcome: RetentionResult, deleted: int, now: datetime
) -> dict[str, Any]:
    """``status.retention``. Its time changes with the result, and at least once in ``_PASS_TIME_INTERVAL``."""
    before = schedule.retention_status
    after: dict[str, Any] = {
        "kept": outcome.kept,
        "wouldDelete": outcome.would_delete,
        "deletedTotal": _number(before, "deletedTotal") + deleted,
        "missingFiles": outcome.missing,
        "approvals": [{"reason": str(one.reason), "nonce": one.nonce} for one in outcome.approvals],
    }
    if outcome.inventory is not None:
        after |= recorded_inventory(outcome)
    else:
        after |= {name: before[name] for name in ("inventory", "volumeID") if name in before}
    last = timestamps.parse(before.get("lastPassTime"))
    # A clock that was set back must not keep a time of the future.
    fresh = last is not None and abs(now - last) < _PASS_TIME_INTERVAL
    if fresh and all(before.get(name) == value for name, value in after.items()):
        return dict(before)
    return {**after, "lastPassTime": timestamps.text(now)}


def _number(status: Mapping[str, Any], name: str) -> int:
    value = status.get(name)
    return value if isinstance(value, int) else 0


def recorded_inventory(outcome: RetentionResult) -> dict[str, Any]:
    """The fields of ``status.retention`` with the number that a pass leaves, and its volume."""
    if outcome.inventory == FORGET:
        return {"inventory": None, "volumeID": None}
    return {"inventory": outcome.inventory, "volumeID": outcome.volume_id or None}


def left_by_last_pass(schedule: GatewayBackupSchedule, volume_id: str) -> int | None:
    """The number of backups with a file that the last applied pass has left on this volume; None without one.

    The number of another volume says nothing: after an empty volume every deletion would look small.
    """
    value = schedule.retention_status.get("inventory")
    same = schedule.retention_status.get("volumeID") == volume_id
    return value if isinstance(value, int) and same else None


_DesiredCondition = tuple[str, bool | None, str, str]
"""Type, status (None: Unknown), reason and message."""


def _gateway_conditions(gateway: GatewayHealth, now: datetime) -> list[_DesiredCondition]:
    desired: list[_DesiredCondition] = []
    if gateway.certificate_end is not None:
        checked = check_certificate(gateway.certificate_end, now)
        desired.append((CERTIFICATE_VALID, checked.valid, checked.reason, checked.message))
    if (check := gateway.check) is not None:
        desired.append((GATEWAY_HEALTHY, check.healthy, check.reason, check.message))
    if (volume := gateway.backup_volume) is not None:
        desired.append((BACKUP_VOLUME_RETAINED, volume.retained, volume.reason, volume.message))
    return desired


def schedule_status(
    schedule: GatewayBackupSchedule,
    backups: BackupSet | None,
    outcome: RetentionResult,
    deleted: int,
    now: datetime,
    unowned: int | None = None,
    gateway: GatewayHealth | None = None,
) -> ScheduleRetentionStatus:
    """The status of a schedule after a pass.

    ``backups`` is None if they could not be listed; the condition ObjectiveMet then stays as it is. ``unowned`` is the
    number of files without a GatewayBackup; None if the volume was not listed. ``gateway`` is the last check of the
    gateway; a condition about which it says nothing yet stays as it is.
    """
    present = [dict(one) for one in schedule.status.get("conditions") or ()]
    generation, notes = schedule.meta.generation, []
    desired: list[_DesiredCondition] = [(RETENTION_APPLIED, outcome.applied, outcome.reason, outcome.message)]
    limit = durations.parse_or_none(schedule.objective)
    if limit is None:
        present = conditions.without_condition(present, OBJECTIVE_MET)
    elif backups is not None:
        result = check_objective(limit, backups.newest_verified, schedule.meta.created, now)
        desired.append((OBJECTIVE_MET, result.met, result.reason, result.message))
    if gateway is not None:
        desired += _gateway_conditions(gateway, now)
        if gateway.has_answered and gateway.certificate_end is None:
            present = conditions.without_condition(present, CERTIFICATE_VALID)
    for kind, holds, reason, message in desired:
        old = conditions.find_condition(present, kind)
        fine = holds is not False or reason in QUIET_REASONS
        if old.get("reason") != reason and (old or not fine):
            notes.append(KubernetesEvent(str(reason), message, warning=not fine))
        present = conditions.with_condition(present, kind, holds, str(reason), message, generation, now)
    status: dict[str, Any] = {"conditions": present}
    if backups is not None:
        status["retention"] = next_retention_status(schedule, outcome, deleted, now)
    if unowned is not None:
        status["unownedFiles"] = unowned
    return ScheduleRetentionStatus(status, notes)
