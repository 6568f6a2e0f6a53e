"""Decides the CronJob, the records and the condition ``Drilled`` of a schedule's drills.

A record is the GatewayRestore of mode Drill that a Job of the drill's CronJob has created. Only the controller sets the
owner of a Job, so a record counts only while its Job is in the list. The operator makes each record owned by its Job:
the history limits of the CronJob then remove both. ``status.drill`` keeps the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.names import (
    JOB_KIND,
    RESTORE_KIND,
    drill_cron_job_name,
    job_backup_name,
)
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.domain.schedule.cron import next_time
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.domain.schedule.cronjob_check import (
    CronJobAction,
    CronJobCondition,
    CronJobObservation,
    blocked,
    check,
    deletion,
    missing_account,
)
from gateway_operator.domain.schedule.drift import is_owned_by
from gateway_operator.domain.schedule.drill_cronjob import desired_drill_cron_job, overdue_seconds
from gateway_operator.domain.schedule.jobs import JobObservation, job_problem
from gateway_operator.domain.schedule.resource import DrillSettings, GatewayBackupSchedule

_TERMINAL: Final = frozenset({"Completed", "Failed"})


@dataclass(frozen=True)
class DrillRecord:
    """A GatewayRestore of mode Drill that names a Job. ``seconds`` is the duration of a drill that succeeded."""

    meta: Meta
    job: Ref
    gateway: GatewayRef
    owners: Sequence[Json]
    phase: str
    reason: str
    message: str
    ended: datetime | None
    backup: str
    seconds: float | None

    @classmethod
    def parse(cls, body: Json) -> DrillRecord | None:
        """From an object of the API server; None for any other GatewayRestore."""
        spec, status = body.get("spec") or {}, body.get("status") or {}
        job = spec.get("job")
        if spec.get("mode") != "Drill" or not isinstance(job, Mapping):
            return None
        meta = Meta.parse(body, RESTORE_KIND)
        seconds = (status.get("drill") or {}).get("totalSeconds")
        return cls(
            meta=meta,
            job=Ref(JOB_KIND, meta.ref.namespace, str(job.get("name")), str(job.get("uid"))),
            gateway=GatewayRef.parse(spec),
            owners=(body.get("metadata") or {}).get("ownerReferences") or (),
            phase=str(status.get("phase") or ""),
            reason=str(status.get("reason") or ""),
            message=str(status.get("message") or ""),
            ended=timestamps.parse(status.get("completionTime")),
            backup=str((status.get("source") or {}).get("backupName") or ""),
            seconds=float(seconds) if isinstance(seconds, int | float) else None,
        )

    @property
    def is_owned(self) -> bool:
        """Whether the record is deleted together with its Job."""
        return any(owner.get("uid") == self.job.uid for owner in self.owners)


@dataclass(frozen=True)
class ScheduledDrillObservation:
    """The inputs of the decision about the drills of a schedule."""

    cron_job: CronJobObservation = field(default_factory=lambda: CronJobObservation(None))
    jobs: Sequence[Json] = ()
    """The Jobs that the CronJob controls, by uid."""
    newest_job: JobObservation | None = None
    """The newest of them, if it may have a problem."""
    records: Sequence[DrillRecord] = ()
    """All drills of the namespace that name a Job."""


@dataclass(frozen=True, slots=True)
class OwnDrill:
    """Make a record owned by its Job, in the version that was read."""

    meta: Meta
    owners: Sequence[Json]


@dataclass(frozen=True)
class DrillResult:
    """The new ``status.drill``, and the condition ``Drilled``: None removes it."""

    status: dict[str, Any] | None
    condition: tuple[bool, str, str] | None

    def with_condition(
        self, present: Sequence[Mapping[str, Any]], generation: int, now: datetime
    ) -> conditions.Conditions:
        """The list of conditions with this one set or removed."""
        if self.condition is None:
            return conditions.without_condition(present, conditions.DRILLED)
        return conditions.with_condition(present, conditions.DRILLED, *self.condition, generation, now)


def decide_drills(
    schedule: GatewayBackupSchedule,
    observed: ScheduledDrillObservation,
    image: Image,
    has_account: bool | None,
    now: datetime,
) -> CronJobAction | OwnDrill | DrillResult:
    """The next action for the drills of a schedule, or their part of its status."""
    name, drill, existing = drill_cron_job_name(schedule.name), schedule.drill, observed.cron_job.body
    if drill is None:
        if (
            existing is not None
            and is_owned_by(schedule, existing)
            and not existing["metadata"].get("deletionTimestamp")
        ):
            # An error of an earlier deletion in this run: the schedule reports it instead of a second attempt.
            error = observed.cron_job.error
            return deletion(name, existing) if error is None else _kept(schedule, error.reason, error.message)
        return DrillResult(None, None)
    problem = blocked(schedule, name, observed.cron_job)
    if problem is None and image.name:
        desired = desired_drill_cron_job(schedule, drill, image)
        recorded, account = str(schedule.drill_status.get("cronJob") or ""), missing_account(schedule, has_account)
        result = check(desired, observed.cron_job, recorded, account)
        if result is not None and not isinstance(result, CronJobCondition):
            return result
        problem = result
    records = _own_records(schedule, observed)
    # With an error of this run, such as a missing permission, a second attempt would be a busy loop.
    if observed.cron_job.error is None:
        for record in records:
            if not record.is_owned:
                return OwnDrill(record.meta, [*record.owners, _owner(record.job)])
    return _result(schedule, drill, observed, records, problem, now)


def _kept(schedule: GatewayBackupSchedule, reason: Reason, message: str) -> DrillResult:
    return DrillResult(dict(schedule.drill_status), (False, str(reason), message))


def _own_records(schedule: GatewayBackupSchedule, observed: ScheduledDrillObservation) -> list[DrillRecord]:
    """The records of this schedule's Jobs, oldest first."""
    uids = {str(job["metadata"]["uid"]) for job in observed.jobs}
    own = [
        one
        for one in observed.records
        if one.job.uid in uids
        and one.gateway == schedule.gateway
        and one.meta.ref.name == job_backup_name(one.job.name, one.job.uid)
        and one.meta.deleting_since is None
    ]
    return sorted(own, key=lambda one: (one.meta.created, one.meta.ref.name))


