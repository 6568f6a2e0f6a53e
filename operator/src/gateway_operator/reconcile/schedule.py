"""Reconciles a GatewayBackupSchedule: creates or corrects its CronJobs, and writes its status.

The pods of the CronJobs' Jobs create the GatewayBackups and the drills. The status summarizes the backups of the
schedule's set and its drills. The retention pass writes other fields of the same status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gateway_operator.domain.gateway.grants import OPERATOR_CHART, schedules_grant_line
from gateway_operator.domain.index.backup_index import BackupIndex, BackupSummary
from gateway_operator.domain.model.actions import Done
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND, backup_account, drill_cron_job_name
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.schedule import decide as decisions
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.domain.schedule.cronjob_check import (
    CorrectCronJob,
    CreateCronJob,
    CronJobAction,
    CronJobError,
    CronJobObservation,
    DeleteCronJob,
)
from gateway_operator.domain.schedule.decide import ScheduleStatusUpdate
from gateway_operator.domain.schedule.drills import DrillRecord, OwnDrill, ScheduledDrillObservation
from gateway_operator.domain.schedule.jobs import JobObservation, jobs_of, needs_jobs, newest_job
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ConflictError, ForbiddenError, InvalidError, MissingError, Ports
from gateway_operator.ports.cron_jobs import CronJobs
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


@dataclass
class _Run:
    """The state of one run: a CronJob is written once in it, and an error is reported and not tried again."""

    written: set[str] = field(default_factory=set)
    errors: dict[str, CronJobError] = field(default_factory=dict)


async def reconcile_schedule(parts: ScheduleParts, ref: Ref, log: Log) -> None:
    """Create or correct the CronJobs that differ from the schedule, and then write the status.

    There is no requeue: the work queue adds a schedule at events of its CronJobs, backups and drills, and after each
    retention pass.
    """
    run = _Run()
    while True:
        body = await parts.ports.cluster.read(ref)
        if body is None:
            return
        schedule = GatewayBackupSchedule.parse(body)
        action = decisions.decide(await _observe(parts, schedule, run), parts.ports.clock.now())
        try:
            match action:
                case Done():
                    return
                case ScheduleStatusUpdate():
                    # The status comes after the CronJobs: Ready must describe the CronJob that really exists.
                    await update_status(
                        parts.ports, GatewayBackupSchedule.parse, schedule, action.status, action.event, log
                    )
                    return
                case OwnDrill():
                    await _own_drill(parts, schedule, action, run)
                case _:
                    await _act(parts, schedule, action, run, log)
                    # A CronJob is written once in a run: another controller that keeps changing it must not cause a
                    # busy loop. A write that ended in a conflict does not count.
                    run.written.add(action.name)
        except MissingError:
            return
        except ConflictError:
            # Another writer changed the schedule, the CronJob or the drill. Read them and decide again.
            continue


async def _observe(parts: ScheduleParts, schedule: GatewayBackupSchedule, run: _Run) -> decisions.ScheduleObservation:
    namespace = schedule.meta.ref.namespace
    cron_job = await _cron_job(parts, schedule, schedule.name, run)
    has_account: bool | None = None
    # Without permission to read the ServiceAccount its absence is not reported here; the Jobs then report it.
    with suppress(ForbiddenError):
        has_account = await parts.cron_jobs.has_account(namespace, backup_account(schedule.gateway.name))
    drill_cron_job = await _cron_job(parts, schedule, drill_cron_job_name(schedule.name), run)
    jobs = await _jobs(parts, schedule, (cron_job.body, drill_cron_job.body))
    return decisions.ScheduleObservation(
        schedule,
        cron_job.body,
        has_account,
        await _backups(parts.ports, schedule),
        parts.image,
        cron_job.error,
        corrected=cron_job.corrected,
        newest_job=await _newest_job(parts, cron_job.body, jobs),
        drill=await _drills(parts, schedule, drill_cron_job, jobs),
    )


async def _cron_job(parts: ScheduleParts, schedule: GatewayBackupSchedule, name: str, run: _Run) -> CronJobObservation:
    error = run.errors.get(name)
    try:
        body = await parts.cron_jobs.read(schedule.meta.ref.namespace, name)
    except ForbiddenError as forbidden:
        return CronJobObservation(None, _cron_job_error(parts, schedule, forbidden))
    return CronJobObservation(body, error, name in run.written)


async def _jobs(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, cron_jobs: Iterable[Json | None]
) -> Sequence[Json]:
    """The Jobs of the schedule. They are read only with drills, or while a Job is active or has not succeeded."""
    if schedule.drill is None and not any(one is not None and needs_jobs(one) for one in cron_jobs):
        return ()
    # Without the permission the conditions report fewer problems, and their status stays.
    with suppress(ForbiddenError):
        return await parts.cron_jobs.jobs(schedule.meta.ref.namespace, schedule.name)
    return ()


async def _drills(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, cron_job: CronJobObservation, jobs: Sequence[Json]
) -> ScheduledDrillObservation:
    if schedule.drill is None or cron_job.body is None:
        return ScheduledDrillObservation(cron_job)
    bodies = await parts.ports.cluster.list_ours(RESTORE_KIND, schedule.meta.ref.namespace)
    records = [record for body in bodies if (record := DrillRecord.parse(body)) is not None]
    newest = await _newest_job(parts, cron_job.body, jobs)
    return ScheduledDrillObservation(cron_job, jobs_of(cron_job.body, jobs), newest, records)


async def _newest_job(parts: ScheduleParts, cron_job: Json | None, jobs: Sequence[Json]) -> JobObservation | None:
    """The newest Job with its pods and events. They are read only while a Job is active or has not succeeded."""
    if cron_job is None or not needs_jobs(cron_job):
        return None
    job = newest_job(cron_job, jobs)
    if job is None:
        return None
    namespace, uid = str(cron_job["metadata"]["namespace"]), str(job["metadata"]["uid"])
    pods: Sequence[Json] = ()
    events: Sequence[Json] = ()
    # Each of the two permissions may be missing, as above.
    with suppress(ForbiddenError):
        pods = await parts.cron_jobs.pods_of_job(namespace, uid)
    with suppress(ForbiddenError):
        events = await parts.cron_jobs.events_about(namespace, uid)
    return JobObservation(job, pods, events)


async def _own_drill(parts: ScheduleParts, schedule: GatewayBackupSchedule, action: OwnDrill, run: _Run) -> None:
    try:
        # On top of the version that was read: a drill that someone changed since is read again.
        await parts.ports.cluster.set_owners(action.meta, action.owners)
    except MissingError:
        return  # it was deleted: the next observation has it no longer
    except (ForbiddenError, InvalidError) as error:
        message = f"{error}. Drill {action.meta.ref.name} stays when its Job is deleted. {OPERATOR_CHART}"
        run.errors[drill_cron_job_name(schedule.name)] = CronJobError(Reason.NotAuthorized, message)


async def _act(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, action: CronJobAction, run: _Run, log: Log
) -> None:
    ref = schedule.meta.ref
    try:
        match action:
            case CreateCronJob():
                await parts.cron_jobs.create(ref.namespace, action.body)
            case CorrectCronJob():
                await parts.cron_jobs.patch(ref.namespace, action.name, action.patch)
            case DeleteCronJob():
                await parts.cron_jobs.delete(ref.namespace, action.name, action.uid, action.resource_version)
    except (ForbiddenError, InvalidError) as error:
        run.errors[action.name] = _cron_job_error(parts, schedule, error)
        return
    # The event comes after the write: it reports a change that was really made.
    log.info("%s", action.event.message)
    await parts.ports.cluster.event(ref, action.event, parts.ports.clock.now())


def _cron_job_error(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, error: ForbiddenError | InvalidError
) -> CronJobError:
    if isinstance(error, InvalidError):
        return CronJobError(Reason.ScheduleRefused, f"The API server refuses the CronJob: {error}")
    line = schedules_grant_line(schedule.meta.ref.namespace, schedule.gateway.name, parts.ports.operator)
    message = f"{error}. The gateway's chart grants it with operator.rbac.cronJobs or schedule.enabled; by hand: {line}"
    return CronJobError(Reason.NotAuthorized, message)
