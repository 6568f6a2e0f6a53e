"""What to do next about a GatewayRestore: a pure function of what was seen and what time it is.

A restore is a transaction. Until the admin API's journal says `applied`, nothing has changed and every failure ends in
Failed. From then on it ends in exactly one of: committed, rolled back, left as `onFailure: Leave` asks, or told that
the rollback did not work. The journal is read before anything is asked again, so that a crash repeats nothing.
"""

from __future__ import annotations

from datetime import datetime

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import Done, RestoreAction, Wait
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.resources import Restore
from gateway_operator.domain.restore import after_apply, prepare
from gateway_operator.domain.restore.status import RestoreObservation, is_terminal


def needs_gateway(restore: Restore, now: datetime) -> bool:
    """Whether looking at the gateway could change the decision."""
    retry = restore.time("nextRetryTime")
    return not (is_terminal(restore) or (retry and retry > now))


def decide(seen: RestoreObservation, now: datetime) -> RestoreAction:
    """The next step."""
    restore = seen.restore
    if is_terminal(restore):
        return Done()
    if not isinstance(seen.answer, Failure):
        retry = restore.time("nextRetryTime")
        if retry is not None and retry > now:
            return Wait(timestamps.seconds_until(retry, now))
    match restore.phase:
        case "Validating":
            return prepare.validating(seen, now)
        case "SafetyBackup":
            return prepare.safety_backup(seen, now)
        case "Restoring":
            return prepare.restoring(seen, now)
        case "Restarting":
            return after_apply.restarting(seen, now)
        case "HealthCheck":
            return after_apply.health_check(seen, now)
        case "RollingBack":
            return after_apply.rolling_back(seen, now)
        case _:
            return prepare.pending(seen, now)
