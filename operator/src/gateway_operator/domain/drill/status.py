"""The status writes of a drill: its begin, the restored config, and the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import Write
from gateway_operator.domain.model.levels import DRILLED
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.model.restore_resource import Restore


def drill_of(restore: Restore) -> Json:
    """``status.drill``; empty before the phase Drilling."""
    return restore.status.get("drill") or {}


def with_drill(restore: Restore, **fields: Any) -> dict[str, Any]:
    """``status.drill`` with some fields changed."""
    return {"drill": {**drill_of(restore), **fields}}


def outcome_of(restore: Restore) -> Json:
    """``status.drill.outcome``; empty while the drill has none."""
    return drill_of(restore).get("outcome") or {}


def request_id_of(restore: Restore) -> str:
    """The request id in the drill pod's admin API. Its volumes are new, so only this object can have used it."""
    return restore.uid


def seconds_since(since: str | None, now: datetime) -> float | None:
    """The seconds from a recorded time until now, with one decimal; None without a time."""
    then = timestamps.parse(since)
    return None if then is None else round(max(0.0, (now - then).total_seconds()), 1)


def outcome(
    restore: Restore, reason: str, message: str, now: datetime, fields: Mapping[str, Any] | None = None
) -> Write:
    """Record the result. Only then is the pod deleted, so a crash in between neither loses nor repeats the drill."""
    result = {"reason": str(reason), "message": message, "time": timestamps.text(now)}
    total = seconds_since(drill_of(restore).get("startTime"), now)
    status = with_drill(restore, **(fields or {}), totalSeconds=total, outcome=result)
    return Write({**status, "nextRetryTime": None, "message": f"{message} The drill pod is being deleted."})


def drilled_verification(restore: Restore, backup: Backup) -> dict[str, Any] | None:
    """``status.verification`` of the backup that was drilled; None if it needs no change.

    Only the backup whose config was restored counts: by its id and by the digest of the config.
    """
    result = outcome_of(restore)
    same = (
        backup.phase == "Completed"
        and backup.status.get("backupID") == restore.source.get("backupID")
        and backup.status.get("contentDigest") == restore.status.get("restoredDigest")
    )
    if result.get("reason") != Reason.Drilled or not same:
        return None
    before = backup.status.get("verification") or {}
    after = {**before, "level": DRILLED, "time": result.get("time")}
    return after if after != before else None
