"""Compares the volumes that the replicas of one Deployment report.

A Deployment has one volume for all its pods. If each pod has its own, a backup of one is no backup of the others, and a
restore would change only one of them. A StatefulSet's pods have their own, and ``gatewayRef.ordinal`` selects one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway_operator.domain.gateway.workload import Endpoint, Workload, endpoint
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json


@dataclass(frozen=True, slots=True)
class ReplicaVolumes:
    """The ids that one pod reports; None if it does not know one."""

    pod: str
    gateway_id: str | None
    volume_id: str | None


def ready_replicas(workload: Workload, owned: Sequence[Json]) -> list[Endpoint]:
    """The endpoints to compare: of all Ready pods of a Deployment. Empty if there are fewer than two."""
    if workload.ref.kind != "Deployment":
        return []
    endpoints = [answer for pod in owned if isinstance(answer := endpoint(workload, pod), Endpoint)]
    ready = [one for one in endpoints if one.pod_ready]
    return ready if len(ready) > 1 else []


def volumes_differ(workload: Workload, reports: Sequence[ReplicaVolumes]) -> GatewayProblem | None:
    """The problem if two pods report different ids; None otherwise. An unknown id is no difference."""
    for name, title in (("volume_id", "backup volume"), ("gateway_id", "config volume")):
        ids = {str(value): one.pod for one in reports if (value := getattr(one, name)) is not None}
        if len(ids) > 1:
            shown = ", ".join(f"{pod} has {value}" for value, pod in sorted(ids.items(), key=lambda item: item[1])[:3])
            message = (
                f"The pods of {workload.ref} do not share one {title}: {shown}. Give all replicas the same claims "
                "(ReadWriteMany), scale to 1, or use a StatefulSet and gatewayRef.ordinal."
            )
            return GatewayProblem(Reason.VolumesDiffer, message)
    return None
