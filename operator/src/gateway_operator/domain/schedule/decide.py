"""What to do next about a GatewayBackupSchedule: a pure function of what was seen and what time it is.

It sees to one CronJob and says how things stand. It waits for nothing: what is missing is looked for again when
something changes and at each sweep.
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
from gateway_operator.domain.model.names import backup_account
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.backup_summaries import progress
from gateway_operator.domain.schedule.cron import next_time
from gateway_operator.domain.schedule.cronjob import Image, correction, differences, digest_of, is_owned_by, wanted
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

READY: Final = "Ready"
_FINE: Final = frozenset({Reason.Scheduled, Reason.Suspended})
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class CronJobError:
    """Why the CronJob could not be read or written in this run."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class ScheduleObservation:
    """What one look gave. ``has_account`` is None where it cannot be seen."""

    schedule: GatewayBackupSchedule
    cron_job: Json | None
    has_account: bool | None
    backups: Sequence[BackupSummary]
    image: Image
    trouble: CronJobError | None = None
    corrected: bool = False
    """Whether this run has written the CronJob already."""


@dataclass(frozen=True, slots=True)
class CreateCronJob:
    """Make the CronJob."""

    body: Json
    note: KubernetesEvent


@dataclass(frozen=True, slots=True)
class CorrectCronJob:
    """Put the CronJob right, with a merge patch."""

    patch: Json
    note: KubernetesEvent


@dataclass(frozen=True, slots=True)
class ScheduleStatusUpdate:
    """Write how things stand, then stop."""

    status: dict[str, Any]
    note: KubernetesEvent | None


ScheduleAction = Done | CreateCronJob | CorrectCronJob | ScheduleStatusUpdate


@dataclass(frozen=True, slots=True)
class _ReadyCondition:
    reason: Reason
    message: str


def decide(seen: ScheduleObservation, now: datetime) -> ScheduleAction:
    """The next step."""
    schedule = seen.schedule
    if schedule.meta.deleting_since:
        return Done()
    judged = _check(seen)
    if isinstance(judged, _ReadyCondition):
        return _status_update(seen, judged, now)
    return judged


def _check(seen: ScheduleObservation) -> _ReadyCondition | CreateCronJob | CorrectCronJob:
    schedule, cron_job = seen.schedule, seen.cron_job
    if seen.trouble is not None:
        return _ReadyCondition(seen.trouble.reason, seen.trouble.message)
    if cron_job is not None and not is_owned_by(schedule, cron_job):
        return _ReadyCondition(
            Reason.NameConflict,
            f"There is a CronJob {schedule.name} that is not this schedule's. It is left alone: delete it, or give the "
            "schedule another name.",
        )
    if cron_job is not None and cron_job["metadata"].get("deletionTimestamp"):
        said = f"CronJob {schedule.name} is being deleted; it is made again when it is gone."
        return _ReadyCondition(Reason.CronJobDeleting, said)
    if not seen.image.name:
        return _ReadyCondition(
            Reason.ImageUnknown,
            "The operator does not know its own image, which the CronJob's pods run: set GATEWAY_OPERATOR_IMAGE.",
        )
    want = wanted(schedule, seen.image)
    if cron_job is None:
        return _missing_account(seen) or _create(schedule, want)
    different = differences(want, cron_job)
    if different and seen.corrected:
        said = f"CronJob {schedule.name} is changed as it is written ({_fields(different)}): by an admission webhook?"
        return _ReadyCondition(Reason.CronJobOverruled, said)
    if different:
        return _correct(schedule, want, cron_job, different)
    return _missing_account(seen) or _scheduled(schedule)


def _missing_account(seen: ScheduleObservation) -> _ReadyCondition | None:
    if seen.has_account is not False:
        return None
    schedule = seen.schedule
    name, namespace = backup_account(schedule.gateway.name), schedule.meta.ref.namespace
    return _ReadyCondition(
        Reason.ServiceAccountMissing,
        f"There is no ServiceAccount {name}, under which the CronJob's pods create GatewayBackups. The gateway's chart "
        f"makes it; by hand: {account_line(namespace, schedule.gateway.name)}",
    )


