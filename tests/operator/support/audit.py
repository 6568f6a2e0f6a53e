"""Compares the API server's audit log of a test session with docs/permissions.md."""

from __future__ import annotations

from tests.cluster import Cluster
from tests.unit.charts.permission_page import OPERATOR_ROLES, granted

AGENT = "gateway-backup-operator"
WATCH_AGENT = "kopf/"
"""The agent of the lists and watches, which kopf sends. kopf's version follows."""
# The chart makes Deployments only. The owner of a StatefulSet grants this by hand: docs/other-gateways.md.
_BY_HAND = {("patch", "statefulsets.apps")}
_ROLES = {
    AGENT: OPERATOR_ROLES,
    f"{AGENT}/make-secrets": ("my-gateway-make-secrets", "my-gateway-renew"),
    f"{AGENT}/release-finalizers": ("gateway-backup-operator-release",),
}


def program_of(agent: str) -> str:
    """The program with a user agent: the operator sends its watches as kopf."""
    return AGENT if agent.startswith(WATCH_AGENT) else agent


def undocumented_requests(cluster: Cluster) -> dict[str, set[tuple[str, str]]]:
    """For each of our programs, the permissions that its requests needed and that no row of the page has."""
    used: dict[str, set[tuple[str, str]]] = {}
    for one in (*cluster.requests_by(AGENT), *cluster.requests_by(WATCH_AGENT)):
        if one.agent.startswith((AGENT, WATCH_AGENT)):
            used.setdefault(program_of(one.agent), set()).add(one.permission)
    extra = {program: needed - granted(*_ROLES.get(program, ())) - _BY_HAND for program, needed in used.items()}
    return {program: needed for program, needed in extra.items() if needed}
