"""Copies the parts of a workload's pod template that a drill pod may have, and none of the others.

The fields to copy are listed here, so a field that a later Kubernetes version adds is not copied. That keeps out
claims, host paths and host namespaces, tokens of ServiceAccounts, labels, and hooks that call other systems.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from gateway_operator.domain.gateway.workload import DEFAULT_PORT, PLAIN_PORT_NAME, TLS_PORT_NAME
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.job_template import quantity

VOLUME_SIZE: Final = "1Gi"
"""Size limit of each empty volume: the kubelet evicts a pod that exceeds it."""
_POD_FIELDS: Final = (
    "securityContext",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "dnsPolicy",
    "dnsConfig",
    "enableServiceLinks",
    "runtimeClassName",
    "shareProcessNamespace",
    "hostUsers",
    "os",
    "schedulerName",
)
_CONTAINER_FIELDS: Final = (
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "securityContext",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "stdin",
    "tty",
)
_MOUNT_FIELDS: Final = ("name", "mountPath", "subPath", "subPathExpr", "readOnly")
_PORT_FIELDS: Final = ("name", "containerPort", "protocol")
_KEPT_VOLUMES: Final = ("secret", "configMap", "downwardAPI")
_DEFAULT_LIMITS: Final = {"cpu": "1", "memory": "1Gi"}


def _only(source: Json, fields: Sequence[str]) -> dict[str, Any]:
    return {field: copy.deepcopy(source[field]) for field in fields if source.get(field) is not None}


def pod_fields(spec: Json) -> dict[str, Any]:
    """The fields of the pod that are no containers and no volumes."""
    fields = _only(spec, _POD_FIELDS)
    node_affinity = (spec.get("affinity") or {}).get("nodeAffinity")
    if node_affinity:
        # Affinity to other pods would select by labels that the drill pod does not have.
        fields["affinity"] = {"nodeAffinity": copy.deepcopy(node_affinity)}
    if fields.get("dnsPolicy") == "ClusterFirstWithHostNet":
        fields["dnsPolicy"] = "ClusterFirst"
    return fields


def container(source: Json, *, sidecar: bool = False) -> dict[str, Any]:
    """The copy of a container. ``sidecar``: an init container that runs until the pod ends."""
    fields = _only(source, _CONTAINER_FIELDS)
    fields.get("securityContext", {}).pop("privileged", None)
    ports = [_only(port, _PORT_FIELDS) for port in source.get("ports") or ()]
    mounts = [_only(mount, _MOUNT_FIELDS) for mount in source.get("volumeMounts") or ()]
    if ports:
        fields["ports"] = ports
    if mounts:
        fields["volumeMounts"] = mounts
    fields["resources"] = limited(source.get("resources") or {})
    if sidecar:
        fields["restartPolicy"] = "Always"
    return fields


def limited(resources: Json) -> dict[str, Any]:
    """The requests and limits of a container; limits that are absent are added, at least as large as the requests."""
    requests, limits = dict(resources.get("requests") or {}), dict(resources.get("limits") or {})
    for name, default in _DEFAULT_LIMITS.items():
        requested = quantity(requests[name]) if name in requests else None
        limits.setdefault(name, requests[name] if _exceeds(requested, default) else default)
    return {**({"requests": requests} if requests else {}), "limits": limits}


def _exceeds(requested: Decimal | None, default: str) -> bool:
    limit = quantity(default)
    return requested is not None and limit is not None and requested > limit


def volumes(workload_spec: Json) -> list[dict[str, Any]]:
    """The volumes of the copy: Secrets and ConfigMaps as they are, everything else empty and with a size limit."""
    spec = (workload_spec.get("template") or {}).get("spec") or {}
    named: dict[str, dict[str, Any]] = {}
    for volume in spec.get("volumes") or ():
        named[str(volume.get("name"))] = _volume(volume)
    # A claim template takes the place of a volume of the same name.
    for claim in workload_spec.get("volumeClaimTemplates") or ():
        name = str((claim.get("metadata") or {}).get("name"))
        named[name] = _empty(name)
    return list(named.values())


def _empty(name: str, source: Json | None = None) -> dict[str, Any]:
    medium = (source or {}).get("medium")
    size = (source or {}).get("sizeLimit", VOLUME_SIZE)
    return {"name": name, "emptyDir": {**({"medium": medium} if medium else {}), "sizeLimit": size}}


def _volume(volume: Json) -> dict[str, Any]:
    name = str(volume.get("name"))
    for kind in _KEPT_VOLUMES:
        if volume.get(kind) is not None:
            return {"name": name, kind: copy.deepcopy(volume[kind])}
    if volume.get("projected") is not None:
        projected = volume["projected"]
        # Never the token of a ServiceAccount, and no certificate that the cluster issues to a pod.
        sources = [kept for source in projected.get("sources") or () if (kept := _only(source, _KEPT_VOLUMES))]
        if sources:
            return {"name": name, "projected": {**_only(projected, ("defaultMode",)), "sources": sources}}
    return _empty(name, volume.get("emptyDir"))


def admin_port(admin: Json) -> int:
    """The port of the admin API that the operator calls: that with TLS, if there is one."""
    named = {port.get("name"): int(port.get("containerPort") or 0) for port in admin.get("ports") or ()}
    return named.get(TLS_PORT_NAME) or named.get(PLAIN_PORT_NAME) or DEFAULT_PORT


def admin_container(spec: Json) -> tuple[Mapping[str, Any], bool] | None:
    """The container with the port of the admin API, and whether it is an init container; None without one."""
    for port_name in (TLS_PORT_NAME, PLAIN_PORT_NAME):
        for field in ("containers", "initContainers"):
            for one in spec.get(field) or ():
                if any(port.get("name") == port_name for port in one.get("ports") or ()):
                    return one, field == "initContainers"
    return None
