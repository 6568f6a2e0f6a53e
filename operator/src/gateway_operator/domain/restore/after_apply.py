"""Decides the steps of a GatewayRestore after the config was replaced: restart, health check, commit or rollback.

The deadlines of the spec's preparation no longer apply. The restore always ends in a commit, a rollback or a message
that tells a person how to end it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import RestoreResult, RestoreState, SystemHealthData, SystemStatus
from gateway_operator.domain.gateway.rollout import Rollout
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import retry
from gateway_operator.domain.model.actions import (
    CallCommit,
    KubernetesEvent,
    RecheckSoon,
    Restart,
    RestoreAction,
    Wait,
    Write,
)
from gateway_operator.domain.model.admin_api import Failure, RestartRequested
from gateway_operator.domain.model.names import ADMIN_KEY_SECRET
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.commands import COMMIT, both_commands, ways_on
from gateway_operator.domain.restore.status import (
    RestoreObservation,
    finish,
    kept_note,
    reopened_status,
    roll_back,
    safety_status,
    step,
    step_started,
)

POLL_SECONDS: Final = 1.0
RELOAD_SECONDS: Final = 20.0
"""Seconds for a gateway that reloads its config by itself to become Ready. After them it is restarted."""
_RETRY_SECONDS: Final = 5.0
_RECORDED_PODS: Final = 100
_NEW_KEY_REMEDY: Final = (
    " The restored config has another admin key, and the gateway does not accept the operator's: add the key of the "
    f"restored config to the Secret that the annotation {ADMIN_KEY_SECRET} of the gateway names."
)


def marker(restore: Restore) -> str:
    """The annotation value on the pod template that restarts the pods: one for the restore, one for its rollback."""
    return f"{restore.uid}-rollback" if restore.phase == "RollingBack" else restore.uid


def seconds_in_phase(restore: Restore, now: datetime) -> float:
    """Seconds since the phase began. A time in the future is a mistake of a clock and does not count."""
    times = (step_started(restore, restore.phase), restore.time("startTime"), restore.meta.created)
    started = next((one for one in times if one is not None and one <= now), now)
    return (now - started).total_seconds()


def _must_restart(observed: RestoreObservation, waited: float) -> bool | None:
    """Whether the pods must be restarted; None while that is not decided yet."""
    restore = observed.restore
    if restore.restart != "Auto":
        return restore.restart == "Always"
    if not observed.reloads_config:
        return True
    if isinstance(observed.gateway, Endpoint) and observed.gateway.pod_ready:
        return False
    if waited < RELOAD_SECONDS:
        return None
    # A starting pod reads the restored config. If it takes half of the time, it does not start: restart it as well.
    return None if observed.starting and waited < observed.restore.health_timeout / 2 else True


def restarting(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Restart the pods if necessary and wait until all old ones are replaced."""
    restore = observed.restore
    waited = seconds_in_phase(restore, now)
    if observed.rollout is not None and observed.rollout.done:
        return _to_health_check(observed, "The pods were restarted.", True, now)
    if waited >= restore.health_timeout:
        cause = observed.rollout.message if observed.rollout is not None else "the workload no longer exists"
        return unhealthy(observed, Reason.RestartFailed, f"The pods were not replaced in time: {cause}.", now)
    if isinstance(observed.answer, Failure):
        return wait(restore, observed.answer, now)
    if observed.rollout is None:
        return wait_for_gateway(restore, observed.gateway, now)
    if observed.rollout.recorded:
        # The controller replaces the pods, and there is no watch of pods: observe again in this run.
        return RecheckSoon(POLL_SECONDS)
    if observed.rollout.requested or isinstance(observed.answer, RestartRequested):
        return record_restart(observed, observed.rollout)
    must = _must_restart(observed, waited)
    if must is None:
        # The gateway may still reload its config by itself: observe again in this run.
        return RecheckSoon(POLL_SECONDS)
    if must:
        # The pod template stores the marker, so a repeated call after a crash restarts the pods once.
        return Restart(marker(restore))
    return _to_health_check(observed, "No restart was needed.", False, now)


def record_restart(observed: RestoreObservation, progress: Rollout) -> Write:
    """Record that the workload was patched.

    Durable: it is never patched again for this restart, also if something removes the marker from the pod template.
    """
    # After a crash there is no answer. The marker in the pod template then says that the workload was patched.
    answer = observed.answer
    old_pods = answer.old_pods if isinstance(answer, RestartRequested) else progress.old_pods
    return Write({"restart": {"marker": marker(observed.restore), "oldPods": list(old_pods[:_RECORDED_PODS])}})


