"""Reads the objects that prove the origin of a GatewayBackup.

Most backups name neither a Job nor a restore and need no read. For a scheduled backup the Job, the schedule and, once,
the CronJob are read. The uid of the CronJob is recorded in the schedule's status before the origin relies on it.
"""

from __future__ import annotations

from gateway_operator.domain.backup.origin import (
    OriginDecision,
    OriginEvidence,
    OriginUnknown,
    ScheduleEvidence,
    cron_job_owner,
    decide_origin,
    job_to_read,
    restore_to_read,
)
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import SCHEDULE_KIND
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.drift import is_owned_by
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ClusterError, ConflictError, ForbiddenError, Ports


async def read_origin(ports: Ports, backup: Backup) -> OriginDecision | OriginUnknown:
    """Read the evidence and decide the origin. A read that fails gives ``OriginUnknown``; nothing is raised."""
    evidence = OriginEvidence()
    try:
        job, restore = job_to_read(backup), restore_to_read(backup)
        if job is not None:
            evidence = await _job_evidence(ports, job)
        elif restore is not None:
            body = await ports.cluster.read(restore)
            evidence = OriginEvidence(restore=None if body is None else Restore.parse(body))
    except ForbiddenError as error:
        message = f"{error}. The operator needs this permission to verify who created the backup."
        return OriginUnknown(GatewayProblem(Reason.NotAuthorized, message, forbidden=True))
    except ConflictError:
        return OriginUnknown()  # the schedule was changed meanwhile: read everything again in a moment
    except ClusterError as error:
        return OriginUnknown(GatewayProblem(Reason.OriginUnknown, f"The origin could not be verified: {error}"))
    return decide_origin(backup, evidence)


async def _job_evidence(ports: Ports, named: Ref) -> OriginEvidence:
    job = await ports.cluster.job(named.namespace, named.name)
    owner = None if job is None or job["metadata"].get("uid") != named.uid else cron_job_owner(job)
    if owner is None:
        return OriginEvidence(job=job)
    body = await ports.cluster.read(Ref(SCHEDULE_KIND, named.namespace, str(owner.get("name")), ""))
    if body is None:
        return OriginEvidence(job=job)
    schedule = GatewayBackupSchedule.parse(body)
    if schedule.cron_job_uid != owner.get("uid"):
        schedule = await _record_cron_job(ports, schedule)
    evidence = ScheduleEvidence(
        name=schedule.name,
        gateway=schedule.gateway,
        cron_job_uid=schedule.cron_job_uid,
        level=schedule.required_level,
        max_shrink=schedule.max_shrink,
        ttl=schedule.ttl,
    )
    return OriginEvidence(job=job, schedule=evidence)


async def _record_cron_job(ports: Ports, schedule: GatewayBackupSchedule) -> GatewayBackupSchedule:
    """Record the uid of the schedule's CronJob, which is new or was created again since the last record.

    ConflictError: the schedule has changed; the origin is read again in the next run.
    """
    cron_job = await ports.cluster.cron_job(schedule.meta.ref.namespace, schedule.name)
    if cron_job is None or not is_owned_by(schedule, cron_job):
        return schedule
    # Durable before the origin relies on it: later checks compare with the recorded uid.
    body = await ports.cluster.write_status(schedule.meta, {"cronJobUID": str(cron_job["metadata"]["uid"])})
    return GatewayBackupSchedule.parse(body)
