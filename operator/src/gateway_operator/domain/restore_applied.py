"""A GatewayRestore after the config was replaced: restart, health check, commit or rollback.

No deadline of the beginning counts here any more: what was begun is brought to an end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway_api.contract import RestoreResult, RestoreState, SystemHealthData, SystemStatus
from gateway_operator.domain import attempts
from gateway_operator.domain.actions import CallCommit, CallRollback, Poll, Restart, RestoreAction, Wait
from gateway_operator.domain.calls import Failure, NotFound
from gateway_operator.domain.gateway import Endpoint, Problem
from gateway_operator.domain.objects import Json, Restore
from gateway_operator.domain.reasons import Reason
from gateway_operator.domain.restore_end import finish, roll_back, step, step_started
from gateway_operator.domain.restore_observed import Observed

POLL: Final = 1.0
SETTLE: Final = 20.0
"""Seconds that a gateway which reloads its config by itself has to be Ready, before it is restarted after all."""
_LOOK: Final = 5.0


def marker(restore: Restore) -> str:
    """What is written on the pod template to restart the pods: once for the restore, once for its rollback."""
    return f"{restore.uid}-rollback" if restore.phase == "RollingBack" else restore.uid


def _since(restore: Restore, now: datetime) -> float:
    started = step_started(restore, restore.phase) or restore.time("startTime") or restore.meta.created
    return (now - started).total_seconds()


def _must_restart(seen: Observed, waited: float) -> bool | None:
    """Whether the pods have to be restarted; None while that is not known yet."""
    restore = seen.restore
    if restore.restart != "Auto":
        return restore.restart == "Always"
    if not seen.reloads_config:
        return True
    if isinstance(seen.gateway, Endpoint) and seen.gateway.pod_ready:
        return False
    if waited < SETTLE:
        return None
    return not seen.starting


def restarting(seen: Observed, now: datetime) -> RestoreAction:
    """Restart the pods where that is needed, and wait until the old ones are gone."""
    restore = seen.restore
    waited = _since(restore, now)
    if seen.rollout is not None and seen.rollout.done:
        return _to_health_check(restore, "The pods were restarted.", True, now)
    if waited >= restore.health_timeout:
        why = seen.rollout.message if seen.rollout is not None else "the workload is gone"
        return _unhealthy(seen, Reason.RestartFailed, f"The pods were not replaced in time: {why}.", now)
    if isinstance(seen.answer, Failure):
        return _wait(restore, seen.answer, now)
    if seen.rollout is None:
        return _wait_for(restore, seen.gateway, now)
    if seen.rollout.asked:
        return Poll(POLL)
    must = _must_restart(seen, waited)
    if must is None:
        return Poll(POLL)
    if must:
        return Restart(marker(restore))
    return _to_health_check(restore, "No restart was needed.", False, now)


def _to_health_check(restore: Restore, message: str, restarted: bool, now: datetime) -> RestoreAction:
    said = "The gateway is being watched on the restored config."
    return step(restore, "HealthCheck", Reason.HealthCheck, said, now, {"restarted": restarted}, ended=message)


def _wait(restore: Restore, failure: Failure, now: datetime) -> Wait:
    # The phase's own reason stays: after a rollback it tells why there was one.
    errors: Sequence[Json] = restore.status.get("lastErrors") or ()
    news = not errors or errors[-1].get("message") != failure.message
    asked = failure.retry_after if failure.retry_after is not None else _LOOK
    status = {"lastErrors": attempts.with_error(restore, failure, now)} if news else {}
    return Wait(max(1.0, min(30.0, asked)), status)


def _wait_for(restore: Restore, problem: Endpoint | Problem | None, now: datetime) -> RestoreAction:
    if isinstance(problem, Problem) and problem.forbidden:
        status = {"conditions": attempts.authorized(restore, problem, now), "message": problem.message}
        return Wait(_LOOK, status)
    return Poll(POLL)


def digest_problem(restore: Restore, health: SystemHealthData) -> str | None:
    """Why the live config is not what was restored; None if it is, or if the gateway only rewrote it."""
    status = restore.status
    if health.config_digest is not None and health.config_digest == status.get("restoredDigest"):
        return None
    if health.sections_digest is not None and health.sections_digest == status.get("sectionsDigest"):
        return None
    return "the config is no longer what was restored"


def health_problem(
    restore: Restore, gateway: Endpoint | Problem | None, health: SystemHealthData | Failure | None
) -> str | None:
    """Why one look counts as unhealthy; None if it was healthy."""
    if isinstance(gateway, Problem):
        return gateway.message.rstrip(".")
    if isinstance(health, Failure):
        return health.message.rstrip(".")
    if gateway is None or health is None:
        return "the gateway was not looked at"
    if health.status is SystemStatus.unhealthy:
        issues = "; ".join(issue.message for issue in health.issues[:3])
        return f"the detailed health says unhealthy ({issues or 'no details'})"
    changed = digest_problem(restore, health)
    if changed is not None:
        return changed
    return None if gateway.pod_ready else f"pod {gateway.pod} is not Ready"


def health_check(seen: Observed, now: datetime) -> RestoreAction:
    """Watch until it was healthy often enough in a row, then commit; or until the time is over."""
    restore = seen.restore
    record = seen.journal if isinstance(seen.journal, RestoreResult) else None
    if record is not None and record.state is RestoreState.committed:
        return _committed(restore, now)
    if record is not None and record.state is RestoreState.rolled_back:
        message = "It was rolled back by somebody else; the previous config is in place."
        return finish(restore, "RolledBack", Reason.RolledBack, message, now)
    if seen.healthy_streak >= restore.health_consecutive:
        return _commit(seen, now)
    waited = _since(restore, now)
    if waited < restore.health_timeout:
        return Poll(POLL)
    problem = health_problem(restore, seen.gateway, seen.health) or "it was healthy too seldom in a row"
    overwritten = isinstance(seen.health, SystemHealthData) and digest_problem(restore, seen.health) is not None
    reason = Reason.ConfigOverwritten if overwritten else Reason.HealthCheckFailed
    return _unhealthy(seen, reason, f"Not healthy within {restore.health_timeout} s: {problem}.", now)


def _commit(seen: Observed, now: datetime) -> RestoreAction:
    restore, answer = seen.restore, seen.answer
    if isinstance(answer, RestoreResult):
        return _committed(restore, now)
    if not isinstance(answer, Failure):
        return CallCommit(restore.request_id)
    # The config is in place and healthy: a commit that does not go through is no reason to undo anything.
    if attempts.may_pass(answer) and _since(restore, now) < restore.health_timeout + restore.timeout:
        return _wait(restore, answer, now)
    message = f"The gateway is healthy on the restored config, but the commit failed: {answer.sentence()}"
    return finish(restore, "Failed", answer.code, message, now)


def _committed(restore: Restore, now: datetime) -> RestoreAction:
    name = restore.source.get("backupName") or restore.source.get("path")
    return finish(restore, "Completed", Reason.Restored, f"{name} is the live config of {restore.gateway}.", now)


def _unhealthy(seen: Observed, reason: Reason, message: str, now: datetime) -> RestoreAction:
    restore = seen.restore
    if restore.on_failure == "Leave":
        how = (
            "onFailure is Leave: the restored config stays, uncommitted. End it on the gateway's admin API with POST "
            f"/api/v1/system/restores/{restore.request_id}/commit or …/rollback."
        )
        return finish(restore, "Failed", reason, f"{message} {how}", now)
    return roll_back(restore, reason, message, now)


def rolling_back(seen: Observed, now: datetime) -> RestoreAction:
    """Put the previous config back, and restart by the same rule."""
    restore = seen.restore
    # The answer of the rollback itself is as good as the journal, and newer.
    record = next((one for one in (seen.answer, seen.journal) if isinstance(one, RestoreResult)), None)
    waited = _since(restore, now)
    over = waited >= restore.timeout
    if record is not None and record.state is RestoreState.rolled_back:
        return _rolled_back(seen, over, now)
    if record is not None and record.state is RestoreState.committed:
        message = "It was committed by somebody else: there is nothing left to roll back to."
        return finish(restore, "RollbackFailed", Reason.RollbackFailed, message, now)
    if isinstance(seen.journal, NotFound):
        message = "The admin API knows nothing of this restore: its journal was lost, or the volume was changed."
        return finish(restore, "RollbackFailed", Reason.RollbackFailed, message, now)
    failure = next((one for one in (seen.answer, seen.journal) if isinstance(one, Failure)), None)
    if failure is not None and (over or not attempts.may_pass(failure)):
        return _cannot(restore, failure, now)
    if failure is not None:
        return _wait(restore, failure, now)
    if record is not None:
        return CallRollback(restore.request_id)
    if over:
        said = seen.gateway.message if isinstance(seen.gateway, Problem) else "The gateway could not be asked."
        return _cannot(restore, Failure(Reason.RollbackFailed, said, retryable=False), now)
    return _wait_for(restore, seen.gateway, now)


def _cannot(restore: Restore, failure: Failure, now: datetime) -> RestoreAction:
    was = str(restore.failure.get("message", ""))
    if failure.code == "ConfigChanged":
        message = (
            f"{was} Something wrote the config after the restore did, so it was not rolled back and stays as it is. "
            f"The config from before is still kept: POST /api/v1/system/restores/{restore.request_id}/rollback with "
            '{"force": true} puts it back, …/commit keeps what is there now.'
        )
        return finish(restore, "RollbackFailed", Reason.ConfigOverwritten, message, now)
    message = (
        f"{was} The rollback failed: {failure.sentence()} The config from before is still kept beside the live one: "
        f"POST /api/v1/system/restores/{restore.request_id}/rollback on the gateway's admin API puts it back."
    )
    errors = attempts.with_error(restore, failure, now)
    return finish(restore, "RollbackFailed", Reason.RollbackFailed, message, now, {"lastErrors": errors})


def _rolled_back(seen: Observed, over: bool, now: datetime) -> RestoreAction:
    restore = seen.restore
    # The reason why it was rolled back stays; it is what a person wants to know.
    cause = str(restore.failure.get("reason") or Reason.HealthCheckFailed)
    message = f"{restore.failure.get('message', '')} The previous config is back.".lstrip()
    if over or (seen.rollout is not None and seen.rollout.asked):
        return finish(restore, "RolledBack", cause, message, now)
    if isinstance(seen.answer, Failure):
        return _wait(restore, seen.answer, now)
    must = restore.restart == "Always" or (restore.restart == "Auto" and bool(restore.status.get("restarted")))
    if not must and restore.restart == "Auto" and not seen.reloads_config and seen.rollout is not None:
        must = True
    if not must:
        return finish(restore, "RolledBack", cause, message, now)
    return Restart(marker(restore)) if seen.rollout is not None else _wait_for(restore, seen.gateway, now)
