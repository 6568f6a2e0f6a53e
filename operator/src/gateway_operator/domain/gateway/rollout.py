"""Reads from a workload and its pods whether a restart has finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway_operator.domain.gateway.workload import Workload, pod_ready
from gateway_operator.domain.model.names import RESTORED
from gateway_operator.domain.model.resources import Json


def still_starting(owned: Sequence[Json]) -> bool:
    """Whether a new pod is starting: created, not Ready yet, and without a crashed container.

    Such a pod reads the restored config when it starts, so a restart would only delay it.
    """
    return any(_starts(pod) for pod in owned)


def _starts(pod: Json) -> bool:
    if (pod.get("metadata") or {}).get("deletionTimestamp") or pod_ready(pod):
        return False
    status = pod.get("status") or {}
    every = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    awaited = [one for one in every if not one.get("ready")]
    if every and not awaited:
        return False  # something other than its containers holds it up
    return all(not one.get("restartCount") and not one.get("started") for one in awaited)


_TRANSIENT: Final = frozenset({"emptyDir", "configMap", "secret", "projected", "downwardAPI", "ephemeral", "image"})


def config_is_persistent(pod: Json, container: str | None, config_path: str) -> bool:
    """Whether the volume behind the config outlives the pod.

    Only the container with the admin port counts, or every container if none has it. Of its mounts the one with the
    longest matching path counts. Without a mount the config is in the container's own layer, which is lost with it.
    """
    spec = pod.get("spec") or {}
    volumes: Mapping[str, Any] = {str(volume.get("name")): volume for volume in spec.get("volumes") or ()}
    longest, kind = "", ""
    for one in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        if container is not None and one.get("name") != container:
            continue
        for mount in one.get("volumeMounts") or ():
            path = str(mount.get("mountPath", "")).rstrip("/")
            if config_path.startswith(f"{path}/") and len(path) >= len(longest):
                longest, kind = path, str(mount.get("name"))
    volume = volumes.get(kind)
    if volume is None:
        return False
    sources = [key for key in volume if key != "name"]
    return bool(sources) and not _TRANSIENT.intersection(sources)


@dataclass(frozen=True, slots=True)
class Rollout:
    """The progress of a restart of the workload's pods."""

    requested: bool
    done: bool
    message: str


def rollout(workload: Workload, marker: str, owned: Sequence[Json]) -> Rollout:
    """Whether the pods were restarted for ``marker``: all pods are new and no old pod exists.

    Readiness does not count here; the health check of the restore covers it.
    """
    if workload.restored != marker:
        return Rollout(False, False, "the restart was not requested yet")
    status = workload.body.get("status") or {}
    generation = int((workload.body.get("metadata") or {}).get("generation", 0))
    if int(status.get("observedGeneration", 0)) < generation:
        return Rollout(True, False, "the workload's controller has not processed the restart yet")
    old = [pod for pod in owned if not _is_of_restart(marker, pod)]
    if old:
        return Rollout(True, False, f"pod {old[0]['metadata'].get('name')} is still from before the restart")
    if not owned:
        return Rollout(True, False, "no new pod yet")
    desired = int(workload.spec.get("replicas", 1))
    updated = int(status.get("updatedReplicas", 0))
    if workload.ref.kind == "Deployment" and updated < desired:
        return Rollout(True, False, f"{updated} of {desired} pods are new")
    return Rollout(True, True, "all pods are new")


def _is_of_restart(marker: str, pod: Json) -> bool:
    # Both controllers copy the annotations of the pod template to the pods they create.
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    return bool(annotations.get(RESTORED) == marker)
