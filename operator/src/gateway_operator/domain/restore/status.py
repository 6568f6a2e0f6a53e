"""How a GatewayRestore's status moves from one phase to the next, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.rollout import Rollout
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.actions import Finish, KubernetesEvent, Write
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Restore

TERMINAL_RESTORE_PHASES: Final = frozenset({"Completed", "Failed", "RolledBack", "RollbackFailed"})


def is_terminal(restore: Restore) -> bool:
    """A record that never changes again."""
    return restore.phase in TERMINAL_RESTORE_PHASES


_KEPT_STEPS: Final = 20


def steps(
    restore: Restore, now: datetime, begun: str | None, ended: str | None = None, failed: str | None = None
) -> list[dict[str, Any]]:
    """The steps with the present one closed and the next one open."""
    result = [dict(one) for one in restore.status.get("steps") or ()]
    if result and "completionTime" not in result[-1]:
        result[-1]["completionTime"] = timestamps.text(now)
        if failed or ended:
            result[-1]["message"] = failed or ended
    if begun is not None:
        result.append({"name": begun, "startTime": timestamps.text(now)})
    return result[-_KEPT_STEPS:]


def step_started(restore: Restore, name: str) -> datetime | None:
    """When the step of that name last began."""
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
    more: Mapping[str, Any] | None = None,
    ended: str | None = None,
    note: KubernetesEvent | None = None,
) -> Write:
    """Enter a phase."""
    status = {
        "failure": None,
        **(more or {}),
        "phase": phase,
        "reason": str(reason),
        "message": message,
        "observedGeneration": restore.meta.generation,
        "attempt": 0,
        "nextRetryTime": None,
        "steps": steps(restore, now, phase, ended),
    }
    return Write(status, note)


def roll_back(restore: Restore, reason: str, why: str, now: datetime, more: Mapping[str, Any] | None = None) -> Write:
    """Enter RollingBack. ``status.failure`` keeps the cause until the end."""
    message = f"{why} The previous config is being put back."
    status = {**(more or {}), "failure": {"reason": str(reason), "message": why}}
    return step(restore, "RollingBack", reason, message, now, status, ended=why)


def finish(
    restore: Restore,
    phase: str,
    reason: str,
    message: str,
    now: datetime,
    more: Mapping[str, Any] | None = None,
) -> Finish:
    """The end."""
    succeeded = phase == "Completed"
    generation = restore.meta.generation
    # After a rollback the cause stays: why the config was rolled back, and not how that ended.
    cause = restore.failure if restore.phase == "RollingBack" else {}
    status = {
        **(more or {}),
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


def deadline_exceeded(restore: Restore, gateway: Endpoint | GatewayProblem | None, now: datetime) -> Finish:
    """Nothing was changed, and nothing will be. The cause stays the reason."""
    started = restore.time("startTime") is not None
    field = "timeoutSeconds" if started else "startingDeadlineSeconds"
    seconds = restore.timeout if started else restore.starting_deadline
    cause, detail = str(Reason.TimedOut if started else Reason.StartingDeadlineExceeded), ""
    if isinstance(gateway, GatewayProblem):
        cause, detail = str(gateway.reason), f" {gateway.message}"
    elif restore.failure:
        cause, detail = str(restore.failure.get("reason") or cause), f" {restore.failure.get('message', '')}"
    what = "Nothing was restored" if started else "It could not be started"
    return finish(restore, "Failed", cause, f"{what} within {seconds} s ({field}).{detail}", now)


@dataclass(frozen=True)
class RestoreObservation:
    """What one look gave. Each phase looks only at what it needs; the rest is None."""

    restore: Restore
    gateway: Endpoint | GatewayProblem | None = None
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
    identity: GatewayProblem | None = None
    """Why the age identity that the spec names cannot be used; looked at before anything is begun."""
    answer: RestoreResult | Failure | None = None
