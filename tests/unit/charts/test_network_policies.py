"""The NetworkPolicies of both charts and of drills together: which pod may connect to which."""

from typing import Any

import pytest

from gateway_operator.domain.drill.pod import build_policy
from gateway_operator.domain.model.names import DRILL_LABEL
from gateway_operator.domain.schedule.cronjob import desired_cron_job
from tests.unit.charts.network import Endpoint, allows
from tests.unit.charts.render import NAMESPACE, Object, of_kind, one, render, template
from tests.unit.gateway_operator.drill.workloads import plan
from tests.unit.gateway_operator.schedule.test_decide import schedule
from tests.unit.gateway_operator.schedule.world import IMAGE

OPERATOR_NAMESPACE = "gateway-backup-operator"
SCRAPER = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
API_SERVER = Endpoint(address="10.0.0.1")
INTERNET = Endpoint(address="203.0.113.9")
DNS = Endpoint("kube-system", {"k8s-app": "kube-dns"})
STRANGER = Endpoint(NAMESPACE, {"app": "other"})
PROMETHEUS = Endpoint("monitoring", {"app": "prometheus"})


def policies(operator: Object | None = None, gateway: Object | None = None) -> list[Object]:
    """All NetworkPolicies with both charts' policies enabled and these other values of `networkPolicy`."""
    values = {"networkPolicy": {"enabled": True, "metricsFrom": SCRAPER, **(operator or {})}}
    objects = render("operator", values, release="op", namespace=OPERATOR_NAMESPACE)
    objects = objects + render("gateway", {"networkPolicy": {"enabled": True, **(gateway or {})}})
    drill = build_policy(plan(operator=f"{OPERATOR_NAMESPACE}:gateway-backup-operator"))
    drill["metadata"]["namespace"] = NAMESPACE
    return [*of_kind(objects, "NetworkPolicy"), drill]


def pod(template: Object, namespace: str) -> Endpoint:
    """A pod of a pod template."""
    ports = {
        port["name"]: port["containerPort"] for item in template["spec"]["containers"] for port in item.get("ports", ())
    }
    return Endpoint(namespace, template["metadata"]["labels"], ports)


OPERATOR = pod(
    one(render("operator", release="op", namespace=OPERATOR_NAMESPACE), "Deployment")["spec"]["template"],
    OPERATOR_NAMESPACE,
)
UNINSTALL = pod(
    one(render("operator", release="op", namespace=OPERATOR_NAMESPACE), "Job")["spec"]["template"], OPERATOR_NAMESPACE
)
_GATEWAY = render("gateway", {"backups": {"beforeUpgrade": {"enabled": True}}})
GATEWAY = pod(one(_GATEWAY, "Deployment")["spec"]["template"], NAMESPACE)
SCHEDULE = pod(desired_cron_job(schedule(), IMAGE)["spec"]["jobTemplate"]["spec"]["template"], NAMESPACE)
HOOKS = [pod(item["spec"]["template"], NAMESPACE) for item in of_kind(_GATEWAY, "Job")]
RENEWAL = pod(one(_GATEWAY, "CronJob")["spec"]["jobTemplate"]["spec"]["template"], NAMESPACE)
DRILL_PORTS = {"admin-tls": 8443, "admin": 8001}
DRILL = Endpoint(NAMESPACE, dict(build_policy(plan())["spec"]["podSelector"]["matchLabels"]), DRILL_PORTS)
CALLERS = [OPERATOR, UNINSTALL, SCHEDULE, RENEWAL, *HOOKS]


def test_all_kinds_of_pods_are_covered() -> None:
    assert len(HOOKS) == 2
    assert DRILL_LABEL in DRILL.labels


@pytest.mark.parametrize("caller", CALLERS)
def test_pods_that_call_the_api_server_reach_it_and_dns(caller: Endpoint) -> None:
    for port in (443, 6443):
        assert allows(policies(), caller, API_SERVER, port)
    assert allows(policies(), caller, DNS, 53, "UDP")
    assert allows(policies(), caller, DNS, 53)


