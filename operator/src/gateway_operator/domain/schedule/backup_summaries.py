"""The part of a schedule's status that counts and names the backups of its set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.levels import VERIFIED, reaches
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule


def progress(schedule: GatewayBackupSchedule, backups: Sequence[BackupSummary]) -> dict[str, Any]:
    """The status fields about the backups. A field without a value is None, so that a merge patch removes it."""
    newest = max(backups, key=lambda one: (one.created, one.name), default=None)
    completed = [one for one in backups if one.phase == "Completed"]
    failed = [one for one in backups if one.phase == "Failed"]
    good = [
        (one.snapshot_time, one.name)
        for one in completed
        if one.snapshot_time is not None and (reaches(one.level, VERIFIED) or not schedule.wants_proof)
    ]
    bad = [(one.completion_time, one.name, one.reason) for one in failed if one.completion_time is not None]
    last_good, last_bad = max(good, default=None), max(bad, default=None)
    running = [one.name for one in backups if one.completion_time is None and one.phase != "Deleting"]
    return {
        "active": sorted(running)[:100] or None,
        "lastBackup": newest.name if newest else None,
        "lastSuccessfulTime": timestamps.precise(last_good[0]) if last_good else None,
        "lastSuccessfulBackup": last_good[1] if last_good else None,
        "lastFailedTime": timestamps.text(last_bad[0]) if last_bad else None,
        "lastFailure": f"{last_bad[1]}: {last_bad[2]}" if last_bad else None,
        "backups": {
            "completed": len(completed),
            "failed": len(failed),
            "suspicious": sum(one.suspicious for one in completed),
            "pinned": sum(one.pinned for one in backups),
            "total": len(backups),
        },
    }
