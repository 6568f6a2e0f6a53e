"""A GatewayRestore as decisions read it: the spec parsed once, the status as the API server has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import GatewayRef, IdentityRef, NamespacedGateway
from gateway_operator.domain.model.names import APPROVED_BY, ENCRYPTED, RESTORE_KIND
from gateway_operator.domain.model.resources import Json, Meta, StatusFields


@dataclass(frozen=True, slots=True)
class FactoryReset:
    """The source ``factoryReset``: an empty config instead of a file."""

    confirm: bool
    rotate_admin_key: bool

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> FactoryReset | None:
        """From ``spec.factoryReset``; None without it."""
        reset = spec.get("factoryReset")
        if not isinstance(reset, Mapping):
            return None
        return cls(reset.get("confirm") is True, reset.get("rotateAdminKey") is True)


@dataclass(frozen=True)
class Restore(StatusFields):
    """A GatewayRestore. All durations are in seconds."""

    meta: Meta
    gateway: GatewayRef
    spec: Json
    backup_name: str | None
    latest: bool
    latest_group: str | None
    before: datetime | None
    path: str | None
    expected_sha256: str | None
    identity: IdentityRef | None
    accept_unsigned: bool
    safety_backup: str
    on_failure: str
    restart: str
    health_timeout: int
    health_consecutive: int
    timeout: int
    starting_deadline: int
    status: Json
    mode: str = "Apply"
    """``Apply``, ``DryRun`` or ``Drill``."""
    factory_reset: FactoryReset | None = None
    supersede: bool = False
    """Commit an earlier restore that is neither committed nor rolled back."""
    allow_other_gateway: bool = False
    """Accept a backup of another gateway, or of a newer version of the admin API."""
    requested_by: str = ""
    """The user who created it, as the admission policy has checked; empty without approval."""
    end: str = ""
    """``Commit`` or ``Rollback`` after a person ended it; else empty."""

    @classmethod
    def parse(cls, body: Json) -> Restore:
        """From an object of the API server; the defaults are those of the schema."""
        spec = body.get("spec") or {}
        health = spec.get("healthCheck") or {}
        return cls(
            meta=Meta.parse(body, RESTORE_KIND),
            gateway=GatewayRef.parse(spec),
            spec=spec,
            backup_name=spec.get("backupName"),
            latest="latest" in spec,
            latest_group=(spec.get("latest") or {}).get("group"),
            before=timestamps.parse(spec.get("before")),
            path=spec.get("path"),
            expected_sha256=spec.get("expectedSha256"),
            identity=IdentityRef.parse(spec),
            accept_unsigned=bool(spec.get("acceptUnsigned", False)),
            safety_backup=str(spec.get("safetyBackup", "Auto")),
            on_failure=str(spec.get("onFailure", "Rollback")),
            restart=str(spec.get("restart", "Auto")),
            health_timeout=int(health.get("timeoutSeconds", 180)),
            health_consecutive=int(health.get("consecutive", 3)),
            timeout=int(spec.get("timeoutSeconds", 600)),
            starting_deadline=int(spec.get("startingDeadlineSeconds", 300)),
            status=body.get("status") or {},
            mode=str(spec.get("mode", "Apply")),
            factory_reset=FactoryReset.parse(spec),
            supersede=spec.get("supersede") is True,
            allow_other_gateway=spec.get("allowOtherGateway") is True,
            requested_by=str(spec.get("requestedBy", "")),
            end=str(spec.get("end", "")),
        )

    @property
    def namespaced_gateway(self) -> NamespacedGateway:
        """The gateway of the restore, with the namespace."""
        return NamespacedGateway(self.meta.ref.namespace, self.gateway)

    @property
    def names_backup(self) -> bool:
        """Whether the source is a GatewayBackup, by name or as the newest that fits."""
        return self.path is None and self.factory_reset is None

    @property
    def is_dry_run(self) -> bool:
        """Whether it only reports the difference."""
        return self.mode == "DryRun"

    @property
    def end_action(self) -> str:
        """``Commit`` or ``Rollback`` once the operator has begun to end the restore for a person; else empty."""
        end = self.status.get("end")
        return str(end.get("action") or "") if isinstance(end, Mapping) else ""

    @property
    def request_id(self) -> str:
        """The id of this restore in the admin API; empty until the volume is known."""
        return str(self.status.get("requestID") or "")

    @property
    def source(self) -> Json:
        """``status.source``: the resolved file; empty until it is resolved."""
        return self.status.get("source") or {}

    @property
    def approval(self) -> Json:
        """``status.approval``; empty until an approval is required."""
        return self.status.get("approval") or {}

    @property
    def approved(self) -> bool:
        """Whether the operator has accepted an approval of this restore."""
        return bool(self.approval.get("by") and self.approval.get("time"))

    @property
    def awaits_approval(self) -> bool:
        """Whether it waits for its approval. It has changed nothing, and other restores may run meanwhile."""
        return self.phase in ("", "Pending") and bool(self.approval) and not self.approved

    @property
    def approver(self) -> str:
        """The user that the approving annotation names; empty without one."""
        return str(self.meta.annotations.get(APPROVED_BY) or "")

    @property
    def safety_backup_uid(self) -> str:
        """The uid of the safety backup that this restore created; empty until it is recorded."""
        return str(self.status.get("safetyBackupUID") or "")

    @property
    def needed_identity(self) -> IdentityRef | None:
        """The Secret that decrypts the source; None, and no Secret is read, unless the resolved source is encrypted."""
        return self.identity if str(self.source.get("path") or "").endswith(ENCRYPTED) else None

    @property
    def uid(self) -> str:
        """The uid of the object."""
        return self.meta.ref.uid
