"""The GatewayBackupSchedule as decisions read it: the spec parsed, the status unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.identifiers import BackupSetId, GatewayRef, SetKind
from gateway_operator.domain.model.names import SCHEDULE_KIND
from gateway_operator.domain.model.resources import Json, Meta


@dataclass(frozen=True)
class DrillSettings:
    """``spec.drill`` of a schedule: when its newest backup is restored in a temporary pod."""

    schedule: str
    time_zone: str
    timeout: int
    """Seconds of one drill."""
    successful_jobs: int
    failed_jobs: int
    identity: Json | None
    """``identitySecretRef``: the Secret that decrypts the backups."""

    @classmethod
    def parse(cls, spec: object) -> DrillSettings | None:
        """From the spec of an object of the API server; None without drills."""
        if not isinstance(spec, Mapping):
            return None
        return cls(
            schedule=str(spec.get("schedule", "")),
            time_zone=str(spec.get("timeZone", "UTC")),
            timeout=int(spec.get("timeoutSeconds", 600)),
            successful_jobs=int(spec.get("successfulJobsHistoryLimit", 1)),
            failed_jobs=int(spec.get("failedJobsHistoryLimit", 3)),
            identity=spec.get("identitySecretRef"),
        )


@dataclass(frozen=True)
class GatewayBackupSchedule:
    """A GatewayBackupSchedule as decisions read it."""

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
    job_template: Json
    """``spec.jobTemplate``: labels, resources and placement of the pods."""
    retention: Json | None
    """``spec.retention``, not yet parsed."""
    objective: object
    """``spec.objective.maxAge``, not yet parsed."""
    drill: DrillSettings | None
    status: Json

    @classmethod
    def parse(cls, body: Json) -> GatewayBackupSchedule:
        """From an object of the API server; the defaults are those of the schema."""
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
            job_template=spec.get("jobTemplate") or {},
            retention=retention if isinstance(retention, Mapping) else None,
            objective=(spec.get("objective") or {}).get("maxAge"),
            drill=DrillSettings.parse(spec.get("drill")),
            status=body.get("status") or {},
        )

    @property
    def name(self) -> str:
        """The name, which is also that of its CronJob and the ``spec.group`` of its backups."""
        return self.meta.ref.name

    @property
    def set_id(self) -> BackupSetId:
        """The set of its backups."""
        return BackupSetId(self.meta.ref.namespace, self.gateway, SetKind.Schedule, self.name)

    @property
    def retention_status(self) -> Json:
        """``status.retention``: the result of the last retention pass."""
        status = self.status.get("retention")
        return status if isinstance(status, Mapping) else {}

    @property
    def drill_status(self) -> Json:
        """``status.drill``: the times and the result of the last drills."""
        status = self.status.get("drill")
        return status if isinstance(status, Mapping) else {}

    @property
    def phase(self) -> str:
        """``Ready`` or ``NotReady``; empty before the first status."""
        ready = conditions.condition_status(self.conditions, "Ready")
        return "" if ready is None else "Ready" if ready else "NotReady"

    @property
    def reason(self) -> str:
        """The reason of the condition Ready; empty while there is none."""
        return next((str(one.get("reason")) for one in self.conditions if one.get("type") == "Ready"), "")

    @property
    def conditions(self) -> Sequence[Json]:
        """The conditions, including those of retention."""
        return self.status.get("conditions") or ()

    @property
    def cron_job_uid(self) -> str:
        """The uid of its CronJob, as the operator has recorded it; empty before."""
        return str(self.status.get("cronJobUID") or "")

    @property
    def required_level(self) -> str:
        """The level that its backups must reach, ``Stored`` or ``Verified``."""
        return str((self.template.get("verification") or {}).get("level", "Verified"))

    @property
    def max_shrink(self) -> int:
        """The largest decrease of its backups that is not Suspicious, in percent."""
        return int((self.template.get("verification") or {}).get("maxShrinkPercent", 50))

    @property
    def ttl(self) -> str | None:
        """The age at which its backups are deleted; None without one."""
        value = self.template.get("ttl")
        return None if value is None else str(value)

    @property
    def wants_proof(self) -> bool:
        """Whether only a Verified backup counts as successful."""
        return self.required_level == "Verified"
