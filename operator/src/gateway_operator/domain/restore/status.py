"""The inputs of a restore's decision, and the status writes that enter a phase or end the restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import ErrorCode, RestorePlan, RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.admission import InstalledPolicy
from gateway_operator.domain.gateway.rollout import Rollout
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.actions import Finish, KubernetesEvent, Write
from gateway_operator.domain.model.admin_api import Failure, NotFound, RestartRequested, counts_status
from gateway_operator.domain.model.names import RESTORE_FINALIZER
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore

TERMINAL_RESTORE_PHASES: Final = frozenset({"Completed", "Failed", "RolledBack", "RollbackFailed"})
CHANGING_PHASES: Final = frozenset({"Restoring", "Restarting", "HealthCheck", "RollingBack"})
"""The phases in which the gateway may hold the restore open."""


def is_terminal(restore: Restore) -> bool:
    """Whether the object has ended, and no end that a person requests afterwards remains to be carried out."""
    reopened = is_open(restore) and restore.end and not restore.end_action
    return restore.phase in TERMINAL_RESTORE_PHASES and not reopened


def is_open(restore: Restore) -> bool:
    """Whether a restore that has ended may be neither committed nor rolled back at the gateway.

    Then it stops the next restore, and a person or the deletion of the object ends it.
    """
    if restore.mode != "Apply":
        return False
    if restore.phase == "Failed":
        applied = bool(restore.status.get("restoredDigest")) and restore.reason != Reason.AlreadyApplied
        return applied or restore.reason == ErrorCode.RestoreStateUnknown
    return restore.phase == "RollbackFailed"


def needs_backups(restore: Restore) -> bool:
    """Whether its source and its safety backup must stay: until it has ended, also at the gateway."""
    return not is_terminal(restore) or is_open(restore)


def is_running(restore: Restore) -> bool:
    """Whether the restore changes its gateway now, so that other restores of this gateway wait."""
    return restore.mode == "Apply" and (restore.phase in CHANGING_PHASES or restore.phase == "SafetyBackup")


def has_work(restore: Restore) -> bool:
    """Whether a reconcile would change the object or its gateway."""
    if not is_terminal(restore):
        return True
    held = RESTORE_FINALIZER in restore.meta.finalizers
    if held and (restore.meta.deleting_since is not None or not is_open(restore)):
        return True
    return restore.status.get("observedGeneration") not in (None, restore.meta.generation)


_KEPT_STEPS: Final = 20


def steps(
    restore: Restore, now: datetime, begun: str | None, ended: str | None = None, failed: str | None = None
) -> list[dict[str, Any]]:
    """``status.steps`` with the current step ended and the next one started."""
    result = [dict(one) for one in restore.status.get("steps") or ()]
    if result and "completionTime" not in result[-1]:
        result[-1]["completionTime"] = timestamps.text(now)
        if failed or ended:
            result[-1]["message"] = failed or ended
    if begun is not None:
        result.append({"name": begun, "startTime": timestamps.text(now)})
    return result[-_KEPT_STEPS:]


def step_started(restore: Restore, name: str) -> datetime | None:
    """When the last step of that name started."""
    for one in reversed(restore.status.get("steps") or ()):
        if one.get("name") == name:
            return timestamps.parse(one.get("startTime"))
    return None


def step(
    restore: Restore,
    phase: str,
    reason: str,
    message: str,
    now: datetime,
    extra_status: Mapping[str, Any] | None = None,
    ended: str | None = None,
    event: KubernetesEvent | None = None,
    name: str | None = None,
) -> Write:
    """The status write that enters a phase. ``name``: the name of the step, if it is not the phase."""
    status = {
        "failure": None,
        **(extra_status or {}),
        "phase": phase,
        "reason": str(reason),
        "message": message,
        "observedGeneration": restore.meta.generation,
        "attempt": 0,
        "nextRetryTime": None,
        "steps": steps(restore, now, name or phase, ended),
    }
    return Write(status, event)


def roll_back(
    restore: Restore, reason: str, cause: str, now: datetime, extra_status: Mapping[str, Any] | None = None
) -> Write:
    """The status write that enters RollingBack. ``status.failure`` keeps the cause until the end."""
    # Durable before the rollback call: after a crash the restore continues to roll back and never commits.
    message = f"{cause} The previous config is being put back."
    status = {**(extra_status or {}), "failure": {"reason": str(reason), "message": cause}}
    return step(restore, "RollingBack", reason, message, now, status, ended=cause)


def reopened_status(restore: Restore, action: str, now: datetime) -> dict[str, Any]:
    """The fields that record an end on request. A restore that has ended continues, so its conditions are removed."""
    ended = (conditions.FINISHED, conditions.COMPLETED, conditions.FAILED)
    unfinished = [dict(one) for one in restore.conditions if one.get("type") not in ended]
    end = {"action": action, "time": timestamps.text(now)}
    return {"end": end, "completionTime": None, "conditions": unfinished}


def applied_status(record: RestoreResult, restore: Restore | None = None) -> dict[str, Any]:
    """The fields of the journal's record in the form of the status."""
    status: dict[str, Any] = {
        "previousDigest": record.previous_sha256,
        "restoredDigest": record.restored_sha256,
        "sectionsDigest": record.sections_digest,
        "counts": counts_status(record.counts),
    }
    return {**status, **safety_status(restore, record)}


