"""Chooses the pod of a gateway and the address of its admin API.

Anyone with create permission on GatewayBackups must not be able to redirect an admin key to a pod they control. So no
custom resource contains a URL or the Secret of an admin key. A pod counts only if its chain of controllers leads to the
workload by uid, and annotations of the workload name the Secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.names import (
    ADMIN_CA_SECRET,
    ADMIN_KEY_SECRET,
    APPROVAL_TIMEOUT,
    CONFIG_RELOAD,
    RESTORE_APPROVAL,
    RESTORED,
)
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json

TLS_PORT_NAME: Final = "admin-tls"
PLAIN_PORT_NAME: Final = "admin"
DEFAULT_PORT: Final = 8001


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a pod's admin API. ``server_name`` is the name in its certificate, ``container`` serves it."""

    pod: str
    host: str
    port: int
    tls: bool
    server_name: str | None
    pod_ready: bool
    container: str | None


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet with the annotations that configure it as a gateway."""

    ref: GatewayRef
    namespace: str
    uid: str
    body: Json

    @property
    def resource_version(self) -> str | None:
        """The version that was read."""
        return (self.body.get("metadata") or {}).get("resourceVersion")

    @property
    def annotations(self) -> Json:
        return (self.body.get("metadata") or {}).get("annotations") or {}

    @property
    def spec(self) -> Json:
        return self.body.get("spec") or {}

    @property
    def key_secret(self) -> str | None:
        """The name of the Secret with the admin key; None without the annotation."""
        return self.annotations.get(ADMIN_KEY_SECRET) or None

    @property
    def ca_secret(self) -> str | None:
        """The name of the Secret with the CA; None without the annotation."""
        return self.annotations.get(ADMIN_CA_SECRET) or None

    @property
    def reloads_config(self) -> bool:
        """Whether the gateway reads a new config without a restart."""
        return bool(self.annotations.get(CONFIG_RELOAD) == "Watch")

    @property
    def requires_approval(self) -> bool:
        """Whether a second person must approve restores. Any value but ``None`` counts, also a misspelt one."""
        return str(self.annotations.get(RESTORE_APPROVAL) or "None") != "None"

    @property
    def approval_timeout(self) -> str:
        """How long a restore waits for its approval, as a duration; empty without the annotation."""
        return str(self.annotations.get(APPROVAL_TIMEOUT) or "")

    @property
    def restored(self) -> str | None:
        """The marker of the last restart by a restore; None if there was none."""
        template = (self.spec.get("template") or {}).get("metadata") or {}
        value = (template.get("annotations") or {}).get(RESTORED)
        return str(value) if value else None

    @property
    def server_name(self) -> str:
        """The name in its admin API's certificate."""
        return f"{self.ref.name}.{self.namespace}.svc"

    @property
    def ordinal_pod(self) -> str:
        """The name of a StatefulSet's pod with the ordinal."""
        return f"{self.ref.name}-{self.ref.ordinal}"

    @property
    def label_selector(self) -> str | None:
        """The selector in the form of a query; None if it is empty, since that would select all pods."""
        selector = self.spec.get("selector") or {}
        parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
        for rule in selector.get("matchExpressions") or ():
            key, operator, values = rule.get("key"), rule.get("operator"), ",".join(rule.get("values") or ())
            parts.append(
                {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": f"{key}"}.get(
                    operator, f"!{key}"
                )
            )
        return ",".join(parts) or None


def controller(body: Json) -> Json:
    """The owner reference of the controller; empty if the object has none."""
    for owner in (body.get("metadata") or {}).get("ownerReferences") or ():
        if owner.get("controller"):
            return dict(owner)
    return {}


def owned_pods(workload: Workload, replica_sets: Sequence[Json], pods: Sequence[Json]) -> list[Json]:
    """The pods that have not ended and whose owner chain leads to the workload by uid.

    For a StatefulSet this is only the pod with the ordinal.
    """
    pods = [pod for pod in pods if not has_ended(pod)]
    if workload.ref.kind == "StatefulSet":
        name = workload.ordinal_pod
        return [
            pod for pod in pods if controller(pod).get("uid") == workload.uid and pod["metadata"].get("name") == name
        ]
    sets = {
        replica_set["metadata"]["uid"]
        for replica_set in replica_sets
        if controller(replica_set).get("uid") == workload.uid
    }
    return [pod for pod in pods if controller(pod).get("uid") in sets]