@pytest.mark.parametrize("caller", CALLERS)
def test_named_addresses_of_the_api_server_exclude_all_others(caller: Endpoint) -> None:
    narrow = {"apiServerAddresses": ["10.0.0.1/32"]}
    assert allows(policies(narrow, narrow), caller, API_SERVER, 6443)
    assert not allows(policies(narrow, narrow), caller, INTERNET, 443)


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        (OPERATOR, GATEWAY, 8443, True),
        (OPERATOR, DRILL, 8443, True),
        (OPERATOR, GATEWAY, 8001, False),  # with TLS this port serves nothing that the operator needs
        (OPERATOR, GATEWAY, 8000, False),
        (OPERATOR, INTERNET, 80, False),
        (OPERATOR, STRANGER, 80, False),
        (UNINSTALL, GATEWAY, 8443, False),
        (SCHEDULE, GATEWAY, 8443, False),
        (SCHEDULE, GATEWAY, 8001, False),
        (SCHEDULE, GATEWAY, 8000, False),
        (SCHEDULE, INTERNET, 80, False),
        (RENEWAL, GATEWAY, 8443, False),
        (STRANGER, GATEWAY, 8443, False),
        (STRANGER, GATEWAY, 8001, False),
        (STRANGER, GATEWAY, 8000, True),
        (PROMETHEUS, OPERATOR, 8081, True),
        (PROMETHEUS, OPERATOR, 8080, False),
        (PROMETHEUS, GATEWAY, 8001, False),  # metrics.allowedFrom is empty
        (STRANGER, OPERATOR, 8081, False),
        (STRANGER, OPERATOR, 8080, False),
        (STRANGER, SCHEDULE, 8080, False),
        (GATEWAY, OPERATOR, 8081, False),
        (DRILL, API_SERVER, 443, False),
        (DRILL, DNS, 53, False),
        (DRILL, GATEWAY, 8000, False),
        (STRANGER, DRILL, 8443, False),
        (GATEWAY, INTERNET, 443, True),
    ],
)  # fmt: skip
def test_connection_is_allowed_only_where_it_is_needed(
    source: Endpoint, target: Endpoint, port: int, allowed: bool
) -> None:
    assert allows(policies(), source, target, port) is allowed


def test_gateway_reaches_only_the_listed_servers_when_egress_is_restricted() -> None:
    server = {"to": [{"podSelector": {"matchLabels": {"app": "other"}}}], "ports": [{"port": 80, "protocol": "TCP"}]}
    restricted = policies(gateway={"egress": {"restricted": True, "rules": [server]}})
    assert allows(restricted, GATEWAY, STRANGER, 80)
    assert allows(restricted, GATEWAY, DNS, 53, "UDP")
    for target, port in ((STRANGER, 81), (INTERNET, 443), (API_SERVER, 443), (OPERATOR, 8081)):
        assert not allows(restricted, GATEWAY, target, port)
    assert allows(restricted, OPERATOR, GATEWAY, 8443)


def test_role_only_mode_reaches_gateways_of_its_namespaces_only() -> None:
    def operator_policies(namespace: str) -> list[Object]:
        values: dict[str, Any] = {"networkPolicy": {"enabled": True}, "watchNamespaces": [namespace]}
        return of_kind(render("operator", values, release="op", namespace=OPERATOR_NAMESPACE), "NetworkPolicy")

    assert allows(operator_policies(NAMESPACE), OPERATOR, GATEWAY, 8443)
    assert not allows(operator_policies("team-z"), OPERATOR, GATEWAY, 8443)


@pytest.mark.parametrize("address", ["10.0.0.1", "any", "10.0.0.1/", "host.example/32"])
def test_address_of_the_api_server_must_be_a_cidr_block(address: str) -> None:
    for chart in ("operator", "gateway"):
        result = template(chart, {"networkPolicy": {"apiServerAddresses": [address]}})
        assert result.returncode != 0
        assert "apiServerAddresses" in result.stderr
