"""The audit log of the API server: who sent which request, and with which permission.

It records the metadata of a request and never its body, so no Secret is in it. The control plane's own components are
left out, because they send most requests.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.paths import ClusterPaths

_MAX_MEGABYTES = 200
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    # ResponseStarted is left: a watch that has begun is in the log before it ends.
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "userGroups": ["system:nodes", "system:serviceaccounts:kube-system", "system:unauthenticated"],
        },
        {
            "level": "None",
            "users": [
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:kube-proxy",
                "system:coredns",
                "system:provisioner",
            ],
        },
        {"level": "None", "nonResourceURLs": ["*"]},
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True, slots=True)
class AuditedRequest:
    """One request that was authorized or refused by its permission. ``namespace`` and ``name`` may be empty."""

    user: str
    agent: str
    """The user agent of the client."""
    verb: str
    resource: str
    """The resource, its subresource and its API group, such as ``gatewaybackups/status.mcpgateway.dev``."""
    namespace: str
    name: str
    allowed: bool
    """Whether the authorizer allowed it. An admission policy may refuse it all the same."""

    @property
    def permission(self) -> tuple[str, str]:
        """The verb and the resource."""
        return self.verb, self.resource


def write_policy(paths: ClusterPaths) -> Path:
    """Write the audit policy of a cluster; returns its path."""
    path = paths.pki / "audit-policy.yaml"
    path.write_text(yaml.safe_dump(_POLICY))
    return path


def log_path(paths: ClusterPaths) -> Path:
    """The file to which the API server of a cluster appends."""
    return paths.logs / "audit.jsonl"


def server_arguments(paths: ClusterPaths) -> dict[str, str]:
    """The arguments of the API server. The files stay below 400 MB, however long the cluster runs."""
    return {
        "audit-policy-file": str(write_policy(paths)),
        "audit-log-path": str(log_path(paths)),
        "audit-log-maxsize": str(_MAX_MEGABYTES),
        "audit-log-maxbackup": "1",
    }


def read_requests(paths: ClusterPaths, having: str = "") -> Iterator[AuditedRequest]:
    """The requests in the log, oldest first. With ``having``, only of lines that contain this text."""
    folder = log_path(paths)
    # The rotated file has a time in its name, and so comes before the current one.
    for path in sorted(folder.parent.glob(f"{folder.stem}*{folder.suffix}")):
        with path.open(encoding="utf-8") as file:
            yield from _parse(line for line in file if having in line)


def _parse(lines: Iterable[str]) -> Iterator[AuditedRequest]:
    for line in lines:
        # The API server may be writing the last line.
        if not line.endswith("\n"):
            return
        event = json.loads(line)
        target = event.get("objectRef")
        if target is None:
            continue
        path = "/".join(filter(None, (target.get("resource", ""), target.get("subresource", ""))))
        yield AuditedRequest(
            user=event["user"].get("username", ""),
            agent=event.get("userAgent", ""),
            verb=event["verb"],
            resource=".".join(filter(None, (path, target.get("apiGroup", "")))),
            namespace=target.get("namespace", ""),
            name=target.get("name", ""),
            allowed=(event.get("annotations") or {}).get("authorization.k8s.io/decision") == "allow",
        )
