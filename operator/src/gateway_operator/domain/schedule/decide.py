"""Decides the next step of a GatewayBackupSchedule: a pure function of an observation and the time.

The steps are: create the CronJob, or correct it, and then write the status. A run never waits. A missing ServiceAccount
or permission is checked again at the next event and at each retention pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.gateway.grants import account_line
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.actions import Done, KubernetesEvent
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.names import backup_account
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.backup_summaries import progress
from gateway_operator.domain.schedule.cron import next_time
from gateway_operator.domain.schedule.cronjob import (
    Image,
    correction,
    desired_cron_job,
    differences,
    is_owned_by,
    spec_digest,
)
from gateway_operator.domain.schedule.jobs import JobObservation, job_problem
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

_FINE: Final = frozenset({Reason.Scheduled, Reason.Suspended})
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
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class CronJobError:
    """Why the CronJob could not be read or written in this run."""

    reason: Reason
    message: str


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


@dataclass(frozen=True, slots=True)
class CreateCronJob:
    """Create the CronJob of the schedule."""

    body: Json
    event: KubernetesEvent


@dataclass(frozen=True, slots=True)
class CorrectCronJob:
    """Correct the CronJob with a merge patch."""

    patch: Json
    event: KubernetesEvent


@dataclass(frozen=True, slots=True)
class ScheduleStatusUpdate:
    """Write the status, then end this run."""

    status: dict[str, Any]
    event: KubernetesEvent | None


ScheduleAction = Done | CreateCronJob | CorrectCronJob | ScheduleStatusUpdate


@dataclass(frozen=True, slots=True)
class _ReadyCondition:
    reason: Reason
    message: str


def decide(observed: ScheduleObservation, now: datetime) -> ScheduleAction:
    """The next action for this observation."""
    schedule = observed.schedule
    if schedule.meta.deleting_since:
        return Done()
    result = _check(observed, now)
    if isinstance(result, _ReadyCondition):
        return _status_update(observed, result, now)
    return result


def _check(observed: ScheduleObservation, now: datetime) -> _ReadyCondition | CreateCronJob | CorrectCronJob:
    schedule, cron_job = observed.schedule, observed.cron_job
    if observed.cron_job_error is not None:
        return _ReadyCondition(observed.cron_job_error.reason, observed.cron_job_error.message)
    if cron_job is not None and not is_owned_by(schedule, cron_job):
        return _ReadyCondition(
            Reason.NameConflict,
            f"The CronJob {schedule.name} does not belong to this schedule and is not changed. Delete it, or give the "
            "schedule another name.",
        )
    if cron_job is not None and cron_job["metadata"].get("deletionTimestamp"):
        message = f"CronJob {schedule.name} is being deleted; afterwards it is created again."
        return _ReadyCondition(Reason.CronJobDeleting, message)
    if not observed.image.name:
        return _ReadyCondition(
            Reason.ImageUnknown,
            "The operator does not know its own image, which the CronJob's pods use: set GATEWAY_OPERATOR_IMAGE.",
        )
    want = desired_cron_job(schedule, observed.image)
    if cron_job is None:
        return _missing_account(observed) or _create(schedule, want)
    different = differences(want, cron_job)
    # One correction a run: a second one would loop with the webhook that changes the CronJob.
    if different and observed.corrected:
        message = f"Something changes CronJob {schedule.name} on every write ({_fields(different)}); check webhooks."
        return _ReadyCondition(Reason.CronJobOverruled, message)
    if different:
        return _correct(schedule, want, cron_job, different)
    return _missing_account(observed) or _job_problem(observed, now) or _scheduled(schedule)


def _job_problem(observed: ScheduleObservation, now: datetime) -> _ReadyCondition | None:
    if observed.newest_job is None or observed.schedule.suspend:
        return None
    problem = job_problem(observed.newest_job, (one.name for one in observed.backups), now)
    return None if problem is None else _ReadyCondition(problem.reason, problem.message)


def _missing_account(observed: ScheduleObservation) -> _ReadyCondition | None:
    if observed.has_account is not False:
        return None
    schedule = observed.schedule
    name, namespace = backup_account(schedule.gateway.name), schedule.meta.ref.namespace
    return _ReadyCondition(
        Reason.ServiceAccountMissing,
        f"There is no ServiceAccount {name}, which the CronJob's pods use to create GatewayBackups. The gateway's "
        f"chart creates it; by hand: {account_line(namespace, schedule.gateway.name)}",
    )


def _create(schedule: GatewayBackupSchedule, want: Json) -> CreateCronJob:
    name = schedule.name
    if schedule.status.get("cronJob") == name:
        message = f"CronJob {name} was missing and was created again."
        return CreateCronJob(want, KubernetesEvent(str(Reason.CronJobRestored), message, warning=True))
    return CreateCronJob(want, KubernetesEvent(str(Reason.CronJobCreated), f"CronJob {name} was created."))


def _correct(schedule: GatewayBackupSchedule, want: Json, have: Json, different: Sequence[str]) -> CorrectCronJob:
    name, patch = schedule.name, correction(want, have)
    if spec_digest(have) != spec_digest(want):
        return CorrectCronJob(
            patch, KubernetesEvent(str(Reason.CronJobUpdated), f"CronJob {name} was updated from its schedule.")
        )
    generation = have["metadata"].get("generation", 0)
    details = f"generation {generation}: {_fields(different)}"
    message = f"Someone changed CronJob {name} ({details}). The change was reverted: change the schedule instead."
    return CorrectCronJob(patch, KubernetesEvent(str(Reason.CronJobRestored), message, warning=True))


def _fields(different: Sequence[str]) -> str:
    return ", ".join(different[:_SHOWN]) + (" and more" if len(different) > _SHOWN else "")


def _scheduled(schedule: GatewayBackupSchedule) -> _ReadyCondition:
    if schedule.suspend:
        return _ReadyCondition(Reason.Suspended, f"CronJob {schedule.name} is suspended: no new backups are created.")
    message = f"CronJob {schedule.name} creates a backup at {schedule.schedule} ({schedule.time_zone})."
    return _ReadyCondition(Reason.Scheduled, message)


def _status_update(observed: ScheduleObservation, condition: _ReadyCondition, now: datetime) -> ScheduleStatusUpdate:
    schedule, generation = observed.schedule, observed.schedule.meta.generation
    fine = condition.reason in _FINE
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
        "conditions": ready,
        **_of_cron_job(observed, fine, now),
        **progress(schedule, observed.backups),
    }
    return ScheduleStatusUpdate(status, _transition(schedule, condition, fine))


def _readiness(schedule: GatewayBackupSchedule, condition: _ReadyCondition, now: datetime) -> conditions.Conditions:
    return conditions.readiness_conditions(
        schedule.conditions,
        condition.reason in _FINE,
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
    condition = _ReadyCondition(Reason(failure.code), failure.sentence())
    status = {
        "observedGeneration": schedule.meta.generation,
        "conditions": _readiness(schedule, condition, now),
    }
    return ScheduleStatusUpdate(status, _transition(schedule, condition, False))


def _of_cron_job(observed: ScheduleObservation, fine: bool, now: datetime) -> dict[str, Any]:
    schedule, cron_job = observed.schedule, observed.cron_job
    if cron_job is None or not is_owned_by(schedule, cron_job):
        # The name stays in the status. With it, _create() reports a missing CronJob as deleted by someone.
        return {"nextScheduleTime": None}
    runs = fine and not schedule.suspend
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


def _transition(schedule: GatewayBackupSchedule, condition: _ReadyCondition, fine: bool) -> KubernetesEvent | None:
    """An event when a problem begins, changes or ends."""
    before = next((one for one in schedule.conditions if one.get("type") == conditions.READY), None)
    if before is not None and before.get("reason") == condition.reason:
        return None
    if not fine or (before is not None):
        return KubernetesEvent(str(condition.reason), condition.message, warning=not fine)
    return None
