"""How the operator names things: an object, a gateway, a set of backups, a Secret with an age identity.

All of them are values that can be keys of a dict. They hold no content of the objects that they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway_operator.domain.model.names import DEFAULT_IDENTITY_KEY


@dataclass(frozen=True, slots=True)
class Ref:
    """Which object, without what is in it."""

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class GatewayRef:
    """The workload that is a gateway."""

    kind: str
    name: str
    ordinal: int = 0

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> GatewayRef:
        """From ``spec.gatewayRef``."""
        ref = spec.get("gatewayRef") or {}
        return cls(str(ref.get("kind", "Deployment")), str(ref.get("name", "")), int(ref.get("ordinal", 0)))

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


@dataclass(frozen=True, slots=True)
class BackupSetId:
    """The set that a backup belongs to. It never changes: namespace, gateway and group of a backup are immutable."""

    namespace: str
    gateway: GatewayRef
    group: str

    @property
    def namespaced_gateway(self) -> NamespacedGateway:
        """The gateway of the set."""
        return NamespacedGateway(self.namespace, self.gateway)


@dataclass(frozen=True, slots=True)
class IdentityRef:
    """The Secret, and the key in it, that holds the age identity for a restore. It names it and never holds it."""

    name: str
    key: str = DEFAULT_IDENTITY_KEY

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> IdentityRef | None:
        """From ``spec.identitySecretRef``."""
        ref = spec.get("identitySecretRef")
        return cls(str(ref.get("name", "")), str(ref.get("key", DEFAULT_IDENTITY_KEY))) if ref else None
