"""Reconciling a GatewayBackupSchedule: its CronJob as it should be, its status as things stand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway_operator.domain.gateway.grants import grant_line
from gateway_operator.domain.index.backup_index import BackupIndex, BackupSummary
from gateway_operator.domain.model.actions import Done
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND, backup_account
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.schedule import decide as decisions
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.domain.schedule.decide import CorrectCronJob, CreateCronJob, CronJobError, ScheduleStatusUpdate
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ConflictError, CronJobs, ForbiddenError, InvalidError, MissingError, Ports
from gateway_operator.reconcile.status_writer import Log, write


@dataclass(frozen=True)
class ScheduleParts:
    """What the reconcile of a schedule works with."""

    ports: Ports
    cron_jobs: CronJobs
    image: Image


async def _backups(ports: Ports, schedule: GatewayBackupSchedule) -> Sequence[BackupSummary]:
    """The backups of a schedule: from the watch, or listed where there is no index."""
    index = ports.backup_index
    if index is None:
        bodies = await ports.cluster.list_ours(BACKUP_KIND, schedule.meta.ref.namespace)
        index = BackupIndex(Backup.parse(body) for body in bodies)
    return index.in_set(schedule.set_id)


async def reconcile_schedule(parts: ScheduleParts, ref: Ref, log: Log) -> None:
    """Bring the CronJob to what the schedule says, and write the status."""
    trouble: CronJobError | None = None
    corrected = False
    while True:
        body = await parts.ports.cluster.read(ref)
        if body is None:
            return
        schedule = GatewayBackupSchedule.parse(body)
        seen = replace(await _observe(parts, schedule, trouble), corrected=corrected)
        action = decisions.decide(seen, parts.ports.clock.now())
        try:
            match action:
                case Done():
                    return
                case ScheduleStatusUpdate():
                    await write(parts.ports, GatewayBackupSchedule.parse, schedule, action.status, action.note, log)
                    return
                case CreateCronJob() | CorrectCronJob():
                    trouble = await _act(parts, schedule, action, log)
                    corrected = True
        except MissingError:
            return
        except ConflictError:  # somebody wrote in between: look at what is there now
            continue


async def _observe(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, trouble: CronJobError | None
) -> decisions.ScheduleObservation:
    namespace = schedule.meta.ref.namespace
    cron_job: Json | None = None
    try:
        cron_job = await parts.cron_jobs.read(namespace, schedule.name)
    except ForbiddenError as error:
        trouble = _trouble(parts, schedule, error)
    has_account: bool | None = None
    with suppress(ForbiddenError):  # then its Jobs say so
        has_account = await parts.cron_jobs.has_account(namespace, backup_account(schedule.gateway.name))
    backups = await _backups(parts.ports, schedule)
    return decisions.ScheduleObservation(schedule, cron_job, has_account, backups, parts.image, trouble)


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
        return _trouble(parts, schedule, error)
    log.info("%s", action.note.message)
    await parts.ports.cluster.event(ref, action.note, parts.ports.clock.now())
    return None


def _trouble(
    parts: ScheduleParts, schedule: GatewayBackupSchedule, error: ForbiddenError | InvalidError
) -> CronJobError:
    if isinstance(error, InvalidError):
        return CronJobError(Reason.ScheduleRefused, f"The API server refuses the CronJob: {error}")
    line = grant_line(schedule.meta.ref.namespace, schedule.gateway.name, parts.ports.operator)
    return CronJobError(Reason.NotAuthorized, f"{error}. To grant it: {line}")
