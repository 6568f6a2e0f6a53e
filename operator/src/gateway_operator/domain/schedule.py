"""What to do next about a GatewayBackupSchedule: a pure function of what was seen and what time it is.

It sees to one CronJob and says how things stand. It waits for nothing: what is missing is looked for again when
something changes and at each sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain import conditions, times
from gateway_operator.domain.actions import Note, Stop
from gateway_operator.domain.backup_index import BackupSummary
from gateway_operator.domain.names import GROUP, backup_account
from gateway_operator.domain.objects import Json
from gateway_operator.domain.reasons import Reason
from gateway_operator.domain.schedule_cron import next_time
from gateway_operator.domain.schedule_job import (
    Image,
    correction,
    differences,
    digest_of,
    is_owned_by,
    wanted,
)
from gateway_operator.domain.scheduled import GatewayBackupSchedule, progress

READY: Final = "Ready"
_FINE: Final = frozenset({Reason.Scheduled, Reason.Suspended})
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the CronJob could not be read or written in this run."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Observed:
    """What one look gave. ``has_account`` is None where it cannot be seen."""

    schedule: GatewayBackupSchedule
    cron_job: Json | None
    has_account: bool | None
    backups: Sequence[BackupSummary]
    image: Image
    trouble: Trouble | None = None
    corrected: bool = False
    """Whether this run has written the CronJob already."""


@dataclass(frozen=True, slots=True)
class CreateCronJob:
    """Make the CronJob."""

    body: Json
    note: Note


@dataclass(frozen=True, slots=True)
class CorrectCronJob:
    """Put the CronJob right, with a merge patch."""

    patch: Json
    note: Note


@dataclass(frozen=True, slots=True)
class Standing:
    """Write how things stand, then stop."""

    status: dict[str, Any]
    note: Note | None


ScheduleAction = Stop | CreateCronJob | CorrectCronJob | Standing


@dataclass(frozen=True, slots=True)
class _Verdict:
    reason: Reason
    message: str


def decide(seen: Observed, now: datetime) -> ScheduleAction:
    """The next step."""
    schedule = seen.schedule
    if schedule.meta.deleting_since:
        return Stop()
    judged = _judge(seen)
    if isinstance(judged, _Verdict):
        return _standing(seen, judged, now)
    return judged


def _judge(seen: Observed) -> _Verdict | CreateCronJob | CorrectCronJob:
    schedule, cron_job = seen.schedule, seen.cron_job
    if seen.trouble is not None:
        return _Verdict(seen.trouble.reason, seen.trouble.message)
    if cron_job is not None and not is_owned_by(schedule, cron_job):
        return _Verdict(
            Reason.NameConflict,
            f"There is a CronJob {schedule.name} that is not this schedule's. It is left alone: delete it, or give the "
            "schedule another name.",
        )
    if cron_job is not None and cron_job["metadata"].get("deletionTimestamp"):
        said = f"CronJob {schedule.name} is being deleted; it is made again when it is gone."
        return _Verdict(Reason.CronJobDeleting, said)
    if not seen.image.name:
        return _Verdict(
            Reason.ImageUnknown,
            "The operator does not know its own image, which the CronJob's pods run: set GATEWAY_OPERATOR_IMAGE.",
        )
    want = wanted(schedule, seen.image)
    if cron_job is None:
        return _missing_account(seen) or _create(schedule, want)
    different = differences(want, cron_job)
    if different and seen.corrected:
        said = f"CronJob {schedule.name} is changed as it is written ({_fields(different)}): by an admission webhook?"
        return _Verdict(Reason.CronJobOverruled, said)
    if different:
        return _correct(schedule, want, cron_job, different)
    return _missing_account(seen) or _in_order(schedule)


def _missing_account(seen: Observed) -> _Verdict | None:
    if seen.has_account is not False:
        return None
    schedule = seen.schedule
    name, namespace = backup_account(schedule.gateway.name), schedule.meta.ref.namespace
    return _Verdict(
        Reason.ServiceAccountMissing,
        f"There is no ServiceAccount {name}, under which the CronJob's pods create GatewayBackups. The gateway's chart "
        f"makes it; by hand: {account_line(namespace, schedule.gateway.name)}",
    )


def account_line(namespace: str, gateway: str) -> str:
    """The command that makes the ServiceAccount of a gateway's schedules and grants it what its pods need."""
    name = backup_account(gateway)
    return (
        f"kubectl -n {namespace} create serviceaccount {name} && "
        f"kubectl -n {namespace} create role {name} --verb=create,get,watch --resource=gatewaybackups.{GROUP} && "
        f"kubectl -n {namespace} create rolebinding {name} --role={name} --serviceaccount={namespace}:{name}"
    )


