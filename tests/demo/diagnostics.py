"""Collects diagnostics after a failed step: objects, events and logs of the demo's two namespaces."""

import json
import re

from tests.demo.cleanup import GATEWAY_NAMESPACE, OPERATOR_NAMESPACE
from tests.demo.kube import DemoError, Kube

_LINES = "40"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def collect_diagnostics(kube: Kube) -> str:
    """Objects, events and logs as one text without Secrets. Errors of kubectl become part of the text."""
    parts = []
    for namespace in (OPERATOR_NAMESPACE, GATEWAY_NAMESPACE):
        parts.append(_part(kube, namespace, "get", "pods,jobs,pvc", "-o", "wide"))
        parts.append(_part(kube, namespace, "get", "events", "--sort-by=.lastTimestamp"))
        parts += _logs(kube, namespace)
    kinds = "gatewaybackups.mcpgateway.dev,gatewayrestores.mcpgateway.dev"
    parts.append(_part(kube, GATEWAY_NAMESPACE, "get", kinds, "-o", "yaml"))
    return "\n".join(parts)


def _logs(kube: Kube, namespace: str) -> list[str]:
    parts = []
    try:
        pods = json.loads(kube.kubectl("-n", namespace, "get", "pods", "-o", "json", timeout=20))["items"]
    except (DemoError, ValueError):
        return []
    for pod in pods:
        for kind in ("initContainerStatuses", "containerStatuses"):
            for container in pod["status"].get(kind, []):
                arguments = ["logs", pod["metadata"]["name"], "-c", container["name"], f"--tail={_LINES}"]
                parts.append(_part(kube, namespace, *arguments))
                if container["restartCount"]:
                    parts.append(_part(kube, namespace, *arguments, "--previous"))
    return parts


def _part(kube: Kube, namespace: str, *arguments: str) -> str:
    try:
        output = kube.kubectl("-n", namespace, *arguments, "--request-timeout=10s", timeout=20)
    except DemoError as error:
        output = f"({error})"
    return f"--- kubectl -n {namespace} {' '.join(arguments)}\n{_COLOURS.sub('', output).rstrip()}\n"
