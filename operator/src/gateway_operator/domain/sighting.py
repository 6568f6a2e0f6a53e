"""Finding a gateway again by the names under which it was found before.

A list that is certainly not old waits up to 0.1 s for the API server's cache, a read by name does not. So a sighting
is kept of a gateway that made a backup: whom to ask for, never what they said. Each fact is read anew, by reads that
are as fresh as the lists are, and where one does not fit the whole look is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.domain.gateway import Endpoint, Problem, Workload, choose, controller, pod_ready
from gateway_operator.domain.objects import Json


@dataclass(frozen=True, slots=True)
class Sighting:
    """Whom to ask for, and what tells that they are still the same."""

    workload_uid: str
    pod: str
    pod_uid: str
    labels: Json
    replica_set: str | None
    """The name of the pod's ReplicaSet; None of a StatefulSet's pod."""

    @classmethod
    def of(cls, workload: Workload, pod: Json) -> Sighting:
        """Of a pod that the workload's selector selects, and that was chosen."""
        meta = pod["metadata"]
        name = controller(pod).get("name") if workload.ref.kind == "Deployment" else None
        labels = dict(meta.get("labels") or {})
        return cls(workload.uid, str(meta.get("name")), str(meta.get("uid")), labels, str(name) if name else None)


def found_again(
    sighting: Sighting, workload: Workload, replica_set: Json | None, pod: Json | None
) -> tuple[Endpoint, Json] | None:
    """The pod that was seen before, if all says that it is what a whole look would choose; None at the least doubt.

    The same workload has the same selector, which cannot be changed, and a pod with the labels it had is still
    selected. Its owners lead up to the workload as they must in ``choose``. It is Ready and not going, and it is the
    only one: of a StatefulSet by its name, of a Deployment because its controller has seen the newest template and
    counts one pod in all, made from that template, and ready. A rollout that has begun, however lately, breaks the one
    or the other.
    """
    if pod is None or workload.uid != sighting.workload_uid:
        return None
    meta = pod["metadata"]
    if meta.get("uid") != sighting.pod_uid or (meta.get("labels") or {}) != sighting.labels or not pod_ready(pod):
        return None
    if workload.ref.kind == "Deployment" and not _has_one_pod(workload):
        return None
    chosen = choose(workload, [] if replica_set is None else [replica_set], [pod])
    return None if isinstance(chosen, Problem) else chosen


def _has_one_pod(workload: Workload) -> bool:
    status = workload.body.get("status") or {}
    seen = status.get("observedGeneration") == (workload.body.get("metadata") or {}).get("generation")
    counted = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas")]
    return seen and [workload.spec.get("replicas", 1), *counted] == [1, 1, 1, 1]
