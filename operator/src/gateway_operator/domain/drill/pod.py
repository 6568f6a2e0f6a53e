"""Builds the temporary pod of a drill, and its NetworkPolicy, from the pod template of the gateway's workload.

The containers start in this order, each only after the one before has succeeded:

    drill-isolation      tries the API server and the live gateway; an answer ends the drill.
    the template's own   such as the seed of the first config.
    the admin container  as a sidecar; the operator uploads the backup to its API and restores it.
    drill-prepare        waits for the restore, then turns external cache and telemetry off.
    the others           the gateway: it starts with the restored config, as after a real loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway_operator.domain.drill import template
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import (
    API_VERSION,
    DRILL_ISOLATION,
    DRILL_KIND,
    DRILL_LABEL,
    DRILL_OF,
    RESTORE_KIND,
    drill_name,
    label_value,
)
from gateway_operator.domain.model.resources import Json

ISOLATION_CONTAINER: Final = "drill-isolation"
PREPARE_CONTAINER: Final = "drill-prepare"
_COMMAND: Final = "gateway-admin"
_BACKUPS_FLAG: Final = "--backups"
_OPERATOR_LABELS: Final = {"app.kubernetes.io/name": "gateway-backup-operator"}


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """The inputs of the pod. ``targets`` are the HOST:PORT addresses that must not answer."""

    restore: Ref
    workload: Workload
    config_path: str
    request_id: str
    targets: Sequence[str]
    seconds: int
    """The pod ends after this many seconds, whatever the operator does."""
    operator: str = ""
    """The operator's ServiceAccount as NAMESPACE:NAME; empty if it runs outside the cluster."""

    @property
    def name(self) -> str:
        """The name of the pod and of its NetworkPolicy."""
        return drill_name(self.restore.name, self.restore.uid)

    @property
    def accepts_no_isolation(self) -> bool:
        """Whether the owner of the gateway accepts a cluster without a policy engine."""
        return bool(self.workload.annotations.get(DRILL_ISOLATION) == "Optional")


def _template_spec(workload: Workload) -> Json:
    return (workload.spec.get("template") or {}).get("spec") or {}


def obstacle(workload: Workload) -> str:
    """Why no drill pod can be made of a workload's template, for a message; empty if one can."""
    spec = _template_spec(workload)
    located = template.admin_container(spec)
    if located is None:
        return (
            f"The pod template of {workload.ref} has no container with a port named admin-tls or admin: name the port "
            "of the admin API."
        )
    if not _gateway_containers(spec):
        return f"The pod template of {workload.ref} has no container beside the admin API, so no gateway to start."
    return ""


def _gateway_containers(spec: Json) -> list[Mapping[str, Any]]:
    """The containers that start with the restored config: all but the one of the admin API."""
    located = template.admin_container(spec)
    admin = None if located is None else located[0].get("name")
    return [one for one in spec.get("containers") or () if one.get("name") != admin]


def gateway_image(workload: Workload) -> str:
    """The image of the container ``gateway``, or of the first one beside the admin API; empty without one."""
    containers = _gateway_containers(_template_spec(workload))
    named = [one for one in containers if one.get("name") == "gateway"] or containers
    return str(named[0].get("image") or "") if named else ""


def build_pod(plan: DrillPlan) -> dict[str, Any]:
    """The pod of a drill. ``obstacle`` must be empty for the workload."""
    spec = _template_spec(plan.workload)
    located = template.admin_container(spec)
    if located is None:
        raise ValueError(obstacle(plan.workload))
    admin = located[0]
    init = [template.container(one, sidecar=_is_sidecar(one)) for one in spec.get("initContainers") or ()]
    if not located[1]:
        init.append(template.container(admin, sidecar=True))
    metadata = _metadata(plan)
    metadata["labels"][DRILL_KIND] = plan.workload.ref.kind
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "annotations": _annotations(plan)},
        "spec": {
            **template.pod_fields(spec),
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": plan.seconds,
            "terminationGracePeriodSeconds": 1,
            "initContainers": [_isolation(plan, admin), *init, _prepare(plan, admin)],
            "containers": [template.container(one) for one in _gateway_containers(spec)],
            "volumes": template.volumes(plan.workload.spec),
        },
    }


