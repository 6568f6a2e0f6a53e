"""The NetworkPolicies of both charts and of drills together: which pod may connect to which."""

from typing import Any

import pytest

from gateway_operator.domain.model.names import DRILL_LABEL
from tests.unit.charts.connections import (
    CALLERS,
    CONNECTIONS,
    EGRESS_TO_STRANGER,
    OPERATOR_NAMESPACE,
    OUTSIDE,
    PODS,
    RESTRICTED_EGRESS,
    policies,
)
from tests.unit.charts.network import Endpoint, allows
from tests.unit.charts.render import NAMESPACE, Object, of_kind, render, template

API_SERVER = Endpoint(address="10.0.0.1")
DNS = Endpoint("kube-system", {"k8s-app": "kube-dns"})
ENDPOINTS = {**PODS, OUTSIDE: Endpoint(address="203.0.113.9"), "api-server": API_SERVER, "dns": DNS}


def test_all_kinds_of_pods_are_covered() -> None:
    assert {"hook-0", "hook-1"} <= set(CALLERS)
    assert DRILL_LABEL in PODS["drill"].labels


@pytest.mark.parametrize("caller", CALLERS)
def test_pods_that_call_the_api_server_reach_it_and_dns(caller: str) -> None:
    for port in (443, 6443):
        assert allows(policies(), CALLERS[caller], API_SERVER, port)
    assert allows(policies(), CALLERS[caller], DNS, 53, "UDP")
    assert allows(policies(), CALLERS[caller], DNS, 53)


@pytest.mark.parametrize("caller", CALLERS)
def test_named_addresses_of_the_api_server_exclude_all_others(caller: str) -> None:
    narrow = {"apiServerAddresses": ["10.0.0.1/32"]}
    assert allows(policies(narrow, narrow), CALLERS[caller], API_SERVER, 6443)
    assert not allows(policies(narrow, narrow), CALLERS[caller], ENDPOINTS[OUTSIDE], 443)


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [*CONNECTIONS, ("drill", "api-server", 443, False), ("drill", "dns", 53, False)],
)
def test_connection_is_allowed_only_where_it_is_needed(source: str, target: str, port: int, allowed: bool) -> None:
    assert allows(policies(), ENDPOINTS[source], ENDPOINTS[target], port) is allowed


def test_gateway_reaches_only_the_listed_servers_when_egress_is_restricted() -> None:
    restricted = policies(gateway={"egress": {"restricted": True, "rules": [EGRESS_TO_STRANGER]}})
    gateway = PODS["gateway"]
    for target, port, allowed in [*RESTRICTED_EGRESS, ("api-server", 443, False), ("operator", 8081, False)]:
        assert allows(restricted, gateway, ENDPOINTS[target], port) is allowed
    assert allows(restricted, gateway, DNS, 53, "UDP")
    assert allows(restricted, PODS["operator"], gateway, 8443)


def test_role_only_mode_reaches_gateways_of_its_namespaces_only() -> None:
    def operator_policies(namespace: str) -> list[Object]:
        values: dict[str, Any] = {"networkPolicy": {"enabled": True}, "watchNamespaces": [namespace]}
        return of_kind(render("operator", values, release="op", namespace=OPERATOR_NAMESPACE), "NetworkPolicy")

    assert allows(operator_policies(NAMESPACE), PODS["operator"], PODS["gateway"], 8443)
    assert not allows(operator_policies("team-z"), PODS["operator"], PODS["gateway"], 8443)


@pytest.mark.parametrize("address", ["10.0.0.1", "any", "10.0.0.1/", "host.example/32"])
def test_address_of_the_api_server_must_be_a_cidr_block(address: str) -> None:
    for chart in ("operator", "gateway"):
        result = template(chart, {"networkPolicy": {"apiServerAddresses": [address]}})
        assert result.returncode != 0
        assert "apiServerAddresses" in result.stderr