def safety_status(restore: Restore | None, record: RestoreResult) -> dict[str, Any]:
    """``status.safetyBackup`` as the admin API reports it; empty if the recorded safety backup holds the config.

    The gateway may write its config after the safety backup. The admin API then says where the replaced config is.
    """
    recorded = {} if restore is None else restore.status.get("safetyBackup") or {}
    digest = recorded.get("sha256")
    if recorded.get("kind") == "backup" and digest is not None and digest == record.previous_sha256:
        return {}
    current = {"kind": record.safety_backup.kind, "path": record.safety_backup.path}
    return {"safetyBackup": {**recorded, **{key: value for key, value in current.items() if value is not None}}}


def kept_note(record: RestoreResult) -> str:
    """A sentence about a previous config that is in no backup; empty if it is in one."""
    if record.safety_backup.kind != "kept":
        return ""
    return (
        f" The previous config is in no backup yet. It is kept in the gateway's pod at {record.safety_backup.path} "
        "until the admin API has backed it up."
    )


def finish(
    restore: Restore,
    phase: str,
    reason: str,
    message: str,
    now: datetime,
    extra_status: Mapping[str, Any] | None = None,
) -> Finish:
    """The terminal status, with all conditions, in one write."""
    succeeded = phase == "Completed"
    generation = restore.meta.generation
    # After a rollback the cause stays: it says why the config was rolled back.
    cause = restore.failure if restore.phase == "RollingBack" else {}
    status = {
        **(extra_status or {}),
        "failure": None if succeeded else cause or {"reason": str(reason), "message": message},
        "phase": phase,
        "reason": str(reason),
        "message": message,
        "observedGeneration": generation,
        "completionTime": timestamps.text(now),
        "nextRetryTime": None,
        "steps": steps(restore, now, None, failed=None if succeeded else message),
        "conditions": conditions.terminal_conditions(
            restore.conditions, succeeded, str(reason), message, generation, now
        ),
    }
    return Finish(status, KubernetesEvent(str(reason), message, warning=not succeeded))


def deadline(restore: Restore) -> datetime:
    """The deadline for the start; once started, the deadline for the config to be replaced.

    The time to start begins again with the approval, which has a deadline of its own.
    """
    if restore.awaits_approval:
        return timestamps.parse(restore.approval.get("expiresAt")) or restore.meta.created
    begin = timestamps.parse(restore.approval.get("time")) or restore.meta.created
    return timestamps.deadline(begin, restore.starting_deadline, restore.time("startTime"), restore.timeout)


def deadline_exceeded(restore: Restore, gateway: Endpoint | GatewayProblem | None, now: datetime) -> Finish:
    """End a restore that changed nothing in time. The last problem stays the reason."""
    started = restore.time("startTime") is not None
    field = "timeoutSeconds" if started else "startingDeadlineSeconds"
    seconds = restore.timeout if started else restore.starting_deadline
    cause, detail = str(Reason.TimedOut if started else Reason.StartingDeadlineExceeded), ""
    if isinstance(gateway, GatewayProblem):
        cause, detail = str(gateway.reason), f" {gateway.message}"
    elif restore.failure:
        cause, detail = str(restore.failure.get("reason") or cause), f" {restore.failure.get('message', '')}"
    outcome = "Nothing was restored" if started else "It could not be started"
    return finish(restore, "Failed", cause, f"{outcome} within {seconds} s ({field}).{detail}", now)


@dataclass(frozen=True)
class RestoreObservation:
    """The inputs of one decision. Each phase observes what it needs; the rest is None.

    ``key_version`` is the version of the Secret with the admin key that this observation and its calls use.
    ``journal`` is the admin API's record of the restore. ``safety`` is the GatewayBackup of the live config. ``answer``
    is the result of this run's last call. ``healthy_streak`` counts the healthy observations in a row.
    """

    restore: Restore
    gateway: Endpoint | GatewayProblem | None = None
    key_version: str = ""
    reloads_config: bool = False
    health: SystemHealthData | Failure | None = None
    persistent: bool | None = None
    journal: RestoreResult | NotFound | Failure | None = None
    backups: Sequence[Backup] = ()
    safety: Backup | None = None
    rollout: Rollout | None = None
    starting: bool = False
    healthy_streak: int = 0
    pending_owner: str | None = None
    """The name of the GatewayRestore whose restore is open at the gateway."""
    running_restore: str | None = None
    """The name of another GatewayRestore that changes the gateway now."""
    volumes_problem: GatewayProblem | None = None
    """``VolumesDiffer``, if the replicas of the gateway do not share their volumes."""
    restart_obstacle: GatewayProblem | None = None
    """Why the pods could not be restarted. It is checked before the config is replaced."""
    identity_problem: GatewayProblem | None = None
    """Why the age identity that the spec names cannot be used. It is checked before the config is replaced."""
    approval_required: bool = False
    """Whether the workload requires that a second person approves restores."""
    approval_timeout: str = ""
    """The workload's annotation: how long to wait for the approval; empty for the default."""
    policy: InstalledPolicy | None = None
    """The admission policy that protects approvals, if this restore needs one."""
    pending_owner_runs: bool = False
    """Whether the GatewayRestore ``pending_owner`` has not ended. Then nobody else may end its restore."""
    answer: RestoreResult | RestorePlan | RestartRequested | Failure | None = None
