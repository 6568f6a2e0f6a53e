"""What to do next about a GatewayRestore: a pure function of what was seen and what time it is.

A restore is a transaction. Until the admin API's journal says `applied`, nothing has changed and every failure ends in
Failed. From then on it ends in exactly one of: committed, rolled back, left as `onFailure: Leave` asks, or told that
the rollback did not work. The journal is read before anything is asked again, so that a crash repeats nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gateway_operator.domain import restore_applied, restore_begin, times
from gateway_operator.domain.actions import RestoreAction, Stop, Wait
from gateway_operator.domain.calls import Failure
from gateway_operator.domain.objects import Restore
from gateway_operator.domain.restore_observed import Observed

TERMINAL_RESTORE_PHASES: Final = frozenset({"Completed", "Failed", "RolledBack", "RollbackFailed"})


def is_terminal(restore: Restore) -> bool:
    """A record that never changes again."""
    return restore.phase in TERMINAL_RESTORE_PHASES


def needs_gateway(restore: Restore, now: datetime) -> bool:
    """Whether looking at the gateway could change the decision."""
    retry = restore.time("nextRetryTime")
    return not (is_terminal(restore) or (retry and retry > now))


def decide(seen: Observed, now: datetime) -> RestoreAction:
    """The next step."""
    restore = seen.restore
    if is_terminal(restore):
        return Stop()
    if not isinstance(seen.answer, Failure):
        retry = restore.time("nextRetryTime")
        if retry is not None and retry > now:
            return Wait(times.seconds_until(retry, now))
    match restore.phase:
        case "Validating":
            return restore_begin.validating(seen, now)
        case "SafetyBackup":
            return restore_begin.safety_backup(seen, now)
        case "Restoring":
            return restore_begin.restoring(seen, now)
        case "Restarting":
            return restore_applied.restarting(seen, now)
        case "HealthCheck":
            return restore_applied.health_check(seen, now)
        case "RollingBack":
            return restore_applied.rolling_back(seen, now)
        case _:
            return restore_begin.pending(seen, now)
