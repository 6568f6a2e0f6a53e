"""Tests of the real gateway's image: both of its programs run under the restricted Pod Security Standard."""

import json
import urllib.error
import urllib.request

import pytest
import yaml

from tests.cluster import Cluster, images
from tests.cluster.output import wait_until

pytestmark = pytest.mark.node

CONFIG = {
    "admin_apikey": "the-admin-key-of-a-test",
    "common_mcp_gateway_config": {"enkrypt_log_level": "INFO", "enkrypt_mcp_use_external_cache": False},
    "plugins": {
        "auth": {"provider": "local_apikey", "config": {}},
        "guardrails": {"provider": "enkrypt", "config": {}},
        "telemetry": {"provider": "opentelemetry", "config": {"enabled": False}},
    },
    "mcp_configs": {},
    "projects": {},
    "users": {},
    "apikeys": {},
}
MOUNTS = [
    {"name": "config", "mountPath": "/app/.enkrypt/docker"},
    {"name": "tmp", "mountPath": "/tmp"},
]


def _container(name: str, **more: object) -> dict[str, object]:
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    return {
        "name": name,
        "image": images.GATEWAY_TAG,
        "imagePullPolicy": "Never",
        "securityContext": security,
        "volumeMounts": MOUNTS,
        **more,
    }


def _pod() -> dict[str, object]:
    copy = "install -m 0600 /seed/config.json /app/.enkrypt/docker/enkrypt_mcp_config.json"
    seed = _container("seed", command=["sh", "-c", copy])
    seed["volumeMounts"] = [*MOUNTS, {"name": "seed", "mountPath": "/seed"}]
    gateway = _container("gateway", readinessProbe={"tcpSocket": {"port": 8000}, "periodSeconds": 1})
    admin = _container(
        "its-admin-api",
        command=["start-gateway-admin-api", "0.0.0.0", "8002"],
        readinessProbe={"httpGet": {"path": "/health", "port": 8002}, "periodSeconds": 1},
    )
    volumes: list[dict[str, object]] = [{"name": name, "emptyDir": {}} for name in ("config", "tmp")]
    volumes.append({"name": "seed", "configMap": {"name": "seed"}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gateway"},
        "spec": {
            "securityContext": {
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "initContainers": [seed],
            "containers": [gateway, admin],
            "volumes": volumes,
        },
    }


def test_gateway_and_its_admin_api_run_in_a_restricted_pod(node_cluster: Cluster, namespace: str) -> None:
    images.load(node_cluster, images.gateway_image().tag)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    node_cluster.kubectl("label", "namespace", namespace, restricted)
    seed = f"--from-literal=config.json={json.dumps(CONFIG)}"
    node_cluster.kubectl("-n", namespace, "create", "configmap", "seed", seed)

    node_cluster.kubectl("-n", namespace, "apply", "-f", "-", input=yaml.safe_dump(_pod()))
    ready = "--for=condition=Ready"
    node_cluster.kubectl("-n", namespace, "wait", "pod/gateway", ready, "--timeout=90s")

    address = node_cluster.kubectl("-n", namespace, "get", "pod", "gateway", "-o", "jsonpath={.status.podIP}")
    request = urllib.request.Request(
        f"http://{address}:8002/api/v1/projects", headers={"apikey": str(CONFIG["admin_apikey"])}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200

    def endpoint_answers() -> bool:
        # An MCP endpoint refuses a GET without a session. Any client error shows that it answers.
        try:
            urllib.request.urlopen(f"http://{address}:8000/mcp/", timeout=10)
        except urllib.error.HTTPError as error:
            return 400 <= error.code < 500
        return False

    wait_until(endpoint_answers, "the MCP endpoint to answer", timeout=20)
