"""Decides after a run of a restore that ended with an exception, so nothing was observed.

Before the config is replaced, the error is retried like a failed call. Afterwards a single error decides nothing: only
errors that last much longer than the phase may take end in a rollback, which reads the journal first.
"""

from __future__ import annotations

from datetime import datetime

from gateway_operator.domain.model.actions import RestoreAction
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore import after_apply, ending, prepare, rolling_back
from gateway_operator.domain.restore.status import TERMINAL_RESTORE_PHASES, RestoreObservation


def after_error(restore: Restore, failure: Failure, now: datetime) -> RestoreAction:
    """The next action for a restore whose last run ended with this failure."""
    observed = RestoreObservation(restore, answer=failure)
    if restore.phase in TERMINAL_RESTORE_PHASES:
        return ending.after_end(observed, now)
    interrupted = ending.interrupt(observed, now)
    if interrupted is not None:
        return interrupted
    match restore.phase:
        case "Restoring":
            return prepare.restoring(observed, now)
        case "RollingBack":
            return rolling_back.rolling_back(observed, now)
        case "Restarting" | "HealthCheck":
            limit = restore.health_timeout + restore.timeout
            if after_apply.seconds_in_phase(restore, now) < limit:
                return after_apply.wait(restore, failure, now)
            message = f"The phase {restore.phase} did not end within {limit} s. {failure.sentence()}"
            return after_apply.unhealthy(observed, Reason.InternalError, message, now)
        case _:
            return prepare.call_failed(observed, failure, now)