def _to_health_check(observed: RestoreObservation, message: str, restarted: bool, now: datetime) -> RestoreAction:
    restore = observed.restore
    next_message = "The gateway's health on the restored config is being checked."
    status = {"restarted": restarted, **_key_status(observed)}
    # Durable: after a crash the pods are not restarted again.
    return step(restore, "HealthCheck", Reason.HealthCheck, next_message, now, status, ended=message)


def wait(restore: Restore, failure: Failure, now: datetime, message: str = "") -> Wait:
    """Record a failure of a step and requeue. The phase and its reason stay, and the message if none is given."""
    # The reason of the phase stays: in RollingBack it is the cause of the rollback. The error goes to lastErrors.
    errors: Sequence[Json] = restore.status.get("lastErrors") or ()
    is_new = not errors or errors[-1].get("message") != failure.message
    asked = failure.retry_after if failure.retry_after is not None else _RETRY_SECONDS
    status: dict[str, Any] = {"lastErrors": retry.with_error(restore, failure, now)} if is_new else {}
    if message:
        status["message"] = message
    event = KubernetesEvent(str(failure.code), failure.message, warning=True) if is_new else None
    return Wait(max(1.0, min(30.0, asked)), status, event)


def wait_for_gateway(restore: Restore, problem: Endpoint | GatewayProblem | None, now: datetime) -> RestoreAction:
    """Observe again soon; requeue while a permission is missing."""
    if isinstance(problem, GatewayProblem) and problem.forbidden:
        status = {"conditions": retry.authorized_conditions(restore, problem, now), "message": problem.message}
        return Wait(_RETRY_SECONDS, status)
    return RecheckSoon(POLL_SECONDS)


def digest_problem(restore: Restore, health: SystemHealthData) -> str | None:
    """Why the live config is not the restored one; None if it is, or if the gateway only formatted it differently."""
    status = restore.status
    if health.config_digest is not None and health.config_digest == status.get("restoredDigest"):
        return None
    if health.sections_digest is not None and health.sections_digest == status.get("sectionsDigest"):
        return None
    return "the live config is no longer the restored one"


def health_problem(
    restore: Restore, gateway: Endpoint | GatewayProblem | None, health: SystemHealthData | Failure | None
) -> str | None:
    """Why one observation counts as unhealthy; None if it was healthy."""
    if isinstance(gateway, GatewayProblem):
        return gateway.message.rstrip(".")
    if isinstance(health, Failure):
        return health.message.rstrip(".")
    if gateway is None or health is None:
        return "the gateway was not observed"
    if health.status is SystemStatus.unhealthy:
        issues = "; ".join(issue.message for issue in health.issues[:3])
        return f"the detailed health says unhealthy ({issues or 'no details'})"
    changed = digest_problem(restore, health)
    if changed is not None:
        return changed
    return None if gateway.pod_ready else f"pod {gateway.pod} is not Ready"