def _owner(job: Ref) -> dict[str, Any]:
    return {"apiVersion": "batch/v1", "kind": JOB_KIND, "name": job.name, "uid": job.uid}


def _result(
    schedule: GatewayBackupSchedule,
    drill: DrillSettings,
    observed: ScheduledDrillObservation,
    records: Sequence[DrillRecord],
    problem: CronJobCondition | None,
    now: datetime,
) -> DrillResult:
    status = _with_results(dict(schedule.drill_status), records)
    existing = observed.cron_job.body
    due: datetime | None = None
    if existing is not None and is_owned_by(schedule, existing):
        # Only with the uid that the operator has recorded are Jobs those of this schedule.
        status |= {"cronJob": str(existing["metadata"]["name"]), "cronJobUID": str(existing["metadata"].get("uid", ""))}
        due = None if schedule.suspend else next_time(drill.schedule, drill.time_zone, now)
    status["nextTime"] = timestamps.text(due) if due else None
    return DrillResult(status, _condition(schedule, drill, observed, records, status, problem, now))


def _with_results(status: dict[str, Any], records: Sequence[DrillRecord]) -> dict[str, Any]:
    """The status with the results of drills that ended after the last one in it."""
    ended = [(one.ended, one) for one in records if one.phase in _TERMINAL and one.ended is not None]
    for time, record in sorted(ended, key=lambda one: one[0]):
        last = timestamps.parse(status.get("lastTime"))
        if last is not None and (time < last or status.get("lastName") == record.meta.ref.name):
            continue
        status |= {"lastName": record.meta.ref.name, "lastTime": timestamps.text(time), "failure": None}
        if record.phase == "Completed":
            status |= {
                "lastSuccessfulTime": timestamps.text(time),
                "lastSuccessfulBackup": record.backup,
                "lastSuccessfulSeconds": record.seconds,
            }
        else:
            status["failure"] = {"reason": record.reason or "Failed", "message": record.message}
    return status


def _condition(
    schedule: GatewayBackupSchedule,
    drill: DrillSettings,
    observed: ScheduledDrillObservation,
    records: Sequence[DrillRecord],
    status: Mapping[str, Any],
    problem: CronJobCondition | None,
    now: datetime,
) -> tuple[bool, str, str] | None:
    if problem is not None:
        return False, str(problem.reason), problem.message
    if observed.newest_job is not None and not schedule.suspend:
        failed = job_problem(observed.newest_job, (one.meta.ref.name for one in records), now, "drill")
        if failed is not None:
            return False, str(failed.reason), failed.message
    if isinstance(failure := status.get("failure"), Mapping):
        message = f"Drill {status.get('lastName')} failed at {status.get('lastTime')}: {failure.get('message')}"
        return False, str(failure.get("reason")), message
    good = timestamps.parse(status.get("lastSuccessfulTime"))
    if (late := _overdue(schedule, drill, observed, good, now)) is not None:
        return False, str(Reason.DrillOverdue), late
    if good is None:
        return None
    backup, seconds = status.get("lastSuccessfulBackup"), status.get("lastSuccessfulSeconds")
    took = "" if seconds is None else f" in {seconds:.0f} s"
    return True, str(Reason.Drilled), f"Backup {backup} was restored in a drill{took} at {timestamps.text(good)}."


def _overdue(
    schedule: GatewayBackupSchedule,
    drill: DrillSettings,
    observed: ScheduledDrillObservation,
    good: datetime | None,
    now: datetime,
) -> str | None:
    """Why a drill is overdue, for a message; None if it is not."""
    existing = observed.cron_job.body
    if schedule.suspend or existing is None:
        return None
    since = good or timestamps.parse(existing["metadata"].get("creationTimestamp")) or schedule.meta.created
    due = next_time(drill.schedule, drill.time_zone, since)
    if due is None or now <= due + timedelta(seconds=overdue_seconds(drill)):
        return None
    last = f"The last good drill ended at {timestamps.text(good)}" if good else "There was no good drill yet"
    name = drill_cron_job_name(schedule.name)
    return f"{last}, and the next was due at {timestamps.text(due)}. Look at its Jobs: kubectl describe cronjob {name}"
