"""Decides the next step of a GatewayRestore with ``mode: Drill``: a pure function of an observation and the time.

    Pending     wait for a gateway that answers                                -> Validating
    Validating  resolve the source; check the identity and the pod template    -> Drilling
    Drilling    create the NetworkPolicy, then the pod; upload the backup and restore it in the pod; wait until the
                pod is Ready; compare the counts; record the outcome; delete pod and policy -> Completed | Failed

Each step follows from the objects that exist, so a crash at any point repeats no side effect. The live gateway is only
read. The outcome is durable before the pod is deleted, and the object ends only after that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_api.contract import RestoreResult, RestoreState, SystemHealthData
from gateway_operator.domain.drill import pod_state
from gateway_operator.domain.drill.actions import (
    CommitInPod,
    CreatePod,
    CreatePolicy,
    DrillAction,
    DrillObservation,
    RestoreInPod,
)
from gateway_operator.domain.drill.cleanup import CLEANUP_POLL_SECONDS, clean_up, cleanup_is_over, end
from gateway_operator.domain.drill.pod import gateway_image, obstacle
from gateway_operator.domain.drill.status import (
    drill_of,
    outcome,
    outcome_of,
    seconds_since,
    with_drill,
)
from gateway_operator.domain.gateway.workload import Endpoint, pod_ready
from gateway_operator.domain.model import retry, timestamps
from gateway_operator.domain.model.actions import Done, Finish, RecheckSoon, Wait, Write
from gateway_operator.domain.model.admin_api import Failure, counts_status
from gateway_operator.domain.model.names import drill_name
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore import prepare
from gateway_operator.domain.restore.obstacles import invalid_field, wait_or_end
from gateway_operator.domain.restore.source import Refusal, resolve
from gateway_operator.domain.restore.status import (
    RestoreObservation,
    deadline,
    deadline_exceeded,
    finish,
    is_terminal,
    step,
)

POLL_SECONDS: Final = 1.0
_MIN_CALL_SECONDS: Final = 5.0


def plan_seconds(restore: Restore) -> int:
    """``activeDeadlineSeconds`` of the pod: longer than the drill, so that the operator reports the cause."""
    return restore.timeout + 60


def decide(observed: DrillObservation, now: datetime) -> DrillAction:
    """The next action for this observation."""
    restore = observed.restore
    if is_terminal(restore):
        return Done()
    if outcome_of(restore):
        return clean_up(observed, now)
    if restore.phase in ("", "Pending", "Validating") and (problem := _invalid(restore)):
        return finish(restore, "Failed", Reason.SpecInvalid, problem, now)
    if observed.answer is None:
        then = retry.pending_retry(restore, now)
        if then is not None and now < deadline(restore):
            # Requeue for the recorded time, which is the same after a restart of the operator.
            return Wait(timestamps.seconds_until(then, now))
    match restore.phase:
        case "Drilling":
            return _drilling(observed, now)
        case "Validating":
            return _validating(observed, now)
        case _:
            return _pending(observed, now)


def after_error(restore: Restore, failure: Failure, now: datetime) -> DrillAction:
    """The next action for a drill whose last run ended with an exception, so nothing was observed."""
    if is_terminal(restore):
        return Done()
    if outcome_of(restore):
        return end(restore, now) if cleanup_is_over(restore, now) else Wait(CLEANUP_POLL_SECONDS)
    if restore.phase == "Drilling":
        return _failed(restore, failure, now)
    return _call_failed(restore, failure, now)


def _invalid(restore: Restore) -> str:
    if restore.factory_reset is not None:
        return "spec.factoryReset uses no backup, so there is nothing to drill."
    return invalid_field(restore)


def _pending(observed: DrillObservation, now: datetime) -> DrillAction:
    action = prepare.pending(
        RestoreObservation(observed.restore, observed.gateway, health=observed.health, answer=observed.answer), now
    )
    if not isinstance(action, Write | Wait | Finish):
        raise AssertionError(f"The action {action} is not one of a drill.")
    return action


def _call_failed(restore: Restore, failure: Failure, now: datetime) -> Write | Wait | Finish:
    """Retry or end after a failure, while there is no drill pod yet."""
    if retry.is_retryable(failure) and now < deadline(restore):
        return retry.retry(restore, failure, now)
    errors = retry.with_error(restore, failure, now)
    return finish(restore, "Failed", failure.code, failure.sentence(), now, {"lastErrors": errors})


def _validating(observed: DrillObservation, now: datetime) -> DrillAction:
    restore = observed.restore
    if observed.answer is not None:
        return _call_failed(restore, observed.answer, now)
    if now >= deadline(restore):
        return deadline_exceeded(restore, observed.identity_problem or observed.gateway, now)
    if not isinstance(observed.gateway, Endpoint) or observed.workload is None:
        problem = observed.gateway if isinstance(observed.gateway, GatewayProblem) else None
        return retry.wait_for_gateway(restore, problem, deadline(restore), now)
    if not isinstance(observed.health, SystemHealthData) or observed.health.volume_id is None:
        unknown = Failure(Reason.VolumeUnknown, "The admin API does not say which volume it has.", retryable=True)
        return _call_failed(restore, observed.health if isinstance(observed.health, Failure) else unknown, now)
    if not restore.source:
        return _resolve(observed, observed.health.volume_id, now)
    if observed.identity_problem is not None:
        action = wait_or_end(restore, observed.identity_problem, now)
        if isinstance(action, Wait | Finish):
            return action
    problem_text = obstacle(observed.workload)
    if problem_text:
        return finish(restore, "Failed", Reason.DrillNotPossible, problem_text, now)
    # Durable before the first object is created: the next run knows from the phase which objects it must delete.
    drill = with_drill(
        restore,
        pod=drill_name(restore.meta.ref.name, restore.uid),
        image=gateway_image(observed.workload),
        startTime=timestamps.precise(now),
    )
    return step(restore, "Drilling", Reason.Drilling, "The drill pod is being created.", now, drill)


def _resolve(observed: DrillObservation, volume_id: str, now: datetime) -> Write | Finish:
    restore = observed.restore
    source = resolve(restore, observed.backups, volume_id)
    if isinstance(source, Refusal):
        return finish(restore, "Failed", source.reason, source.message, now)
    # Durable before the drill: `latest` must mean the same backup after a restart of the operator.
    return Write({"source": source.status(), "volumeID": volume_id})


def _drilling(observed: DrillObservation, now: datetime) -> DrillAction:
    restore, pod = observed.restore, observed.pod
    if now >= deadline(restore):
        return _timed_out(observed, now)
    if observed.answer is not None:
        return _failed(restore, observed.answer, now)
    if pod is None:
        return _without_pod(observed, now)
    name = drill_of(restore).get("pod")
    if not pod_state.belongs_to(pod, restore.uid):
        message = f"A pod {name} exists that this drill did not create: delete it, and create the drill again."
        return outcome(restore, Reason.DrillPodRejected, message, now)
    if drill_of(restore).get("podUID") != pod["metadata"]["uid"]:
        return _adopt(restore, pod, now)
    failure = pod_state.failure_of(pod)
    if failure is not None:
        fields = {"isolated": False} if failure.reason == Reason.NotIsolated else {}
        return outcome(restore, failure.reason, _with_advice(failure), now, fields)
    if not isinstance(observed.address, Endpoint):
        # The containers start within seconds, and there is no watch of pods: observe again in this run.
        return RecheckSoon(POLL_SECONDS)
    return _in_pod(observed, pod, now)


def _without_pod(observed: DrillObservation, now: datetime) -> DrillAction:
    restore = observed.restore
    if drill_of(restore).get("podUID"):
        message = f"Pod {drill_of(restore).get('pod')} was deleted during the drill."
        return outcome(restore, Reason.DrillPodFailed, message, now)
    if not isinstance(observed.gateway, Endpoint):
        problem = observed.gateway if isinstance(observed.gateway, GatewayProblem) else None
        return retry.wait_for_gateway(restore, problem, deadline(restore), now)
    if not isinstance(observed.health, SystemHealthData):
        return _failed(restore, observed.health, now) if observed.health is not None else RecheckSoon(POLL_SECONDS)
    # The policy comes first: the pod must not run for a moment without it.
    return CreatePod() if observed.has_policy else CreatePolicy()


def _adopt(restore: Restore, pod: Json, now: datetime) -> Write:
    """Record the pod. A pod of this name that is created later is then never taken for it."""
    status: dict[str, Any] = with_drill(restore, podUID=pod["metadata"]["uid"])
    status |= {"reason": str(Reason.Drilling), "message": "The drill pod is starting.", "nextRetryTime": None}
    fixed = retry.authorized_conditions(restore, None, now)
    return Write({**status, **({"conditions": fixed} if fixed is not None else {})})


def _in_pod(observed: DrillObservation, pod: Json, now: datetime) -> DrillAction:
    restore, journal = observed.restore, observed.journal
    if isinstance(journal, Failure):
        return _failed(restore, journal, now)
    if not isinstance(journal, RestoreResult):
        left = timestamps.seconds_until(deadline(restore), now)
        return RestoreInPod(max(_MIN_CALL_SECONDS, left))
    if journal.state is RestoreState.applied:
        return CommitInPod()
    if journal.state is not RestoreState.committed:
        message = f"The restore in the drill pod ended as {journal.state.value}."
        return outcome(restore, Reason.DrillPodFailed, message, now)
    if not drill_of(restore).get("restoredTime"):
        drill = with_drill(restore, restoredTime=timestamps.precise(now), isolated=not pod_state.isolation_answer(pod))
        message = "The backup is restored in the drill pod; its gateway is starting."
        # Durable: the time until the gateway is Ready counts from here, also after a crash.
        return Write({**drill, "restoredDigest": journal.restored_sha256, "message": message, "nextRetryTime": None})
    if not pod_ready(pod):
        # The restored gateway starts within seconds or minutes: observe again in this run.
        return RecheckSoon(POLL_SECONDS)
    if not isinstance(observed.drilled, SystemHealthData):
        return _failed(restore, observed.drilled, now) if observed.drilled is not None else RecheckSoon(POLL_SECONDS)
    return _compare(observed, journal, pod, now)


def _compare(observed: DrillObservation, journal: RestoreResult, pod: Json, now: datetime) -> Write:
    restore, health = observed.restore, observed.drilled
    if not isinstance(health, SystemHealthData):
        raise AssertionError("The counts are compared only after the health was read.")
    restored = counts_status(journal.counts)
    running = {
        "configs": health.total_configs,
        "projects": health.total_projects,
        "users": health.total_users,
        "apiKeys": health.total_api_keys,
    }
    ready = seconds_since(drill_of(restore).get("restoredTime"), now)
    fields = {"counts": restored, "readySeconds": ready}
    differences = [f"{name} {restored[name]} → {value}" for name, value in running.items() if restored[name] != value]
    if differences:
        message = f"The gateway started with other counts than the backup has: {', '.join(differences)}."
        return outcome(restore, Reason.CountsDiffer, message, now, fields)
    counts = ", ".join(f"{name} {value}" for name, value in running.items())
    message = f"The gateway was Ready {ready} s after the restore in the drill pod, with the backup's counts: {counts}."
    reached = pod_state.isolation_answer(pod)
    if reached:
        message = f"{message} Isolation was not enforced: {reached}"
    return outcome(restore, Reason.Drilled, message, now, fields)


def _failed(restore: Restore, failure: Failure, now: datetime) -> Write | Wait:
    """Retry or end the drill after a failed call. Both keep the pod; only an outcome lets it be deleted."""
    if failure.code == Reason.NotAuthorized and now < deadline(restore):
        problem = GatewayProblem(failure.code, failure.message, forbidden=True)
        return retry.wait_for_gateway(restore, problem, deadline(restore), now)
    if retry.is_retryable(failure) and now < deadline(restore):
        return retry.retry(restore, failure, now)
    return outcome(restore, failure.code, failure.sentence(), now)


def _with_advice(failure: pod_state.PodFailure) -> str:
    if failure.reason != Reason.NotIsolated:
        return failure.message
    return (
        f"{failure.message} No network policy engine isolates the drill pod, so the backup was not restored in it. "
        "docs/drills.md says how to accept that for a gateway."
    )


def _timed_out(observed: DrillObservation, now: datetime) -> Write:
    """End at the deadline. Without a pod the last problem, such as a missing permission, stays the reason."""
    restore = observed.restore
    message = f"The drill did not end within {restore.timeout} s (timeoutSeconds)."
    if observed.pod is not None:
        message = f"{message} Pod {drill_of(restore).get('pod')}: {pod_state.waits_for(observed.pod)}."
        return outcome(restore, Reason.DrillTimedOut, message, now)
    cause = restore.failure or {}
    reason = str(cause.get("reason") or Reason.DrillTimedOut)
    return outcome(restore, reason, f"{message} {cause.get('message', '')}".strip(), now)
