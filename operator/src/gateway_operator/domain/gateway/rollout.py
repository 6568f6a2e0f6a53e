"""Reads from a workload and its pods whether a restart has finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway_operator.domain.gateway.workload import Workload, has_ended, pod_ready
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.names import RESTORED
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json

_TERMINATION_GRACE_SECONDS: Final = 30
"""Seconds after the grace period of a pod, after which it counts as stuck."""


def still_starting(owned: Sequence[Json]) -> bool:
    """Whether a new pod is starting: on its node, not Ready yet, and without a container that crashed or cannot start.

    Such a pod reads the restored config when it starts, so a restart would only delay it.
    """
    return any(_starts(pod) for pod in owned)


def _starts(pod: Json) -> bool:
    if (pod.get("metadata") or {}).get("deletionTimestamp") or pod_ready(pod) or has_ended(pod):
        return False
    status = pod.get("status") or {}
    if any(
        one.get("type") == "PodScheduled" and one.get("status") == "False" for one in status.get("conditions") or ()
    ):
        return False
    every = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    awaited = [one for one in every if not one.get("ready")]
    if every and not awaited:
        return False  # something other than its containers delays it
    return all(not one.get("started") and not _has_crashed(one) for one in awaited)


def _has_crashed(container: Json) -> bool:
    state = container.get("state") or {}
    waiting = str((state.get("waiting") or {}).get("reason") or "")
    ended = "terminated" in state or "terminated" in (container.get("lastState") or {})
    return bool(container.get("restartCount")) or ended or waiting.endswith(("BackOff", "Error", "InvalidImageName"))


@dataclass(frozen=True, slots=True)
class RestartRecord:
    """The restart that a restore has requested last: its marker, and the uids of the pods to be replaced."""

    marker: str
    old_pods: frozenset[str]

    @classmethod
    def parse(cls, status: Json) -> RestartRecord | None:
        """From ``status.restart``; None without it."""
        body = status.get("restart")
        if not isinstance(body, Mapping) or not body.get("marker"):
            return None
        return cls(str(body["marker"]), frozenset(str(uid) for uid in body.get("oldPods") or ()))


@dataclass(frozen=True, slots=True)
class Rollout:
    """The progress of a restart of the workload's pods.

    ``requested``: the workload was patched for it. ``recorded``: the status says so. ``old_pods``: the uids of the pods
    from before it that still exist.
    """

    requested: bool
    done: bool
    message: str
    recorded: bool = False
    old_pods: tuple[str, ...] = ()


def rollout(workload: Workload, marker: str, owned: Sequence[Json], record: RestartRecord | None = None) -> Rollout:
    """Whether the pods were restarted for ``marker``: all pods are new and no old pod exists.

    With a record, a pod that is not in it is new, even if something has removed the marker from the pod template: it
    was created after the config was replaced. Readiness does not count here; the health check of the restore covers it.
    """
    recorded = record is not None and record.marker == marker
    old = [pod for pod in owned if _is_old(pod, marker, record if recorded else None)]
    marked = workload.restored == marker
    uids = tuple(str(pod["metadata"].get("uid")) for pod in old)
    if not marked and not recorded:
        return Rollout(False, False, "the restart was not requested yet", False, uids)
    done, message = _progress(workload, owned, old)
    if not done and not marked:
        message = f"{message}; something removed the annotation {RESTORED} from the pod template of {workload.ref}"
    return Rollout(True, done, message, recorded, uids)


def _progress(workload: Workload, owned: Sequence[Json], old: Sequence[Json]) -> tuple[bool, str]:
    """Whether all pods are new, and what is missing."""
    status = workload.body.get("status") or {}
    generation = int((workload.body.get("metadata") or {}).get("generation", 0))
    if int(status.get("observedGeneration", 0)) < generation:
        return False, "the workload's controller has not processed the restart yet"
    if old:
        return False, f"{workload.ref} is paused" if workload.spec.get("paused") else _old_pod(old)
    if not owned:
        return False, "no new pod yet"
    desired = int(workload.spec.get("replicas", 1))
    updated = int(status.get("updatedReplicas", 0))
    if workload.ref.kind == "Deployment" and updated < desired:
        return False, f"{updated} of {desired} pods are new"
    return True, "all pods are new"


def _old_pod(old: Sequence[Json]) -> str:
    meta = old[0]["metadata"]
    if meta.get("deletionTimestamp"):
        return f"pod {meta.get('name')} from before the restart is still terminating"
    return f"pod {meta.get('name')} is still from before the restart"


def restart_obstacle(workload: Workload, owned: Sequence[Json], now: datetime) -> GatewayProblem | None:
    """Why a restart of the pods would not work now; None if nothing prevents it.

    A restore asks before it changes anything. A rollout in progress and a terminating pod may end while it waits.
    """
    if workload.spec.get("paused"):
        message = f"{workload.ref} is paused, so no restart replaces its pods: kubectl rollout resume {_name(workload)}"
        return GatewayProblem(Reason.RolloutPaused, f"{message}.")
    if workload.ref.kind == "StatefulSet" and not _updates_its_pod(workload):
        message = (
            f"{workload.ref} does not replace pod {workload.ordinal_pod} after a change of its template. Choose the "
            "update strategy RollingUpdate without a partition above the ordinal, or restore with restart: Never."
        )
        return GatewayProblem(Reason.RestartNotPossible, message)
    for pod in owned:
        meta = pod.get("metadata") or {}
        if meta.get("deletionTimestamp"):
            return GatewayProblem(Reason.PodTerminating, _terminating(pod, now))
    unfinished = _unfinished_rollout(workload)
    return None if unfinished is None else GatewayProblem(Reason.RolloutInProgress, f"{workload.ref}: {unfinished}.")


def _name(workload: Workload) -> str:
    return f"{workload.ref.kind.lower()}/{workload.ref.name}"


def _updates_its_pod(workload: Workload) -> bool:
    strategy = workload.spec.get("updateStrategy") or {}
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    return strategy.get("type", "RollingUpdate") != "OnDelete" and workload.ref.ordinal >= partition


def _terminating(pod: Json, now: datetime) -> str:
    """The API server sets the deletion timestamp to the end of the grace period."""
    meta = pod.get("metadata") or {}
    name, until = meta.get("name"), timestamps.parse(meta.get("deletionTimestamp"))
    message = f"Pod {name} is terminating; a restart would wait for its end."
    if until is None or (now - until).total_seconds() < _TERMINATION_GRACE_SECONDS:
        return message
    return (
        f"{message} It should have ended at {timestamps.text(until)}; check node "
        f"{(pod.get('spec') or {}).get('nodeName', 'unknown')}. If the pod no longer runs: kubectl -n "
        f"{meta.get('namespace', 'NAMESPACE')} delete pod {name} --force --grace-period=0"
    )


def _unfinished_rollout(workload: Workload) -> str | None:
    """Why the pods are being replaced; None if none is. A pod that is not Ready is no reason not to restore."""
    status = workload.body.get("status") or {}
    if int(status.get("observedGeneration", 0)) < int((workload.body.get("metadata") or {}).get("generation", 0)):
        return "its controller has not processed the last change yet"
    desired, updated = int(workload.spec.get("replicas", 1)), int(status.get("updatedReplicas", 0))
    if workload.ref.kind == "StatefulSet":
        if status.get("updateRevision") == status.get("currentRevision"):
            return None
        return None if updated >= desired else f"a rollout is in progress, {updated} of {desired} pods are new"
    if updated < desired:
        return f"a rollout is in progress, {updated} of {desired} pods are new"
    old = int(status.get("replicas", 0)) - updated
    return f"a rollout is in progress, {old} old pods still run" if old > 0 else None


def _is_old(pod: Json, marker: str, record: RestartRecord | None) -> bool:
    # Both controllers copy the annotations of the pod template to the pods they create.
    meta = pod.get("metadata") or {}
    if (meta.get("annotations") or {}).get(RESTORED) == marker:
        return False
    return record is None or meta.get("uid") in record.old_pods