def health_check(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Commit after enough healthy observations in a row; act on ``onFailure`` when the time is over."""
    restore = observed.restore
    record = observed.journal if isinstance(observed.journal, RestoreResult) else None
    # The journal first: a commit whose answer was lost has happened, and a person may have ended the restore by hand.
    if record is not None and record.state is RestoreState.committed:
        return _committed(observed, record, now)
    if record is not None and record.state is RestoreState.rolled_back:
        message = "Someone else rolled the restore back through the admin API; the previous config is live."
        return finish(restore, "RolledBack", Reason.RolledBack, message, now)
    # Also when the time for the health check is over: the gateway was healthy, or a person wants to keep the config.
    if restore.reason == Reason.Committing:
        return _commit(observed, now)
    if restore.end == COMMIT:
        return start_commit(restore, now, _key_status(observed))
    if observed.healthy_streak >= restore.health_consecutive:
        # Durable before the call. Its repetition counts no healthy observations again, and the commit may change the
        # accepted admin key, so that no health can be observed after it.
        message = "The gateway is healthy on the restored config, which is being committed."
        return Write({"reason": str(Reason.Committing), "message": message, **_key_status(observed)})
    waited = seconds_in_phase(restore, now)
    if waited < restore.health_timeout:
        return RecheckSoon(POLL_SECONDS)
    problem = health_problem(restore, observed.gateway, observed.health) or "it was not healthy often enough in a row"
    overwritten = isinstance(observed.health, SystemHealthData) and digest_problem(restore, observed.health) is not None
    reason = Reason.ConfigOverwritten if overwritten else Reason.HealthCheckFailed
    return unhealthy(observed, reason, f"Not healthy within {restore.health_timeout} s: {problem}.", now)


def _commit(observed: RestoreObservation, now: datetime) -> RestoreAction:
    restore, answer = observed.restore, observed.answer
    if isinstance(answer, RestoreResult):
        return _committed(observed, answer, now)
    if _key_has_ended(observed):
        return _committed(observed, None, now)
    if isinstance(observed.gateway, GatewayProblem) and not isinstance(answer, Failure):
        answer = Failure(observed.gateway.reason, observed.gateway.message, retryable=True)
    if not isinstance(answer, Failure):
        # If the answer is lost, the next run reads `committed` from the journal.
        return CallCommit(restore.request_id)
    # A failed commit does not roll back: the gateway was healthy on the restored config, or a person wants to keep it.
    if retry.is_retryable(answer) and seconds_in_phase(restore, now) < restore.health_timeout + restore.timeout:
        return wait(restore, answer, now, f"The commit failed and is repeated: {answer.sentence()}")
    key = _key_remedy(answer)
    message = f"The restored config is live, but the commit failed: {answer.sentence()}{key} {ways_on(restore)}"
    return finish(restore, "Failed", answer.code, message, now)


def _key_status(observed: RestoreObservation) -> dict[str, Any]:
    """The record of a key that is accepted only until the commit: the version of its Secret. Empty if it stays."""
    health = observed.health
    pending = health.pending_restore if isinstance(health, SystemHealthData) else None
    if pending is None or pending.request_id != observed.restore.request_id or not pending.key_ends_with_commit:
        return {}
    return {"keySecretVersion": observed.key_version}


def _key_has_ended(observed: RestoreObservation) -> bool:
    """Whether the commit has happened, although its answer was lost and the journal can no longer be read.

    The gateway accepts such a key while the restore is open, and also after a rollback. So only the commit ended it.
    This holds for the recorded key alone: another key in the Secret may be wrong, and its refusal proves nothing.
    """
    refused = any(isinstance(one, Failure) and _key_remedy(one) for one in (observed.answer, observed.health))
    return refused and observed.restore.status.get("keySecretVersion", "") == observed.key_version != ""


def _committed(observed: RestoreObservation, record: RestoreResult | None, now: datetime) -> RestoreAction:
    """End a committed restore. ``record``: None if the operator can no longer read it."""
    restore = observed.restore
    name = restore.source.get("backupName") or restore.source.get("path") or "An empty config"
    kept = kept_note(record) if record is not None else ""
    message = f"{name} is the live config of {restore.gateway}.{kept}{_key_remedy(observed.health)}"
    status = safety_status(restore, record) if record is not None else {}
    return finish(restore, "Completed", Reason.Restored, message, now, status)


def _key_remedy(failure: object) -> str:
    """A sentence if this is the failure that the gateway does not accept the operator's key; else empty."""
    return _NEW_KEY_REMEDY if isinstance(failure, Failure) and failure.code in retry.KEY_ROTATION_CODES else ""


def unhealthy(observed: RestoreObservation, reason: Reason, message: str, now: datetime) -> RestoreAction:
    """Roll back, or end with the restored config, as ``onFailure`` says. A requested commit is carried out."""
    restore = observed.restore
    if restore.end == COMMIT:
        return start_commit(restore, now, _key_status(observed))
    if restore.on_failure == "Leave":
        instructions = f"onFailure is Leave: the restored config stays and is not committed. {both_commands(restore)}"
        return finish(restore, "Failed", reason, f"{message} {instructions}", now)
    return roll_back(restore, reason, message, now)


def start_commit(restore: Restore, now: datetime, extra_status: Mapping[str, Any] | None = None) -> Write:
    """The status write that permits the commit that a person requested, also of a restore that has ended already."""
    message = "A commit was requested (spec.end). The gateway's health no longer matters."
    status = {**reopened_status(restore, COMMIT, now), **(extra_status or {})}
    return step(restore, "HealthCheck", Reason.Committing, message, now, status, ended="A commit was requested.")
