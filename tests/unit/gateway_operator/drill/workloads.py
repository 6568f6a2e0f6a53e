"""Workloads and plans for the tests of drills."""

from __future__ import annotations

import json
from typing import Any

from gateway_operator.domain.drill.pod import DrillPlan
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.identifiers import GatewayRef, Ref

RESTORE = Ref("GatewayRestore", "prod", "weekly", "1234567890ab-uid")


def admin(**fields: Any) -> dict[str, Any]:
    """The container of the admin API, as the gateway's chart writes it."""
    return {
        "name": "admin",
        "image": "admin:1",
        "command": ["gateway-admin"],
        "args": ["serve"],
        "env": [{"name": "GATEWAY_BACKUP_DIR", "value": "/backups"}],
        "ports": [{"name": "admin", "containerPort": 8001}, {"name": "admin-tls", "containerPort": 8443}],
        "volumeMounts": [
            {"name": "config", "mountPath": "/app/.enkrypt/docker"},
            {"name": "backups", "mountPath": "/backups"},
            {"name": "admin-key", "mountPath": "/etc/key", "readOnly": True},
        ],
        "securityContext": {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "resources": {"limits": {"memory": "256Mi"}},
        **fields,
    }


def gateway(**fields: Any) -> dict[str, Any]:
    """The container of the gateway itself."""
    return {
        "name": "gateway",
        "image": "gateway:2",
        "ports": [{"name": "mcp", "containerPort": 8000}],
        "readinessProbe": {"tcpSocket": {"port": "mcp"}},
        "volumeMounts": [{"name": "config", "mountPath": "/app/.enkrypt/docker"}],
        **fields,
    }


def pod_spec(**fields: Any) -> dict[str, Any]:
    """The pod of the gateway's chart."""
    return {
        "containers": [gateway(), admin()],
        "initContainers": [{"name": "seed", "image": "admin:1", "args": ["seed"]}],
        "volumes": [
            {"name": "config", "persistentVolumeClaim": {"claimName": "config"}},
            {"name": "backups", "persistentVolumeClaim": {"claimName": "backups"}},
            {"name": "admin-key", "secret": {"secretName": "gw-admin"}},
        ],
        **fields,
    }


def workload(
    spec: dict[str, Any] | None = None, annotations: dict[str, str] | None = None, **workload_spec: Any
) -> Workload:
    """A Deployment, or with volumeClaimTemplates a StatefulSet. A copy: tests may change it."""
    labels = {"app": "gateway", "app.kubernetes.io/instance": "gw"}
    kind = "StatefulSet" if "volumeClaimTemplates" in workload_spec else "Deployment"
    body = {
        "metadata": {"name": "gw", "uid": "w", "annotations": annotations or {}},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {"a": "b"}}, "spec": spec or pod_spec()},
            **workload_spec,
        },
    }
    return Workload(GatewayRef(kind, "gw"), "prod", "w", json.loads(json.dumps(body)))


def plan(source: Workload | None = None, **fields: Any) -> DrillPlan:
    """The plan of a drill of that workload."""
    defaults: dict[str, Any] = {
        "restore": RESTORE,
        "workload": source or workload(),
        "config_path": "/app/.enkrypt/docker/config.json",
        "request_id": "1234567890ab-uid",
        "targets": ["10.0.0.1:8000"],
        "seconds": 600,
        "operator": "ops:gateway-backup-operator",
    }
    return DrillPlan(**{**defaults, **fields})
