"""Decides the next step of a GatewayRestore: a pure function of an observation and the time.

A restore is a transaction over these phases, each entered by one durable status write:

    Pending       wait for a gateway that answers                             -> Validating
    Validating    record the request id, then the resolved source; dry run    -> SafetyBackup | Completed
    SafetyBackup  create a GatewayBackup of the live config, wait for its end -> Restoring
    Restoring     call the restore until it is answered                       -> Restarting | RollingBack
    Restarting    restart the pods if necessary                               -> HealthCheck | RollingBack
    HealthCheck   healthy often enough: call the commit                       -> Completed | RollingBack
    RollingBack   call the rollback, restart the pods if necessary            -> RolledBack | RollbackFailed

A person can end a restore with ``spec.end`` or by deleting it: see `ending`. From Restoring until its end the object
has a finalizer, which a restore that is still open at the gateway keeps.

In mode DryRun the dry run is the result: Completed follows Validating, without a request id. Every phase may end in
Failed. Before the admin API's journal says ``applied``, that means that nothing was changed.
After it, the restored config is live and not committed, for example because ``onFailure: Leave`` requests that. The
journal is read before a call is repeated, so a crash at any point repeats no side effect.
"""

from __future__ import annotations

from datetime import datetime

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import RestoreAction, Wait
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.names import RESTORE_FINALIZER
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.model.retry import pending_retry
from gateway_operator.domain.restore import after_apply, ending, prepare, rolling_back
from gateway_operator.domain.restore.obstacles import invalid_field
from gateway_operator.domain.restore.status import TERMINAL_RESTORE_PHASES, RestoreObservation, finish, is_open
from gateway_operator.domain.restore.validating import validating


def needs_gateway(restore: Restore, now: datetime) -> bool:
    """Whether an observation of the gateway could change the decision."""
    if restore.phase in TERMINAL_RESTORE_PHASES:
        # Only the deletion of a restore that is still open needs it.
        held = restore.meta.deleting_since is not None and RESTORE_FINALIZER in restore.meta.finalizers
        return held and is_open(restore)
    return not (pending_retry(restore, now) and restore.meta.deleting_since is None)


def decide(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """The next action for this observation."""
    restore = observed.restore
    if restore.phase in TERMINAL_RESTORE_PHASES:
        return ending.after_end(observed, now)
    held = ending.hold(restore)
    if held is not None:
        # Durable before the call that may replace the config: a deletion from now on waits for the rollback.
        return held
    interrupted = ending.interrupt(observed, now)
    if interrupted is not None:
        return interrupted
    # Before any source is resolved. Later phases have a source already, and their spec cannot have changed.
    if restore.phase in ("", "Pending", "Validating") and (problem := invalid_field(restore)):
        return finish(restore, "Failed", Reason.SpecInvalid, problem, now)
    # A failure of this run is handled at once: it sets the next retry time.
    if not isinstance(observed.answer, Failure):
        retry = pending_retry(restore, now)
        if retry is not None:
            # Requeue for the recorded time, which is the same after a restart of the operator.
            return Wait(timestamps.seconds_until(retry, now))
    match restore.phase:
        case "Validating":
            return validating(observed, now)
        case "SafetyBackup":
            return prepare.safety_backup(observed, now)
        case "Restoring":
            return prepare.restoring(observed, now)
        case "Restarting":
            return after_apply.restarting(observed, now)
        case "HealthCheck":
            return after_apply.health_check(observed, now)
        case "RollingBack":
            return rolling_back.rolling_back(observed, now)
        case _:
            return prepare.pending(observed, now)
