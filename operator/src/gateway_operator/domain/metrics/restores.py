"""The GatewayRestores as rows for the metrics. The watch feeds them; a finished restore stays until it is deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import CHANGING_PHASES, is_open

_MODES: Final = frozenset({"Apply", "DryRun", "Drill"})
_PHASES: Final = frozenset(
    {
        "Pending", "Validating", "SafetyBackup", "Restoring", "Restarting", "HealthCheck", "Drilling", "RollingBack",
        "Completed", "Failed", "RolledBack", "RollbackFailed",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RestoreSummary:
    """A GatewayRestore as one row."""

    namespaced_gateway: NamespacedGateway
    mode: str
    phase: str
    is_open: bool
    """It has changed the config and is neither committed nor rolled back."""

    @classmethod
    def from_restore(cls, restore: Restore) -> RestoreSummary:
        """The row of a GatewayRestore object. A mode or phase that is in no list is ``Other``."""
        phase = restore.phase or "Pending"
        return cls(
            namespaced_gateway=restore.namespaced_gateway,
            mode=restore.mode if restore.mode in _MODES else "Other",
            phase=phase if phase in _PHASES else "Other",
            is_open=restore.mode == "Apply" and (restore.phase in CHANGING_PHASES or is_open(restore)),
        )


class RestoreIndex:
    """The rows of all GatewayRestores that the watch has shown, by uid."""

    def __init__(self) -> None:
        self._rows: dict[str, RestoreSummary] = {}

    def upsert(self, restore: Restore) -> None:
        """Add or replace a row."""
        self._rows[restore.uid] = RestoreSummary.from_restore(restore)

    def drop(self, uid: str) -> None:
        """Drop the row of an object that no longer exists."""
        self._rows.pop(uid, None)

    def rows(self) -> list[RestoreSummary]:
        """All rows, in no order."""
        return list(self._rows.values())

    def uids(self, namespace: str) -> set[str]:
        """The uids of the rows in a namespace; of all rows if it is empty."""
        return {uid for uid, row in self._rows.items() if namespace in ("", row.namespaced_gateway.namespace)}