def _is_sidecar(container: Json) -> bool:
    return bool(container.get("restartPolicy") == "Always")


def _metadata(plan: DrillPlan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "namespace": plan.restore.namespace,
        # No label of the template: no Service, workload or disruption budget may select the pod.
        "labels": {DRILL_LABEL: label_value(plan.restore.name)},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": RESTORE_KIND,
                "name": plan.restore.name,
                "uid": plan.restore.uid,
                "controller": True,
            }
        ],
    }


def _annotations(plan: DrillPlan) -> dict[str, str]:
    # The admission policy compares the pod with the template of this workload.
    annotations = {DRILL_OF: plan.workload.ref.name}
    containers = [str(one.get("name")) for one in _gateway_containers(_template_spec(plan.workload))]
    return {**annotations, "kubectl.kubernetes.io/default-container": containers[0]}


def _helper(name: str, admin: Json, arguments: Sequence[str]) -> dict[str, Any]:
    """A container that runs a command of the admin API's image."""
    copied = template.container(admin)
    kept = ("image", "imagePullPolicy", "securityContext", "resources")
    fields = {key: copied[key] for key in kept if key in copied}
    return {"name": name, **fields, "command": [_COMMAND], "args": ["drill", *arguments]}


def _isolation(plan: DrillPlan, admin: Json) -> dict[str, Any]:
    targets = [f"--target={target}" for target in plan.targets]
    accept = ["--accept"] if plan.accepts_no_isolation else []
    return _helper(ISOLATION_CONTAINER, admin, ["isolation", *targets, *accept])


def _prepare(plan: DrillPlan, admin: Json) -> dict[str, Any]:
    arguments = [
        f"--config={plan.config_path}",
        f"--request-id={plan.request_id}",
        f"--seconds={plan.seconds}",
        *_backups_flag(admin),
    ]
    copied = template.container(admin)
    # The settings and the volumes of the admin API: the record of the restore is on both of its volumes.
    same: dict[str, Any] = {
        key: copied[key] for key in ("env", "envFrom", "workingDir", "volumeMounts") if key in copied
    }
    return {**_helper(PREPARE_CONTAINER, admin, ["prepare", *arguments]), **same}


def _backups_flag(admin: Json) -> list[str]:
    """The backup directory, where the admin container has it as a flag and not as a variable."""
    words = [str(word) for word in (*(admin.get("command") or ()), *(admin.get("args") or ()))]
    for position, word in enumerate(words):
        if word.startswith(f"{_BACKUPS_FLAG}="):
            return [word]
        if word == _BACKUPS_FLAG and position + 1 < len(words):
            return [f"{word}={words[position + 1]}"]
    return []


def build_policy(plan: DrillPlan) -> dict[str, Any]:
    """The NetworkPolicy of a drill: nothing leaves the pod, and only the operator reaches its admin API."""
    located = template.admin_container(_template_spec(plan.workload))
    port = None if located is None else template.admin_port(located[0])
    namespace = plan.operator.partition(":")[0]
    # An operator outside the cluster has no labels to select by.
    peers = [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "podSelector": {"matchLabels": dict(_OPERATOR_LABELS)},
        }
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(plan),
        "spec": {
            "podSelector": {"matchLabels": {DRILL_LABEL: label_value(plan.restore.name)}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": port, "protocol": "TCP"}], **({"from": peers} if namespace else {})}],
        },
    }


def live_targets(pod: Json) -> list[str]:
    """The addresses of a live gateway's pod that must not answer a drill pod: all its TCP ports."""
    host = (pod.get("status") or {}).get("podIP")
    if not host:
        return []
    shown = f"[{host}]" if ":" in str(host) else str(host)
    spec = pod.get("spec") or {}
    ports = {
        int(port["containerPort"])
        for one in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        for port in one.get("ports") or ()
        if port.get("protocol", "TCP") == "TCP" and port.get("containerPort")
    }
    return [f"{shown}:{port}" for port in sorted(ports)]
