"""Reads from a drill's pod whether it failed, whether it is isolated, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway_operator.domain.drill.pod import ISOLATION_CONTAINER
from gateway_operator.domain.gateway.workload import controller, has_ended
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json

NOT_ISOLATED_EXIT_CODE: Final = 3
"""Exit code of `gateway-admin drill isolation` after an answer."""


@dataclass(frozen=True, slots=True)
class PodFailure:
    """Why the pod of a drill can no longer prove anything."""

    reason: str
    message: str


def belongs_to(pod: Json, restore_uid: str) -> bool:
    """Whether the restore controls the pod. Any other pod of its name is never called."""
    return bool(controller(pod).get("uid") == restore_uid)


def _statuses(pod: Json, field: str) -> Iterator[tuple[str, Json]]:
    for one in (pod.get("status") or {}).get(field) or ():
        yield str(one.get("name")), one.get("state") or {}


def _isolation_result(pod: Json) -> dict[str, Any] | None:
    for name, state in _statuses(pod, "initContainerStatuses"):
        if name == ISOLATION_CONTAINER and "terminated" in state:
            return dict(state["terminated"])
    return None


def isolation_answer(pod: Json) -> str | None:
    """Which addresses the pod reached; empty if it is isolated, None while that is not known."""
    result = _isolation_result(pod)
    if result is None or result.get("exitCode") not in (0, NOT_ISOLATED_EXIT_CODE):
        return None
    return str(result.get("message") or "").strip()


def failure_of(pod: Json) -> PodFailure | None:
    """Why the pod failed; None while it may still become Ready."""
    result = _isolation_result(pod)
    if result is not None and result.get("exitCode") == NOT_ISOLATED_EXIT_CODE:
        return PodFailure(Reason.NotIsolated, str(result.get("message") or "The pod reached another address.").strip())
    name = (pod.get("metadata") or {}).get("name")
    ended = [*_ended_containers(pod)]
    status = pod.get("status") or {}
    if status.get("message") and has_ended(pod):
        ended.append(f"{status.get('reason') or status.get('phase')}: {status['message']}")
    if ended:
        return PodFailure(Reason.DrillPodFailed, f"Pod {name} failed: {'; '.join(ended[:3])}.")
    if has_ended(pod):
        return PodFailure(Reason.DrillPodFailed, f"Pod {name} has ended ({status.get('phase')}).")
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return PodFailure(Reason.DrillPodFailed, f"Pod {name} was deleted during the drill.")
    return None


def _ended_containers(pod: Json) -> Iterator[str]:
    """The containers that should still run, and the init containers that failed."""
    # The sidecar restarts by itself: its last exit is in `lastState`.
    for field, fails_with_zero in (("initContainerStatuses", False), ("containerStatuses", True)):
        for name, state in _statuses(pod, field):
            ended = state.get("terminated")
            if ended is not None and (fails_with_zero or ended.get("exitCode")):
                detail = str(ended.get("message") or ended.get("reason") or "").strip()
                yield f"container {name} ended with exit code {ended.get('exitCode')} ({detail[-300:]})"


def waits_for(pod: Json) -> str:
    """Describe why a pod is not Ready, for a message."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"it has no node: {condition.get('message') or condition.get('reason')}"
    for field in ("initContainerStatuses", "containerStatuses"):
        for name, state in _statuses(pod, field):
            waiting = state.get("waiting") or {}
            if waiting.get("reason") not in (None, "PodInitializing"):
                return f"container {name}: {waiting['reason']} {waiting.get('message') or ''}".strip()
    running = [
        str(one.get("name"))
        for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        if not one.get("ready") and "running" in (one.get("state") or {})
    ]
    return f"container {running[0]} is not ready" if running else f"it is {status.get('phase', 'Pending')}"
