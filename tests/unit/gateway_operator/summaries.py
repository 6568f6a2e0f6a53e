"""Rows of GatewayBackups for tests."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.model.identifiers import BackupSetId, GatewayRef, SetKind

SET_ID: Final = BackupSetId("prod", GatewayRef("Deployment", "gw"), SetKind.Schedule, "nightly")


def summary(
    name: str, time: datetime, *, phase: str = "Completed", level: str = "Verified", **fields: Any
) -> BackupSummary:
    """A backup whose config was read at that time; the defaults are those of a Verified one."""
    defaults: dict[str, Any] = {
        "uid": name, "set_id": SET_ID, "created": time, "snapshot_time": time, "file": FileState.present,
    }  # fmt: skip
    return BackupSummary(name=name, phase=phase, level=level, **{**defaults, **fields})
