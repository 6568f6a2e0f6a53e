"""The pods of both charts and of drills, and which of them may connect to which.

test_network_policies.py evaluates the policies with this table. tests/node/test_network_policies.py compares it with
the decisions of a real policy engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway_operator.domain.drill.pod import build_policy
from gateway_operator.domain.schedule.cronjob import desired_cron_job
from tests.unit.charts.network import Endpoint
from tests.unit.charts.render import NAMESPACE, Object, of_kind, one, render
from tests.unit.gateway_operator.drill.workloads import plan
from tests.unit.gateway_operator.schedule.test_decide import schedule
from tests.unit.gateway_operator.schedule.world import IMAGE

OPERATOR_NAMESPACE: Final = "gateway-backup-operator"
SCRAPER_NAMESPACE: Final = "monitoring"
_SCRAPER = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": SCRAPER_NAMESPACE}}}]


def policies(operator: Object | None = None, gateway: Object | None = None) -> list[Object]:
    """All NetworkPolicies with both charts' policies enabled and these other values of `networkPolicy`."""
    values = {"networkPolicy": {"enabled": True, "metricsFrom": _SCRAPER, **(operator or {})}}
    objects = render("operator", values, release="op", namespace=OPERATOR_NAMESPACE)
    objects = objects + render("gateway", {"networkPolicy": {"enabled": True, **(gateway or {})}})
    drill = build_policy(plan(operator=f"{OPERATOR_NAMESPACE}:gateway-backup-operator"))
    drill["metadata"]["namespace"] = NAMESPACE
    return [*of_kind(objects, "NetworkPolicy"), drill]


def _pod(template: Object, namespace: str) -> Endpoint:
    """A pod of a pod template."""
    ports = {
        port["name"]: port["containerPort"] for item in template["spec"]["containers"] for port in item.get("ports", ())
    }
    return Endpoint(namespace, template["metadata"]["labels"], ports)


_OPERATOR = render("operator", release="op", namespace=OPERATOR_NAMESPACE)
_GATEWAY = render("gateway", {"backups": {"beforeUpgrade": {"enabled": True}}})
_HOOKS = {
    f"hook-{number}": _pod(item["spec"]["template"], NAMESPACE) for number, item in enumerate(of_kind(_GATEWAY, "Job"))
}
CALLERS: Final[Mapping[str, Endpoint]] = {
    "operator": _pod(one(_OPERATOR, "Deployment")["spec"]["template"], OPERATOR_NAMESPACE),
    "uninstall": _pod(one(_OPERATOR, "Job")["spec"]["template"], OPERATOR_NAMESPACE),
    "schedule": _pod(desired_cron_job(schedule(), IMAGE)["spec"]["jobTemplate"]["spec"]["template"], NAMESPACE),
    "renewal": _pod(one(_GATEWAY, "CronJob")["spec"]["jobTemplate"]["spec"]["template"], NAMESPACE),
    **_HOOKS,
}
"""The pods that call the API server."""
PODS: Final[Mapping[str, Endpoint]] = {
    **CALLERS,
    "gateway": _pod(one(_GATEWAY, "Deployment")["spec"]["template"], NAMESPACE),
    "drill": Endpoint(
        NAMESPACE,
        dict(build_policy(plan())["spec"]["podSelector"]["matchLabels"]),
        {"admin-tls": 8443, "admin": 8001},
    ),
    "stranger": Endpoint(NAMESPACE, {"app": "other"}),
    "prometheus": Endpoint(SCRAPER_NAMESPACE, {"app": "prometheus"}),
}
OUTSIDE: Final = "outside"
"""The name of an address that belongs to no pod."""
CONNECTIONS: Final[list[tuple[str, str, int, bool]]] = [
    ("operator", "gateway", 8443, True),
    ("operator", "drill", 8443, True),
    ("operator", "gateway", 8001, False),  # with TLS this port serves nothing that the operator needs
    ("operator", "gateway", 8000, False),
    ("operator", OUTSIDE, 80, False),
    ("operator", "stranger", 8000, False),
    ("uninstall", "gateway", 8443, False),
    ("schedule", "gateway", 8443, False),
    ("schedule", "gateway", 8001, False),
    ("schedule", "gateway", 8000, False),
    ("schedule", OUTSIDE, 80, False),
    ("renewal", "gateway", 8443, False),
    ("stranger", "gateway", 8443, False),
    ("stranger", "gateway", 8001, False),
    ("stranger", "gateway", 8000, True),
    ("prometheus", "operator", 8081, True),
    ("prometheus", "operator", 8080, False),
    ("prometheus", "gateway", 8001, False),  # metrics.allowedFrom is empty
    ("stranger", "operator", 8081, False),
    ("stranger", "operator", 8080, False),
    ("stranger", "schedule", 8080, False),
    ("gateway", "operator", 8081, False),
    ("drill", OUTSIDE, 443, False),
    ("drill", "gateway", 8000, False),
    ("stranger", "drill", 8443, False),
    ("gateway", OUTSIDE, 443, True),
    ("stranger", OUTSIDE, 80, True),
]
"""Source, target, port, and whether both ends allow a TCP connection."""
EGRESS_TO_STRANGER: Final = {
    "to": [{"podSelector": {"matchLabels": {"app": "other"}}}],
    "ports": [{"port": 8000, "protocol": "TCP"}],
}
RESTRICTED_EGRESS: Final = [("stranger", 8000, True), ("stranger", 8080, False), (OUTSIDE, 443, False)]
"""The connections of a gateway with `egress.restricted` and the one rule EGRESS_TO_STRANGER."""
