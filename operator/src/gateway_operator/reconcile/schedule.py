"""Reconciles a GatewayBackupSchedule: creates or corrects its CronJob, and writes its status.

The pods of the CronJob's Jobs create the GatewayBackups. The status summarizes the backups of the schedule's set. The
retention pass writes other fields of the same status.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway_operator.domain.gateway.grants import schedules_grant_line
from gateway_operator.domain.index.backup_index import BackupIndex, BackupSummary
from gateway_operator.domain.model.actions import Done
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND, backup_account
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.schedule import decide as decisions
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.domain.schedule.decide import CorrectCronJob, CreateCronJob, CronJobError, ScheduleStatusUpdate
from gateway_operator.domain.schedule.jobs import JobObservation, needs_jobs, newest_job
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ConflictError, CronJobs, ForbiddenError, InvalidError, MissingError, Ports
from gateway_operator.reconcile.status_writer import Log, update_status


@dataclass(frozen=True)
class ScheduleParts:
    """The dependencies of a schedule's reconcile. ``image`` is the image that the CronJob's pods run."""

    ports: Ports
    cron_jobs: CronJobs
    image: Image


async def _backups(ports: Ports, schedule: GatewayBackupSchedule) -> Sequence[BackupSummary]:
    """The backups in the schedule's set: from the watch's index, or from a list if there is no index."""
    index = ports.backup_index
    if index is None:
        bodies = await ports.cluster.list_ours(BACKUP_KIND, schedule.meta.ref.namespace)
        index = BackupIndex(Backup.parse(body) for body in bodies)
    return index.in_set(schedule.set_id)


async def reconcile_schedule(parts: ScheduleParts, ref: Ref, log: Log) -> None:
    """Create or correct the CronJob if it differs from the schedule, and then write the status.

    There is no requeue: the work queue adds a schedule at events of its CronJob and backups and after each retention
    pass.
    """
    cron_job_error: CronJobError | None = None
    corrected = False
    while True:
        body = await parts.ports.cluster.read(ref)
        if body is None:
            return
        schedule = GatewayBackupSchedule.parse(body)
        observation = replace(await _observe(parts, schedule, cron_job_error), corrected=corrected)
        action = decisions.decide(observation, parts.ports.clock.now())
        try:
            match action:
                case Done():
                    return
                case ScheduleStatusUpdate():
                    # The status comes after the CronJob: Ready must describe the CronJob that really exists.
                    await update_status(
                        parts.ports, GatewayBackupSchedule.parse, schedule, action.status, action.event, log
                    )
                    return
                case CreateCronJob() | CorrectCronJob():
                    cron_job_error = await _act(parts, schedule, action, log)
                    # The CronJob is corrected once in a run: another controller that keeps changing it must not cause
                    # a busy loop.
                    corrected = True
        except MissingError:
            return
        except ConflictError:
            # Another writer changed the schedule or the CronJob. Read both and decide again.
            continue


async def _observe(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, cron_job_error: CronJobError | None
) -> decisions.ScheduleObservation:
    namespace = schedule.meta.ref.namespace
    cron_job: Json | None = None
    try:
        cron_job = await parts.cron_jobs.read(namespace, schedule.name)
    except ForbiddenError as error:
        cron_job_error = _cron_job_error(parts, schedule, error)
    has_account: bool | None = None
    # Without permission to read the ServiceAccount its absence is not reported here; the Jobs then report it.
    with suppress(ForbiddenError):
        has_account = await parts.cron_jobs.has_account(namespace, backup_account(schedule.gateway.name))
    backups = await _backups(parts.ports, schedule)
    return decisions.ScheduleObservation(
        schedule,
        cron_job,
        has_account,
        backups,
        parts.image,
        cron_job_error,
        newest_job=await _newest_job(parts, schedule, cron_job),
    )


async def _newest_job(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, cron_job: Json | None
) -> JobObservation | None:
    """The newest Job with its pods and events. They are read only while a Job is active or has not succeeded."""
    if cron_job is None or not needs_jobs(cron_job):
        return None
    namespace = schedule.meta.ref.namespace
    job: Json | None = None
    pods: Sequence[Json] = ()
    events: Sequence[Json] = ()
    # Each of the three permissions may be missing. The condition then says less, and never that all is well.
    with suppress(ForbiddenError):
        job = newest_job(cron_job, await parts.cron_jobs.jobs(namespace, schedule.name))
    if job is None:
        return None
    uid = str(job["metadata"]["uid"])
    with suppress(ForbiddenError):
        pods = await parts.cron_jobs.pods_of_job(namespace, uid)
    with suppress(ForbiddenError):
        events = await parts.cron_jobs.events_about(namespace, uid)
    return JobObservation(job, pods, events)


async def _act(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, action: CreateCronJob | CorrectCronJob, log: Log
) -> CronJobError | None:
    ref = schedule.meta.ref
    try:
        if isinstance(action, CreateCronJob):
            await parts.cron_jobs.create(ref.namespace, action.body)
        else:
            await parts.cron_jobs.patch(ref.namespace, ref.name, action.patch)
    except (ForbiddenError, InvalidError) as error:
        return _cron_job_error(parts, schedule, error)
    # The event comes after the write: it reports a change that was really made.
    log.info("%s", action.event.message)
    await parts.ports.cluster.event(ref, action.event, parts.ports.clock.now())
    return None


def _cron_job_error(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, error: ForbiddenError | InvalidError
) -> CronJobError:
    if isinstance(error, InvalidError):
        return CronJobError(Reason.ScheduleRefused, f"The API server refuses the CronJob: {error}")
    line = schedules_grant_line(schedule.meta.ref.namespace, schedule.gateway.name, parts.ports.operator)
    message = f"{error}. The gateway's chart grants it with operator.rbac.cronJobs or schedule.enabled; by hand: {line}"
    return CronJobError(Reason.NotAuthorized, message)
