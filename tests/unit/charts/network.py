"""Evaluates NetworkPolicies as a network plugin does: which connections all policies together allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """A pod with a namespace, labels and named ports, or an address outside the cluster (without a namespace)."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    address: str = "203.0.113.9"


def allows(policies: Sequence[Policy], source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection from source to a port of target is allowed, at both of its ends."""
    leaves = _permits(policies, source, target, target, "Egress", port, protocol)
    return leaves and _permits(policies, target, source, target, "Ingress", port, protocol)


def _permits(
    policies: Sequence[Policy],
    pod: Endpoint,
    peer: Endpoint,
    target: Endpoint,
    direction: str,
    port: int,
    protocol: str,
) -> bool:
    selecting = [one["spec"] for one in policies if _selects(one, pod) and direction in one["spec"]["policyTypes"]]
    if not selecting:
        return True
    key = "from" if direction == "Ingress" else "to"
    return any(
        _has_port(rule.get("ports"), target, port, protocol) and _has_peer(rule.get(key), spec_namespace, peer)
        for spec, spec_namespace in ((spec, pod.namespace) for spec in selecting)
        for rule in spec.get(direction.lower()) or ()
    )


def _selects(policy: Policy, pod: Endpoint) -> bool:
    return policy["metadata"]["namespace"] == pod.namespace and matches(policy["spec"]["podSelector"], pod.labels)


def _has_port(ports: Sequence[Mapping[str, Any]] | None, target: Endpoint, port: int, protocol: str) -> bool:
    if not ports:
        return True
    numbers = {(target.ports.get(one["port"], one["port"]), one.get("protocol", "TCP")) for one in ports}
    return (port, protocol) in numbers


def _has_peer(peers: Sequence[Mapping[str, Any]] | None, namespace: str, peer: Endpoint) -> bool:
    return not peers or any(_is_peer(one, namespace, peer) for one in peers)


def _is_peer(rule: Mapping[str, Any], namespace: str, peer: Endpoint) -> bool:
    if "ipBlock" in rule:
        return not peer.namespace and ip_address(peer.address) in ip_network(rule["ipBlock"]["cidr"])
    if not peer.namespace:
        return False
    if "namespaceSelector" in rule:
        if not matches(rule["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace}):
            return False
    elif peer.namespace != namespace:
        return False
    return matches(rule.get("podSelector") or {}, peer.labels)


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches. An unknown operator is an error."""
    for one in selector.get("matchExpressions") or ():
        if one["operator"] == "Exists":
            if one["key"] not in labels:
                return False
        elif one["operator"] == "In":
            if labels.get(one["key"]) not in one["values"]:
                return False
        else:
            raise NotImplementedError(one["operator"])
    return (selector.get("matchLabels") or {}).items() <= labels.items()
