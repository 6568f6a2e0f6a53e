"""Deletes the pods and NetworkPolicies of drills that have ended, once at the start of the operator.

A drill deletes its objects before it ends, and the garbage collector deletes those of a deleted drill. Objects are left
only if the API server refused their deletion for minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway_operator.domain.gateway.workload import controller
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import RESTORE_KIND
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import is_terminal
from gateway_operator.ports import ClusterError, Ports
from gateway_operator.reconcile.drill.calls import delete_objects
from gateway_operator.reconcile.drill.context import DrillContext
from gateway_operator.reconcile.status_writer import Log


async def delete_orphans(ports: Ports, namespaces: Sequence[str], log: Log) -> None:
    """Delete the objects of ended drills. ``namespaces`` is empty for all. An error is logged: the pods end anyway."""
    if ports.drill_objects is None:
        return
    for namespace in namespaces or ("",):
        try:
            for pod in await ports.drill_objects.pods(namespace):
                ref = _drill_of(pod)
                if ref is not None and await _has_ended(ports, ref):
                    log.warning("Deleting the pod of the ended drill %s/%s.", ref.namespace, ref.name)
                    await delete_objects(DrillContext(ports, ports.drill_objects, ref, log))
        except ClusterError as error:
            log.warning("The pods of ended drills cannot be deleted: %s", error)


def _drill_of(pod: Json) -> Ref | None:
    """The restore that controls the pod; None for a pod that is no drill of ours."""
    owner = controller(pod)
    if owner.get("kind") != RESTORE_KIND:
        return None
    return Ref(RESTORE_KIND, str(pod["metadata"].get("namespace")), str(owner.get("name")), str(owner.get("uid")))


async def _has_ended(ports: Ports, ref: Ref) -> bool:
    body = await ports.cluster.read(ref)
    return body is None or is_terminal(Restore.parse(body))
