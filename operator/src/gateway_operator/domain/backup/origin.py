"""Decides the origin of a GatewayBackup, from objects that its creator cannot write.

``spec.job`` and the restore label only name the objects to read. Each check compares the object with something that
the operator or a controller of Kubernetes wrote: the uid of the Job, the CronJob that controls it, the uids in the
status of the schedule and of the restore. The result is written into the status once and never decided again.

After a read that failed the caller has ``OriginUnknown``, and retries until the deadline. An object that is proven
absent gives ``Manual``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import GatewayRef, Origin, Ref
from gateway_operator.domain.model.names import (
    RESTORE_KIND,
    RESTORE_LABEL,
    job_backup_name,
    safety_backup_name,
)
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.model.restore_resource import Restore

_CRON_JOB: Final = "CronJob"
_FINISHED: Final = frozenset({"Complete", "Failed"})


@dataclass(frozen=True, slots=True)
class ScheduleEvidence:
    """The fields of a GatewayBackupSchedule that an origin depends on.

    ``cron_job_uid`` is the uid in the schedule's status, which only the operator writes. ``level``, ``max_shrink`` and
    ``ttl`` are those of its ``backupTemplate``.
    """

    name: str
    gateway: GatewayRef
    cron_job_uid: str
    level: str = "Verified"
    max_shrink: int = 50
    ttl: str | None = None


@dataclass(frozen=True, slots=True)
class OriginEvidence:
    """The objects that were read for one decision. None: the API server answered that the object does not exist."""

    job: Json | None = None
    schedule: ScheduleEvidence | None = None
    """The schedule with the name of the Job's CronJob."""
    restore: Restore | None = None
    """The restore that the restore label names."""


@dataclass(frozen=True, slots=True)
class OriginDecision:
    """The origin, and a sentence if the object claims another one that was not confirmed."""

    origin: Origin
    schedule: ScheduleEvidence | None = None
    restore: Ref | None = None
    refusal: str = ""

    def status(self) -> dict[str, Any]:
        """The status fields of the origin. They are written together with the first status of the object."""
        fields: dict[str, Any] = {"origin": str(self.origin)}
        if self.schedule is not None:
            fields["schedule"] = self.schedule.name
            # Those of the schedule at this time, also if it is deleted during the backup. The creator of the object
            # could otherwise write a ttl that lets it push out older backups of the schedule, one after the other.
            thresholds = {"level": self.schedule.level, "maxShrinkPercent": self.schedule.max_shrink}
            fields["thresholds"] = thresholds | ({"ttl": self.schedule.ttl} if self.schedule.ttl is not None else {})
        if self.restore is not None:
            fields["restore"] = {"name": self.restore.name, "uid": self.restore.uid}
        return fields


@dataclass(frozen=True, slots=True)
class OriginUnknown:
    """The origin is not decided yet. ``problem`` is None if another write of the operator decides it in a moment."""

    problem: GatewayProblem | None = None


def job_to_read(backup: Backup) -> Ref | None:
    """The Job whose check could give the origin ``Schedule``; None if no Job can.

    The name follows from the Job's name and uid, so a Job has one GatewayBackup and nobody can take its name before.
    """
    job = backup.job
    if job is None or backup.existing is not None or backup.meta.ref.name != job_backup_name(job.name, job.uid):
        return None
    return job


def restore_to_read(backup: Backup) -> Ref | None:
    """The GatewayRestore that may name this object as its safety backup; None without one. The label is only a hint."""
    name = backup.meta.labels.get(RESTORE_LABEL)
    if not name or backup.existing is not None or backup.job is not None:
        return None
    return Ref(RESTORE_KIND, backup.meta.ref.namespace, str(name), "")


def cron_job_owner(job: Json) -> Mapping[str, Any] | None:
    """The owner reference of the CronJob that controls a Job; None if no CronJob does."""
    for owner in (job.get("metadata") or {}).get("ownerReferences") or ():
        if owner.get("controller") is True:
            is_cron_job = owner.get("kind") == _CRON_JOB and str(owner.get("apiVersion", "")).startswith("batch/")
            return owner if is_cron_job else None
    return None


def decide_origin(backup: Backup, evidence: OriginEvidence) -> OriginDecision | OriginUnknown:
    """The origin of a GatewayBackup that has none yet."""
    if backup.existing is not None:
        return OriginDecision(Origin.Adopted)
    if backup.job is not None:
        return _job_origin(backup, backup.job, evidence)
    if restore_to_read(backup) is not None:
        return _restore_origin(backup, evidence.restore)
    return OriginDecision(Origin.Manual)


def _job_origin(backup: Backup, named: Ref, evidence: OriginEvidence) -> OriginDecision:
    expected = job_backup_name(named.name, named.uid)
    if backup.meta.ref.name != expected:
        return _refused(f"the GatewayBackup of Job {named.name} is named {expected}")
    job = evidence.job
    if job is None:
        return _refused(f"Job {named.name} does not exist")
    if (job.get("metadata") or {}).get("uid") != named.uid:
        return _refused(f"Job {named.name} has another uid than {named.uid}")
    finished = _finish_time(job)
    if finished is not None and finished < backup.meta.created:
        # The pod creates the object before its Job ends. Someone else has created this one after the first was deleted.
        return _refused(f"Job {named.name} ended before this object was created")
    owner = cron_job_owner(job)
    if owner is None:
        return OriginDecision(Origin.Manual)  # a Job that no CronJob controls: nobody claims a schedule
    schedule = evidence.schedule
    if schedule is None:
        return OriginDecision(Origin.Manual)  # a CronJob that was written by hand
    if not schedule.cron_job_uid or schedule.cron_job_uid != owner.get("uid"):
        return _refused(f"Job {named.name} is not controlled by the CronJob of schedule {schedule.name}")
    if schedule.gateway != backup.gateway:
        return _refused(f"schedule {schedule.name} backs up {schedule.gateway}, not {backup.gateway}")
    return OriginDecision(Origin.Schedule, schedule)


def _restore_origin(backup: Backup, restore: Restore | None) -> OriginDecision | OriginUnknown:
    ref = backup.meta.ref
    if restore is None or restore.gateway != backup.gateway:
        return OriginDecision(Origin.Manual)
    if ref.name != safety_backup_name(restore.meta.ref.name, restore.uid):
        return OriginDecision(Origin.Manual)
    if restore.safety_backup_uid:
        if restore.safety_backup_uid == ref.uid:
            return OriginDecision(Origin.Restore, restore=restore.meta.ref)
        return OriginDecision(Origin.Manual)
    # The restore creates the object before it can record the uid. A crash in between must not make it Manual.
    return OriginUnknown() if restore.phase == "SafetyBackup" else OriginDecision(Origin.Manual)


def _refused(cause: str) -> OriginDecision:
    return OriginDecision(Origin.Manual, refusal=f"spec.job is not confirmed: {cause}. The origin is Manual.")


def _finish_time(job: Json) -> datetime | None:
    """When the Job ended; None while it runs."""
    for one in (job.get("status") or {}).get("conditions") or ():
        if one.get("type") in _FINISHED and one.get("status") == "True":
            return timestamps.parse(one.get("lastTransitionTime"))
    return None