def _create(schedule: GatewayBackupSchedule, want: Json) -> CreateCronJob:
    name = schedule.name
    if schedule.status.get("cronJob") == name:
        said = f"CronJob {name} was gone, and has been made again."
        return CreateCronJob(want, KubernetesEvent(str(Reason.CronJobRestored), said, warning=True))
    return CreateCronJob(want, KubernetesEvent(str(Reason.CronJobCreated), f"CronJob {name} is made."))


def _correct(schedule: GatewayBackupSchedule, want: Json, have: Json, different: Sequence[str]) -> CorrectCronJob:
    name, patch = schedule.name, correction(want, have)
    if digest_of(have) != digest_of(want):
        return CorrectCronJob(
            patch, KubernetesEvent(str(Reason.CronJobUpdated), f"CronJob {name} follows its schedule.")
        )
    generation = have["metadata"].get("generation", 0)
    what = f"generation {generation}: {_fields(different)}"
    said = f"Somebody changed CronJob {name} ({what}). It has been put right: change the schedule instead."
    return CorrectCronJob(patch, KubernetesEvent(str(Reason.CronJobRestored), said, warning=True))


def _fields(different: Sequence[str]) -> str:
    return ", ".join(different[:_SHOWN]) + (" and more" if len(different) > _SHOWN else "")


def _scheduled(schedule: GatewayBackupSchedule) -> _ReadyCondition:
    if schedule.suspend:
        return _ReadyCondition(Reason.Suspended, f"CronJob {schedule.name} is suspended: no new backups are made.")
    said = f"CronJob {schedule.name} makes a backup at {schedule.schedule} ({schedule.time_zone})."
    return _ReadyCondition(Reason.Scheduled, said)


def _status_update(seen: ScheduleObservation, verdict: _ReadyCondition, now: datetime) -> ScheduleStatusUpdate:
    schedule, generation = seen.schedule, seen.schedule.meta.generation
    fine = verdict.reason in _FINE
    ready = conditions.with_condition(
        schedule.conditions, READY, fine, str(verdict.reason), verdict.message, generation, now
    )
    if seen.trouble is not None and seen.trouble.reason is Reason.NotAuthorized:
        message = verdict.message
        ready = conditions.with_condition(
            ready, conditions.AUTHORIZED, False, str(Reason.NotAuthorized), message, generation, now
        )
    elif conditions.condition_status(ready, conditions.AUTHORIZED) is False:
        said = "The operator may do what this schedule needs."
        ready = conditions.with_condition(
            ready, conditions.AUTHORIZED, True, str(Reason.Authorized), said, generation, now
        )
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": ready,
        **_of_cron_job(seen, fine, now),
        **progress(schedule, seen.backups),
    }
    return ScheduleStatusUpdate(status, _transition(schedule, verdict, fine))


def _of_cron_job(seen: ScheduleObservation, fine: bool, now: datetime) -> dict[str, Any]:
    schedule, cron_job = seen.schedule, seen.cron_job
    if cron_job is None or not is_owned_by(schedule, cron_job):
        # The name stays in the status if it was there: what was there once and is not is told when it is made again.
        return {"nextScheduleTime": None}
    runs = fine and not schedule.suspend
    due = next_time(schedule.schedule, schedule.time_zone, now) if runs else None
    last = timestamps.parse((cron_job.get("status") or {}).get("lastScheduleTime"))
    return {
        "cronJob": schedule.name,
        # A CronJob that was made again has forgotten it.
        "lastScheduleTime": timestamps.text(last) if last else schedule.status.get("lastScheduleTime"),
        "nextScheduleTime": timestamps.text(due) if due else None,
    }


def _transition(schedule: GatewayBackupSchedule, verdict: _ReadyCondition, fine: bool) -> KubernetesEvent | None:
    """An event when it begins to be in trouble, or in another one, and when that is over."""
    before = next((one for one in schedule.conditions if one.get("type") == READY), None)
    if before is not None and before.get("reason") == verdict.reason:
        return None
    if not fine or (before is not None):
        return KubernetesEvent(str(verdict.reason), verdict.message, warning=not fine)
    return None
