"""The custom resources as decisions read them: the spec parsed once, the status as the API server has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from gateway_api.contract import ErrorCode
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.identifiers import (
    BackupSetId,
    GatewayRef,
    Origin,
    Ref,
    SetKind,
)
from gateway_operator.domain.model.names import (
    BACKUP_KIND,
    JOB_KIND,
    SAFETY_GROUP,
)

Json = Mapping[str, Any]
COUNT_FIELDS: Final = ("configs", "projects", "users", "apiKeys", "disabledApiKeys")
"""The fields of ``status.counts``."""


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata of a custom resource."""

    ref: Ref
    generation: int
    created: datetime
    deleting_since: datetime | None
    resource_version: str
    labels: Json
    annotations: Json
    finalizers: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: Json, kind: str) -> Meta:
        """From an object of the API server."""
        meta = body.get("metadata") or {}
        return cls(
            ref=Ref(kind, str(meta.get("namespace", "")), str(meta.get("name", "")), str(meta.get("uid", ""))),
            generation=int(meta.get("generation", 0)),
            created=timestamps.parse(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
            deleting_since=timestamps.parse(meta.get("deletionTimestamp")),
            resource_version=str(meta.get("resourceVersion", "")),
            labels=meta.get("labels") or {},
            annotations=meta.get("annotations") or {},
            finalizers=tuple(meta.get("finalizers") or ()),
        )


class StatusFields:
    """Fields of a status that may be empty or edited by hand."""

    __slots__ = ()
    status: Json

    @property
    def phase(self) -> str:
        """The phase; empty while there is none."""
        return str(self.status.get("phase") or "")

    @property
    def reason(self) -> str:
        """The reason; empty while there is none."""
        return str(self.status.get("reason") or "")

    @property
    def message(self) -> str:
        """The message; empty while there is none."""
        return str(self.status.get("message") or "")

    @property
    def failure(self) -> Json:
        """``reason`` and ``message`` of the last failure; empty without one."""
        return self.status.get("failure") or {}

    @property
    def attempt(self) -> int:
        """The number of attempts that have started."""
        return int(self.status.get("attempt") or 0)

    @property
    def conditions(self) -> Sequence[Json]:
        """``status.conditions``; empty while there are none."""
        return self.status.get("conditions") or ()

    def time(self, name: str) -> datetime | None:
        """A time in the status; None if it is absent or unreadable."""
        return timestamps.parse(self.status.get(name))


@dataclass(frozen=True)
class Backup(StatusFields):
    """A GatewayBackup. All durations are in seconds."""

    meta: Meta
    gateway: GatewayRef
    group: str
    timeout: int
    retry_limit: int
    starting_deadline: int
    description: str
    status: Json
    pinned: bool = False
    delete_file: bool = False
    """A person requested that the file is deleted with the object."""
    spec_ttl: str | None = None
    """``spec.ttl``, which does not apply to a scheduled backup."""
    existing: str | None = None
    """The path of the file to adopt; None for a new backup."""
    accepted: bool = False
    """A person has acknowledged that the backup is Suspicious."""
    job: Ref | None = None
    """The Job that the creator names in ``spec.job``. It proves nothing until the operator has read that Job."""
    verification: Json = field(default_factory=dict)
    """``spec.verification``."""

    @classmethod
    def parse(cls, body: Json) -> Backup:
        """From an object of the API server; the defaults are those of the schema."""
        spec = body.get("spec") or {}
        meta, job = Meta.parse(body, BACKUP_KIND), spec.get("job")
        return cls(
            meta=meta,
            gateway=GatewayRef.parse(spec),
            group=str(spec.get("group", "manual")),
            timeout=int(spec.get("timeoutSeconds", 600)),
            retry_limit=int(spec.get("retryLimit", 5)),
            starting_deadline=int(spec.get("startingDeadlineSeconds", 300)),
            description=str(spec.get("description", "")),
            status=body.get("status") or {},
            pinned=bool(spec.get("pinned", False)),
            delete_file=spec.get("deleteFile") is True,
            spec_ttl=spec.get("ttl"),
            existing=(spec.get("existing") or {}).get("path"),
            accepted=spec.get("accepted") is True,
            job=Ref(JOB_KIND, meta.ref.namespace, str(job.get("name")), str(job.get("uid"))) if job else None,
            verification=spec.get("verification") or {},
        )

    @property
    def has_origin(self) -> bool:
        """Whether the operator has decided and recorded the origin."""
        return bool(self.status.get("origin"))

    @property
    def restore_uid(self) -> str:
        """The uid of the GatewayRestore whose safety backup this is; empty for any other backup."""
        restore = self.status.get("restore")
        return str(restore.get("uid") or "") if self.origin is Origin.Restore and isinstance(restore, Mapping) else ""

    @property
    def required_level(self) -> str:
        """The level that the file must reach, ``Stored`` or ``Verified``."""
        return str(self._thresholds.get("level", "Verified"))

    @property
    def max_shrink(self) -> int:
        """The largest decrease that is not Suspicious, in percent."""
        return int(self._thresholds.get("maxShrinkPercent", 50))

    @property
    def ttl(self) -> str | None:
        """The age at which it is deleted; that of the schedule for a scheduled backup. None without one."""
        return self._thresholds.get("ttl") if self.origin is Origin.Schedule else self.spec_ttl

    @property
    def _thresholds(self) -> Json:
        """Those of the schedule for a scheduled backup: its creator must not weaken the schedule's checks."""
        if self.origin is not Origin.Schedule:
            return self.verification
        recorded = self.status.get("thresholds")
        return recorded if isinstance(recorded, Mapping) else {}

    @property
    def set_id(self) -> BackupSetId:
        """The backup set that the backup belongs to.

        It follows from the origin that the operator has verified. ``spec.group`` decides only for open groups.
        """
        if self.origin is Origin.Schedule and self.schedule:
            kind, name = SetKind.Schedule, self.schedule
        elif self.origin is Origin.Restore:
            kind, name = SetKind.Safety, SAFETY_GROUP
        else:
            kind, name = SetKind.Group, self.group
        return BackupSetId(self.meta.ref.namespace, self.gateway, kind, name)

    @property
    def origin(self) -> Origin:
        """The verified origin: ``status.origin``."""
        return Origin.parse(self.status.get("origin"))

    @property
    def schedule(self) -> str:
        """The schedule that made it or, for an adopted file, that its manifest names; empty without one."""
        return str(self.status.get("schedule") or "")

    @property
    def counts(self) -> Mapping[str, int] | None:
        """``status.counts`` with all of ``COUNT_FIELDS``; None while the content is unknown."""
        counts = self.status.get("counts")
        return {name: int(counts.get(name) or 0) for name in COUNT_FIELDS} if isinstance(counts, Mapping) else None

    @property
    def deletion_committed(self) -> bool:
        """Whether retention or ttl has committed its deletion."""
        return self.phase == "Deleting" and isinstance(self.status.get("deletion"), Mapping)

    @property
    def has_file(self) -> bool:
        """Whether it may have a file of its own. After a failed adoption or ``NameUsed`` the file is another's."""
        if self.existing is not None:
            return conditions.condition_status(self.conditions, conditions.COMPLETED) is True
        if self.failure.get("reason") == ErrorCode.NameUsed:
            return False
        return bool(self.status.get("startTime"))

    @property
    def level(self) -> str:
        """The proven level of the file, ``Stored`` or ``Verified``; empty while there is none."""
        return str((self.status.get("verification") or {}).get("level") or "")
