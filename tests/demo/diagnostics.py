"""What a person needs to see when a step has failed: objects, events and logs of the demo's two namespaces."""

import json
import re

from tests.demo.cleanup import GATEWAY_NAMESPACE, OPERATOR_NAMESPACE
from tests.demo.kube import Kube, DemoError

_LINES = "40"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def collect_diagnostics(kube: Kube) -> str:
    """Everything that helps, in one text; it never fails itself. Secrets are not in it."""
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
        found = kube.kubectl("-n", namespace, *arguments, "--request-timeout=10s", timeout=20)
    except DemoError as error:
        found = f"({error})"
    return f"--- kubectl -n {namespace} {' '.join(arguments)}\n{_COLOURS.sub('', found).rstrip()}\n"
