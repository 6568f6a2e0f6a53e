"""Decides the end of a drill after its outcome: mark the backup, delete pod and policy, write the terminal status."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gateway_operator.domain.drill import pod_state
from gateway_operator.domain.drill.actions import DeleteObjects, DrillAction, DrillObservation, MarkBackup
from gateway_operator.domain.drill.status import drill_of, drilled_verification, outcome_of
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import Finish, RecheckSoon
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import finish

CLEANUP_SECONDS: Final = 120.0
"""Seconds after the outcome in which the pod must be deleted; then the object ends and names what is left."""
CLEANUP_POLL_SECONDS: Final = 2.0


def cleanup_is_over(restore: Restore, now: datetime) -> bool:
    """Whether the time for the deletion has passed, so that the object ends in any case."""
    since = timestamps.parse(outcome_of(restore).get("time"))
    return since is None or (now - since).total_seconds() >= CLEANUP_SECONDS


def clean_up(observed: DrillObservation, now: datetime) -> DrillAction:
    """After the outcome: record it in the backup, delete the objects, and end."""
    restore = observed.restore
    over = cleanup_is_over(restore, now)
    for backup in observed.backups:
        verification = drilled_verification(restore, backup)
        if verification is not None and not over:
            return MarkBackup(backup, verification)
    pod = observed.pod if observed.pod is not None and pod_state.belongs_to(observed.pod, restore.uid) else None
    if (pod is None and not observed.has_policy) or over:
        left = f" Pod {drill_of(restore).get('pod')} could not be deleted; delete it." if pod is not None else ""
        return end(restore, now, left)
    if observed.answer is not None or (pod is not None and pod["metadata"].get("deletionTimestamp")):
        # The kubelet needs a moment to end the pod, or the API server refused the deletion.
        return RecheckSoon(CLEANUP_POLL_SECONDS)
    return DeleteObjects()


def end(restore: Restore, now: datetime, left: str = "") -> Finish:
    """The terminal status of the recorded outcome. ``left`` names what could not be deleted."""
    result = outcome_of(restore)
    reason, message = str(result.get("reason")), f"{result.get('message')}{left}"
    phase = "Completed" if reason == Reason.Drilled else "Failed"
    return finish(restore, phase, reason, message, now)
