"""Compares the API server's audit log of a test session with docs/permissions.md."""

from __future__ import annotations

from tests.cluster import Cluster
from tests.unit.charts.permission_page import OPERATOR_ROLES, granted

AGENT = "gateway-backup-operator"
# The chart makes Deployments only. The owner of a StatefulSet grants this by hand: docs/other-gateways.md.
_BY_HAND = {("patch", "statefulsets.apps")}
_ROLES = {
    AGENT: (*OPERATOR_ROLES, "gateway-backup-operator-leader"),
    f"{AGENT}/make-secrets": ("my-gateway-make-secrets", "my-gateway-renew"),
    f"{AGENT}/release-finalizers": ("gateway-backup-operator-release",),
}


def undocumented_requests(cluster: Cluster) -> dict[str, set[tuple[str, str]]]:
    """For each user agent of our programs, the permissions that it needed and that no row of the page has."""
    used: dict[str, set[tuple[str, str]]] = {}
    for one in cluster.requests_by(AGENT):
        if one.agent.startswith(AGENT):
            used.setdefault(one.agent, set()).add(one.permission)
    extra = {agent: needed - granted(*_ROLES.get(agent, ())) - _BY_HAND for agent, needed in used.items()}
    return {agent: needed for agent, needed in extra.items() if needed}
