"""The GatewayBackupSchedule as decisions read it, and the part of its status about its backups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway_operator.domain import conditions, times
from gateway_operator.domain.backup_index import BackupSummary
from gateway_operator.domain.names import SCHEDULE_KIND
from gateway_operator.domain.objects import BackupSetId, GatewayRef, Json, Meta


@dataclass(frozen=True)
class GatewayBackupSchedule:
    """A GatewayBackupSchedule."""

    meta: Meta
    gateway: GatewayRef
    schedule: str
    time_zone: str
    suspend: bool
    concurrency_policy: str
    starting_deadline: int
    successful_jobs: int
    failed_jobs: int
    template: Json
    retention: Json | None
    """``spec.retention``, not yet parsed."""
    objective: object
    """``spec.objective.maxAge``, not yet parsed."""
    status: Json

    @classmethod
    def parse(cls, body: Json) -> GatewayBackupSchedule:
        """From an object as the API server gives it; the defaults are those of the schema."""
        spec = body.get("spec") or {}
        retention = spec.get("retention")
        return cls(
            meta=Meta.parse(body, SCHEDULE_KIND),
            gateway=GatewayRef.parse(spec),
            schedule=str(spec.get("schedule", "")),
            time_zone=str(spec.get("timeZone", "UTC")),
            suspend=bool(spec.get("suspend", False)),
            concurrency_policy=str(spec.get("concurrencyPolicy", "Forbid")),
            starting_deadline=int(spec.get("startingDeadlineSeconds", 3600)),
            successful_jobs=int(spec.get("successfulJobsHistoryLimit", 1)),
            failed_jobs=int(spec.get("failedJobsHistoryLimit", 3)),
            template=spec.get("backupTemplate") or {},
            retention=retention if isinstance(retention, Mapping) else None,
            objective=(spec.get("objective") or {}).get("maxAge"),
            status=body.get("status") or {},
        )

    @property
    def name(self) -> str:
        """Its name, which is also that of its CronJob and of its backups' group."""
        return self.meta.ref.name

    @property
    def set_id(self) -> BackupSetId:
        """The set of its backups."""
        return BackupSetId(self.meta.ref.namespace, self.gateway, self.name)

    @property
    def retention_status(self) -> Json:
        """``status.retention``: the result of the last retention pass."""
        status = self.status.get("retention")
        return status if isinstance(status, Mapping) else {}

    @property
    def phase(self) -> str:
        """Whether it does what it is there for: Ready or not."""
        ready = conditions.holds(self.conditions, "Ready")
        return "" if ready is None else "Ready" if ready else "NotReady"

    @property
    def reason(self) -> str:
        """Why."""
        return next((str(one.get("reason")) for one in self.conditions if one.get("type") == "Ready"), "")

    @property
    def conditions(self) -> Sequence[Json]:
        """The conditions, those of retention included."""
        return self.status.get("conditions") or ()

    @property
    def wants_proof(self) -> bool:
        """Whether only a Verified backup is a good one."""
        return bool((self.template.get("verification") or {}).get("level", "Verified") == "Verified")


def progress(schedule: GatewayBackupSchedule, backups: Sequence[BackupSummary]) -> dict[str, Any]:
    """The part of the status about its backups. A field without a value is None."""
    newest = max(backups, key=lambda one: (one.created, one.name), default=None)
    completed = [one for one in backups if one.phase == "Completed"]
    failed = [one for one in backups if one.phase == "Failed"]
    good = [
        (one.snapshot_time, one.name)
        for one in completed
        if one.snapshot_time is not None and (one.level == "Verified" or not schedule.wants_proof)
    ]
    bad = [(one.completion_time, one.name, one.reason) for one in failed if one.completion_time is not None]
    last_good, last_bad = max(good, default=None), max(bad, default=None)
    running = [one.name for one in backups if one.completion_time is None and one.phase != "Deleting"]
    return {
        "active": sorted(running)[:100] or None,
        "lastBackup": newest.name if newest else None,
        "lastSuccessfulTime": times.precise(last_good[0]) if last_good else None,
        "lastSuccessfulBackup": last_good[1] if last_good else None,
        "lastFailedTime": times.text(last_bad[0]) if last_bad else None,
        "lastFailure": f"{last_bad[1]}: {last_bad[2]}" if last_bad else None,
        "backups": {
            "completed": len(completed),
            "failed": len(failed),
            "suspicious": sum(one.suspicious for one in completed),
            "pinned": sum(one.pinned for one in backups),
            "total": len(backups),
        },
    }
