"""The comparison of the API server's audit log with docs/permissions.md."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from tests.cluster import Cluster
from tests.cluster.audit import AuditedRequest, log_path, read_requests
from tests.cluster.paths import ClusterPaths
from tests.operator.support.audit import AGENT, undocumented_requests


def line(verb: str, resource: str, agent: str = AGENT, decision: str = "allow", **target: str) -> str:
    """One line of an audit log."""
    event: dict[str, Any] = {
        "verb": verb,
        "user": {"username": "admin"},
        "userAgent": agent,
        "objectRef": {"resource": resource, **target},
        "annotations": {"authorization.k8s.io/decision": decision},
    }
    return json.dumps(event) + "\n"


class Log:
    """A cluster that has only an audit log."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.paths = ClusterPaths(folder)
        self.paths.logs.mkdir()
        log_path(self.paths).write_text("".join(lines))

    def requests_by(self, agent: str) -> Any:
        return Cluster.requests_by(cast("Cluster", self), agent)


def test_request_names_subresource_group_and_decision(tmp_path: Path) -> None:
    target = {"subresource": "status", "apiGroup": "mcpgateway.dev", "namespace": "a", "name": "b"}
    text = line("patch", "gatewaybackups", decision="forbid", **target)
    # The API server has not finished the last line.
    log = Log(tmp_path, text, line("get", "pods")[:-1])
    expected = AuditedRequest(
        "admin", AGENT, "patch", "gatewaybackups/status.mcpgateway.dev", "a", "b", allowed=False
    )  # fmt: skip
    assert list(read_requests(log.paths)) == [expected]


@pytest.mark.parametrize(
    ("text", "undocumented"),
    [
        (line("get", "pods"), {}),
        (line("patch", "statefulsets", apiGroup="apps"), {}),
        (line("get", "nodes", agent="kubectl/v1"), {}),
        (line("list", "nodes", agent="kopf/1"), {AGENT: {("list", "nodes")}}),
        (line("get", "nodes"), {AGENT: {("get", "nodes")}}),
        (line("get", "pods", subresource="log"), {AGENT: {("get", "pods/log")}}),
        (line("create", "secrets"), {AGENT: {("create", "secrets")}}),
        (line("create", "secrets", agent=f"{AGENT}/make-secrets"), {}),
        (line("get", "pods", agent=f"{AGENT}/make-secrets"), {f"{AGENT}/make-secrets": {("get", "pods")}}),
        (line("get", "pods", agent=f"{AGENT}/other"), {f"{AGENT}/other": {("get", "pods")}}),
    ],
)
def test_request_without_a_documented_permission_is_reported(
    tmp_path: Path, text: str, undocumented: dict[str, set[tuple[str, str]]]
) -> None:
    assert undocumented_requests(cast("Cluster", Log(tmp_path, text))) == undocumented
