"""How the operator names things: an object, a gateway, a set of backups, a Secret with an age identity.

All of them are values that can be keys of a dict. They hold no content of the objects that they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from gateway_operator.domain.model.names import DEFAULT_IDENTITY_KEY


@dataclass(frozen=True, slots=True)
class Ref:
    """The identity of a Kubernetes object, without its content."""

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class GatewayRef:
    """The workload that runs a gateway. ``ordinal`` selects the pod of a StatefulSet."""

    kind: str
    name: str
    ordinal: int = 0

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> GatewayRef:
        """From ``spec.gatewayRef``."""
        ref = spec.get("gatewayRef") or {}
        return cls(str(ref.get("kind", "Deployment")), str(ref.get("name", "")), int(ref.get("ordinal", 0)))

    def spec(self) -> dict[str, Any]:
        """In the form of ``spec.gatewayRef``, with a value for each field."""
        return {"kind": self.kind, "name": self.name, "ordinal": self.ordinal}

    @property
    def label(self) -> str:
        """The name of the workload, with the ordinal of a StatefulSet's pod if it is not the first."""
        return f"{self.name}-{self.ordinal}" if self.ordinal else self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class NamespacedName(NamedTuple):
    """The namespace and the name of an object."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class NamespacedGateway:
    """A gateway and its namespace."""

    namespace: str
    gateway: GatewayRef


class SetKind(StrEnum):
    """The kinds of backup sets. They differ in the policy that may delete a member."""

    Schedule = "schedule"
    """The backups that a schedule made. The policy is the schedule's."""
    Safety = "safety set"
    """The backups that restores made before a change. The policy is fixed."""
    Group = "group"
    """All other backups, by ``spec.group``. Anyone who creates backups chooses the group, so only ``ttl`` deletes."""


@dataclass(frozen=True, slots=True)
class BackupSetId:
    """The backup set of a backup. ``name`` is the schedule's name, ``safety`` or ``spec.group``."""

    namespace: str
    gateway: GatewayRef
    kind: SetKind
    name: str

    @property
    def namespaced_gateway(self) -> NamespacedGateway:
        """The gateway of the set, with its namespace."""
        return NamespacedGateway(self.namespace, self.gateway)


@dataclass(frozen=True, slots=True)
class IdentityRef:
    """The name of the Secret with the age identity of a restore, and the key in it. The identity itself is not here."""

    name: str
    key: str = DEFAULT_IDENTITY_KEY

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> IdentityRef | None:
        """From ``spec.identitySecretRef``."""
        ref = spec.get("identitySecretRef")
        return cls(str(ref.get("name", "")), str(ref.get("key", DEFAULT_IDENTITY_KEY))) if ref else None


class Origin(StrEnum):
    """The verified origin of a GatewayBackup, which the operator writes into ``status.origin`` once.

    The creator of an object writes its spec, labels and annotations, so none of these is a proof. An absent or unknown
    value counts as ``Manual``.
    """

    Schedule = "Schedule"
    Restore = "Restore"
    Adopted = "Adopted"
    Manual = "Manual"

    @classmethod
    def parse(cls, value: object) -> Origin:
        """From ``status.origin``."""
        return cls(value) if isinstance(value, str) and value in cls.__members__ else cls.Manual
