"""Collects diagnostics after a failed test, before the cluster or the namespace is deleted."""

from typing import TYPE_CHECKING

from tests.cluster.paths import ClusterError

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

_BACKUP_KINDS = ("gatewaybackups", "gatewayrestores", "gatewaybackupschedules")
_LOG_LINES = "200"


def dump(cluster: "Cluster", namespace: str | None = None) -> str:
    """Events, pods, logs (also from before a container's restart) and backup objects, of one namespace or all."""
    scope = ["-n", namespace] if namespace else ["-A"]
    parts = [
        _part(cluster, "objects", ["get", "all,pvc", *scope, "-o", "wide"]),
        _part(cluster, "events", ["get", "events", *scope, "--sort-by=.lastTimestamp"]),
    ]
    served = _read(cluster, ["api-resources", "--api-group=mcpgateway.dev", "-o", "name"])
    kinds = [kind for kind in _BACKUP_KINDS if kind in served]
    if kinds:
        parts.append(_part(cluster, "backup objects", ["get", ",".join(kinds), *scope, "-o", "yaml"]))
    if cluster.has_node:
        parts.append(_part(cluster, "pods", ["describe", "pods", *scope]))
        parts += _pod_logs(cluster, scope)
    if not cluster.is_healthy():
        parts.append("### the cluster itself is not healthy\n" + cluster.control_plane_logs())
    return "\n".join(parts)


def _pod_logs(cluster: "Cluster", scope: list[str]) -> list[str]:
    template = (
        "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}"
        "{range .status.initContainerStatuses[*]} {.name}={.restartCount}{end}"
        "{range .status.containerStatuses[*]} {.name}={.restartCount}{end}{'\\n'}{end}"
    )
    parts = []
    for line in _read(cluster, ["get", "pods", *scope, "-o", template]).splitlines():
        namespace, pod, *containers = line.split()
        for entry in containers:
            container, restarts = entry.split("=")
            logs = ["logs", "-n", namespace, pod, "-c", container, f"--tail={_LOG_LINES}"]
            parts.append(_part(cluster, f"logs of {namespace}/{pod} {container}", logs))
            if restarts != "0":
                title = f"logs of {namespace}/{pod} {container} before its restart"
                parts.append(_part(cluster, title, [*logs, "--previous"]))
    return parts


def _part(cluster: "Cluster", title: str, arguments: list[str]) -> str:
    return f"### {title}\n{_read(cluster, arguments)}"


def _read(cluster: "Cluster", arguments: list[str]) -> str:
    # A failure here must not hide the failure of the test.
    try:
        return cluster.kubectl(*arguments, "--request-timeout=10s", timeout=20)
    except ClusterError as error:
        return f"({error})\n"
