"""Decides the next step of a GatewayBackupSchedule: a pure function of an observation and the time.

The steps are: create the CronJob, or correct it, and then write the status. A run never waits. A missing ServiceAccount
or permission is checked again at the next event and at each retention pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.actions import Done, KubernetesEvent
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule import drills as drill_decisions
from gateway_operator.domain.schedule.backup_summaries import progress
from gateway_operator.domain.schedule.cron import next_time
from gateway_operator.domain.schedule.cronjob import Image, desired_cron_job
from gateway_operator.domain.schedule.cronjob_check import (
    CorrectCronJob,
    CreateCronJob,
    CronJobAction,
    CronJobCondition,
    CronJobError,
    CronJobObservation,
    blocked,
    check,
    missing_account,
)
from gateway_operator.domain.schedule.drift import is_owned_by
from gateway_operator.domain.schedule.drills import DrillResult, OwnDrill, ScheduledDrillObservation
from gateway_operator.domain.schedule.encryption import with_encryption
from gateway_operator.domain.schedule.jobs import JobObservation, job_problem
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

_READY_REASONS: Final = frozenset({Reason.Scheduled, Reason.Suspended, Reason.RestoreInProgress})
_PASSING: Final = frozenset(
    {
        Reason.CronJobDeleting,
        Reason.ServiceAccountMissing,
        Reason.NotAuthorized,
        Reason.KubernetesError,
        Reason.InternalError,
    }
)
"""Problems that end without a change of the schedule: kstatus shows it as in progress. With all others it failed."""


@dataclass(frozen=True)
class ScheduleObservation:
    """The inputs of one decision. ``has_account`` is None if the operator may not read ServiceAccounts."""

    schedule: GatewayBackupSchedule
    cron_job: Json | None
    has_account: bool | None
    backups: Sequence[BackupSummary]
    image: Image
    cron_job_error: CronJobError | None = None
    corrected: bool = False
    """Whether this run has written the CronJob already."""
    newest_job: JobObservation | None = None
    """The newest Job of the CronJob, if it may have a problem."""
    drill: ScheduledDrillObservation = field(default_factory=ScheduledDrillObservation)


@dataclass(frozen=True, slots=True)
class ScheduleStatusUpdate:
    """Write the status, then end this run."""

    status: dict[str, Any]
    event: KubernetesEvent | None


ScheduleAction = Done | CronJobAction | OwnDrill | ScheduleStatusUpdate


def decide(observed: ScheduleObservation, now: datetime) -> ScheduleAction:
    """The next action for this observation."""
    schedule = observed.schedule
    if schedule.meta.deleting_since:
        return Done()
    result = _check(observed, now)
    if not isinstance(result, CronJobCondition):
        return result
    # The drills come second and have a condition of their own: their problems must not affect the backups.
    drills = drill_decisions.decide_drills(schedule, observed.drill, observed.image, observed.has_account, now)
    if not isinstance(drills, DrillResult):
        return drills
    return _status_update(observed, result, drills, now)


def _check(observed: ScheduleObservation, now: datetime) -> CronJobCondition | CreateCronJob | CorrectCronJob:
    schedule = observed.schedule
    cron_job = CronJobObservation(observed.cron_job, observed.cron_job_error, observed.corrected)
    if (problem := blocked(schedule, schedule.name, cron_job)) is not None:
        return problem
    if not observed.image.name:
        return CronJobCondition(
            Reason.ImageUnknown,
            "The operator does not know its own image, which the CronJob's pods use: set GATEWAY_OPERATOR_IMAGE.",
        )
    desired = desired_cron_job(schedule, observed.image)
    account = missing_account(schedule, observed.has_account)
    result = check(desired, cron_job, str(schedule.status.get("cronJob") or ""), account)
    return result or _job_problem(observed, now) or _waiting(observed) or _scheduled(schedule)


def _job_problem(observed: ScheduleObservation, now: datetime) -> CronJobCondition | None:
    if observed.newest_job is None or observed.schedule.suspend:
        return None
    problem = job_problem(observed.newest_job, (one.name for one in observed.backups), now)
    return None if problem is None else CronJobCondition(problem.reason, problem.message)


def _waiting(observed: ScheduleObservation) -> CronJobCondition | None:
    """The schedule works, but its backup waits for the end of a restore of the gateway."""
    waiting = [one for one in observed.backups if one.phase == "Pending" and one.reason == Reason.RestoreInProgress]
    if not waiting:
        return None
    newest = max(waiting, key=lambda one: (one.created, one.name))
    message = (
        f"{_scheduled(observed.schedule).message} Backup {newest.name} waits: a restore of the gateway is running."
    )
    return CronJobCondition(Reason.RestoreInProgress, message)


def _scheduled(schedule: GatewayBackupSchedule) -> CronJobCondition:
    if schedule.suspend:
        return CronJobCondition(Reason.Suspended, f"CronJob {schedule.name} is suspended: no new backups are created.")
    message = f"CronJob {schedule.name} creates a backup at {schedule.schedule} ({schedule.time_zone})."
    return CronJobCondition(Reason.Scheduled, message)


def _status_update(
    observed: ScheduleObservation, condition: CronJobCondition, drills: DrillResult, now: datetime
) -> ScheduleStatusUpdate:
    schedule, generation = observed.schedule, observed.schedule.meta.generation
    is_ready = condition.reason in _READY_REASONS
    ready = _readiness(schedule, condition, now)
    if observed.cron_job_error is not None and observed.cron_job_error.reason is Reason.NotAuthorized:
        message = condition.message
        ready = conditions.with_condition(
            ready, conditions.AUTHORIZED, False, str(Reason.NotAuthorized), message, generation, now
        )
    elif conditions.condition_status(ready, conditions.AUTHORIZED) is False:
        message = "The operator has the permissions that this schedule needs."
        ready = conditions.with_condition(
            ready, conditions.AUTHORIZED, True, str(Reason.Authorized), message, generation, now
        )
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": with_encryption(drills.with_condition(ready, generation, now), observed.backups, generation, now),
        **_cron_job_status(observed, is_ready, now),
        **progress(schedule, observed.backups),
        "drill": drills.status,
    }
    return ScheduleStatusUpdate(status, _transition(schedule, condition, is_ready))


def _readiness(schedule: GatewayBackupSchedule, condition: CronJobCondition, now: datetime) -> conditions.Conditions:
    return conditions.readiness_conditions(
        schedule.conditions,
        condition.reason in _READY_REASONS,
        conditions.RECONCILING if condition.reason in _PASSING else conditions.STALLED,
        str(condition.reason),
        condition.message,
        schedule.meta.generation,
        now,
    )


def after_error(schedule: GatewayBackupSchedule, failure: Failure, now: datetime) -> ScheduleAction:
    """The status after a run that ended with an exception. The work queue retries the run."""
    if schedule.meta.deleting_since:
        return Done()
    condition = CronJobCondition(Reason(failure.code), failure.sentence())
    status = {
        "observedGeneration": schedule.meta.generation,
        "conditions": _readiness(schedule, condition, now),
    }
    return ScheduleStatusUpdate(status, _transition(schedule, condition, False))


def _cron_job_status(observed: ScheduleObservation, is_ready: bool, now: datetime) -> dict[str, Any]:
    schedule, cron_job = observed.schedule, observed.cron_job
    if cron_job is None or not is_owned_by(schedule, cron_job):
        # The name stays in the status. With it, _create() reports a missing CronJob as deleted by someone.
        return {"nextScheduleTime": None}
    runs = is_ready and not schedule.suspend
    due = next_time(schedule.schedule, schedule.time_zone, now) if runs else None
    last = timestamps.parse((cron_job.get("status") or {}).get("lastScheduleTime"))
    return {
        "cronJob": schedule.name,
        # Only the operator writes a status: a backup is a scheduled one only if this CronJob controls its Job.
        "cronJobUID": str(cron_job["metadata"].get("uid", "")),
        # A CronJob that was created again has no lastScheduleTime.
        "lastScheduleTime": timestamps.text(last) if last else schedule.status.get("lastScheduleTime"),
        "nextScheduleTime": timestamps.text(due) if due else None,
    }


def _transition(schedule: GatewayBackupSchedule, condition: CronJobCondition, is_ready: bool) -> KubernetesEvent | None:
    """An event when a problem begins, changes or ends."""
    before = conditions.find_condition(schedule.conditions, conditions.READY)
    if before.get("reason") == condition.reason:
        return None
    if not is_ready or before:
        return KubernetesEvent(str(condition.reason), condition.message, warning=not is_ready)
    return None
