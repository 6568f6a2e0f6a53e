"""The GatewayBackupImport as decisions read it: the spec parsed once, the status as the API server has it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.names import IMPORT_KIND
from gateway_operator.domain.model.resources import Json, Meta, StatusFields


@dataclass(frozen=True)
class Import(StatusFields):
    """A GatewayBackupImport. ``timeout`` is in seconds."""

    meta: Meta
    gateway: GatewayRef
    paths: tuple[str, ...]
    dry_run: bool
    timeout: int
    status: Json

    @classmethod
    def parse(cls, body: Json) -> Import:
        """From an object of the API server; the defaults are those of the schema."""
        spec = body.get("spec") or {}
        return cls(
            meta=Meta.parse(body, IMPORT_KIND),
            gateway=GatewayRef.parse(spec),
            paths=tuple(str(one) for one in spec.get("paths") or ()),
            dry_run=bool(spec.get("dryRun", False)),
            timeout=int(spec.get("timeoutSeconds", 3600)),
            status=body.get("status") or {},
        )

    @property
    def pinned_names(self) -> frozenset[str]:
        """The names of pinned objects that this import replaces."""
        return frozenset(str(one) for one in self.status.get("pinnedNames") or ())