def has_ended(pod: Json) -> bool:
    """Whether the pod will never run again. Its address may already belong to another pod."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def _admin_container(pod: Json, port_name: str) -> tuple[str, int] | None:
    spec = pod.get("spec") or {}
    # A native sidecar is an init container with restartPolicy Always.
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for port in container.get("ports") or ():
            if port.get("name") == port_name:
                return str(container.get("name")), int(port.get("containerPort", 0))
    return None


def _container_ready(pod: Json, name: str) -> bool:
    status = pod.get("status") or {}
    every = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return any(one.get("name") == name and one.get("ready") for one in every)


def pod_ready(pod: Json) -> bool:
    """Whether the whole pod is Ready, which includes the gateway's own probes."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def endpoint(workload: Workload, pod: Json) -> Endpoint | str:
    """The address of this pod's admin API, or why it cannot be called.

    The pod need not be Ready. With a broken config the gateway's container crashes again and again, and a restore must
    still reach the admin container beside it.
    """
    meta, status = pod.get("metadata") or {}, pod.get("status") or {}
    name = str(meta.get("name"))
    if meta.get("deletionTimestamp"):
        return f"pod {name} is being deleted"
    host = status.get("podIP")
    if not host:
        return f"pod {name} has no address yet ({status.get('phase', 'Unknown')})"
    tls = _admin_container(pod, TLS_PORT_NAME)
    plain = _admin_container(pod, PLAIN_PORT_NAME)
    admin_container = tls or plain
    if admin_container is None:
        if status.get("phase") != "Running":
            return f"pod {name} is {status.get('phase', 'Unknown')}"
        container, port = None, DEFAULT_PORT
    else:
        container, port = admin_container
        if not _container_ready(pod, container):
            return f"container {container} of pod {name} is not ready"
    use_tls = tls is not None or workload.ca_secret is not None
    return Endpoint(
        pod=name,
        host=str(host),
        port=port,
        tls=use_tls,
        server_name=workload.server_name if use_tls else None,
        pod_ready=pod_ready(pod),
        container=container,
    )


def confirm(workload: Workload, listed: Json, current: Json) -> tuple[Endpoint, Json] | None:
    """Compare a pod from a list that may be stale with a fresh read of it.

    The address and the readiness come from ``current``. None if it is no longer the listed pod or cannot be called. The
    admin key must not be sent to an address from a stale list: the address may belong to another pod now.
    """
    before, now = listed["metadata"], current["metadata"]
    same = before.get("uid") == now.get("uid") and (before.get("labels") or {}) == (now.get("labels") or {})
    if not same or controller(listed).get("uid") != controller(current).get("uid") or has_ended(current):
        return None
    address = endpoint(workload, current)
    return None if isinstance(address, str) else (address, current)


def choose(
    workload: Workload, replica_sets: Sequence[Json], pods: Sequence[Json]
) -> tuple[Endpoint, Json] | GatewayProblem:
    """The newest Ready pod that can be called, else the newest that can be called, with its body."""
    owned = owned_pods(workload, replica_sets, pods)
    candidates: list[tuple[bool, str, str, Endpoint, Json]] = []
    refusals: list[str] = []
    for pod in owned:
        answer = endpoint(workload, pod)
        if isinstance(answer, str):
            refusals.append(answer)
        else:
            meta = pod["metadata"]
            candidates.append(
                (answer.pod_ready, str(meta.get("creationTimestamp", "")), str(meta.get("name")), answer, pod)
            )
    if not candidates:
        return GatewayProblem(Reason.NoReadyPod, _no_pod(workload, refusals))
    best = max(candidates, key=lambda one: one[:3])
    return best[3], best[4]


def _no_pod(workload: Workload, refusals: Sequence[str]) -> str:
    if refusals:
        return f"No pod of {workload.ref} can be called: {'; '.join(sorted(refusals)[:3])}."
    if workload.spec.get("replicas") == 0:
        return f"{workload.ref} is scaled to 0: scale it to 1 to start its admin API."
    if workload.ref.kind == "StatefulSet":
        return f"{workload.ref} has no pod {workload.ordinal_pod}."
    return f"{workload.ref} has no pod that runs or starts."