def grant_line(namespace: str, gateway: str, operator: str) -> str:
    """The command that lets the operator write CronJobs beside a gateway. ``operator`` is NAMESPACE:SERVICEACCOUNT."""
    name = f"{gateway}-backup-schedules"
    who = operator or "NAMESPACE:SERVICEACCOUNT"
    return (
        f"kubectl -n {namespace} create role {name} --verb=get,list,watch,create,patch --resource=cronjobs.batch && "
        f"kubectl -n {namespace} create rolebinding {name} --role={name} --serviceaccount={who}"
    )


def _create(schedule: GatewayBackupSchedule, want: Json) -> CreateCronJob:
    name = schedule.name
    if schedule.status.get("cronJob") == name:
        said = f"CronJob {name} was gone, and has been made again."
        return CreateCronJob(want, Note(str(Reason.CronJobRestored), said, warning=True))
    return CreateCronJob(want, Note(str(Reason.CronJobCreated), f"CronJob {name} is made."))


def _correct(schedule: GatewayBackupSchedule, want: Json, have: Json, different: Sequence[str]) -> CorrectCronJob:
    name, patch = schedule.name, correction(want, have)
    if digest_of(have) != digest_of(want):
        return CorrectCronJob(patch, Note(str(Reason.CronJobUpdated), f"CronJob {name} follows its schedule."))
    generation = have["metadata"].get("generation", 0)
    what = f"generation {generation}: {_fields(different)}"
    said = f"Somebody changed CronJob {name} ({what}). It has been put right: change the schedule instead."
    return CorrectCronJob(patch, Note(str(Reason.CronJobRestored), said, warning=True))


def _fields(different: Sequence[str]) -> str:
    return ", ".join(different[:_SHOWN]) + (" and more" if len(different) > _SHOWN else "")


def _in_order(schedule: GatewayBackupSchedule) -> _Verdict:
    if schedule.suspend:
        return _Verdict(Reason.Suspended, f"CronJob {schedule.name} is suspended: no new backups are made.")
    said = f"CronJob {schedule.name} makes a backup at {schedule.schedule} ({schedule.time_zone})."
    return _Verdict(Reason.Scheduled, said)


def _standing(seen: Observed, verdict: _Verdict, now: datetime) -> Standing:
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
    elif conditions.holds(ready, conditions.AUTHORIZED) is False:
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
    return Standing(status, _transition(schedule, verdict, fine))


def _of_cron_job(seen: Observed, fine: bool, now: datetime) -> dict[str, Any]:
    schedule, cron_job = seen.schedule, seen.cron_job
    if cron_job is None or not is_owned_by(schedule, cron_job):
        # The name stays in the status if it was there: what was there once and is not is told when it is made again.
        return {"nextScheduleTime": None}
    runs = fine and not schedule.suspend
    due = next_time(schedule.schedule, schedule.time_zone, now) if runs else None
    last = times.parse((cron_job.get("status") or {}).get("lastScheduleTime"))
    return {
        "cronJob": schedule.name,
        # A CronJob that was made again has forgotten it.
        "lastScheduleTime": times.text(last) if last else schedule.status.get("lastScheduleTime"),
        "nextScheduleTime": times.text(due) if due else None,
    }


def _transition(schedule: GatewayBackupSchedule, verdict: _Verdict, fine: bool) -> Note | None:
    """An event when it begins to be in trouble, or in another one, and when that is over."""
    before = next((one for one in schedule.conditions if one.get("type") == READY), None)
    if before is not None and before.get("reason") == verdict.reason:
        return None
    if not fine or (before is not None):
        return Note(str(verdict.reason), verdict.message, warning=not fine)
    return None
