"""Values for encryption, signatures, trusted keys and metrics.

Each key is mounted only where it is needed, and a change of a public key replaces the pod.
"""

import re
from typing import Any

import pytest

from gateway_api.codec.encryption import parse_recipients
from gateway_api.repository.signing import load_trusted
from tests.unit.charts.render import (
    PUBLIC_KEY,
    PUBLIC_PEM,
    RECIPIENTS,
    Object,
    container,
    containers,
    every_variant,
    of_kind,
    one,
    pod_specs,
    render,
    render_variant,
)

KEYS = "my-gateway-public-keys"


def environment(values: Object) -> dict[str, str]:
    """The environment variables of the admin API."""
    return {item["name"]: item["value"] for item in container(render("gateway", values), "admin")["env"]}


def template(values: Object) -> dict[str, Any]:
    """The pod template of the gateway's Deployment."""
    pod_template: dict[str, Any] = one(render("gateway", values), "Deployment")["spec"]["template"]
    return pod_template


@every_variant
def test_only_the_admin_api_mounts_the_signing_key_read_only(variant: str) -> None:
    for _, spec in pod_specs(render_variant(variant)):
        holders = {volume["name"] for volume in spec["volumes"] if volume["name"] == "signing-key"}
        for item in containers(spec):
            mounted = {mount["name"] for mount in item["volumeMounts"]} & holders
            assert mounted == (holders if item["name"] == "admin" else set())
            assert all(mount.get("readOnly") for mount in item["volumeMounts"] if mount["name"] in holders)
        for volume in spec["volumes"]:
            assert volume["name"] not in holders or volume.keys() == {"name", "secret"}


def test_signing_key_is_from_the_hook_or_an_existing_secret() -> None:
    def secret(values: Object) -> str:
        (volume,) = [item for item in template(values)["spec"]["volumes"] if item["name"] == "signing-key"]
        assert volume["secret"]["items"] == [{"key": "signing-key.pem", "path": "signing-key.pem"}]
        return str(volume["secret"]["secretName"])

    assert secret({}) == "my-gateway-signing"
    assert secret({"signing": {"existingSecret": "pen"}}) == "pen"


def test_admin_api_can_parse_the_rendered_recipients() -> None:
    values = {"encryption": {"recipients": RECIPIENTS}}
    assert parse_recipients(one(render("gateway", values), "ConfigMap", KEYS)["data"]["recipients.txt"]) == tuple(
        RECIPIENTS
    )
    assert environment(values)["GATEWAY_AGE_RECIPIENTS_FILE"] == "/etc/gateway-admin/recipients/recipients.txt"
    assert "GATEWAY_ENCRYPTION" not in environment(values), (
        "with recipients, the admin API requires encryption by default"
    )
    assert environment({"encryption": {"policy": "allow", **values["encryption"]}})["GATEWAY_ENCRYPTION"] == "allow"
    assert of_kind(render("gateway"), "ConfigMap") == []


@pytest.mark.parametrize("key", [PUBLIC_KEY, PUBLIC_PEM, f"  {PUBLIC_KEY}\n"])
def test_trusted_keys_can_be_pem_or_only_its_base64_line(key: str) -> None:
    values = {"signing": {"trustedKeys": {"the old cluster": key}}}
    text = one(render("gateway", values), "ConfigMap", KEYS)["data"]["trusted-keys.pem"]
    assert "# the old cluster" in text
    assert load_trusted(text) == load_trusted(PUBLIC_PEM)
    assert environment(values)["GATEWAY_TRUSTED_KEYS_FILE"] == "/etc/gateway-admin/trusted-keys/trusted-keys.pem"


def test_trusted_keys_can_be_in_an_existing_configmap() -> None:
    values = {"signing": {"existingTrustedKeysConfigMap": "friends"}}
    assert of_kind(render("gateway", values), "ConfigMap") == []
    (volume,) = [item for item in template(values)["spec"]["volumes"] if item["name"] == "trusted-keys"]
    assert volume["configMap"]["name"] == "friends"
    assert "GATEWAY_TRUSTED_KEYS_FILE" in environment(values)


def test_checksum_annotation_changes_exactly_with_the_public_keys() -> None:
    def checksum(values: Object) -> str | None:
        value: str | None = template(values)["metadata"]["annotations"].get("checksum/public-keys")
        return value

    one_key, both = ({"encryption": {"recipients": some}} for some in (RECIPIENTS[:1], RECIPIENTS))
    trusted = {"signing": {"trustedKeys": {"a": PUBLIC_KEY}}}
    checksums = [checksum(values) for values in ({}, one_key, both, trusted, {**both, **trusted})]
    assert checksums[0] is None
    assert len(set(checksums)) == len(checksums)
    assert checksum(both) == checksum({**both, "podLabels": {"a": "b"}})


@every_variant
def test_no_private_key_is_rendered(variant: str) -> None:
    text = str(render_variant(variant))
    assert "PRIVATE KEY" not in text
    assert not re.search(r"AGE-SECRET-KEY-1\w", text)


def test_signatures_are_required_by_default() -> None:
    variables = environment({})
    assert (variables["GATEWAY_SIGNATURE_POLICY"], variables["GATEWAY_ALLOW_UNSIGNED_OVERRIDE"]) == ("require", "false")
    variables = environment({"signing": {"policy": "warn", "allowUnsignedOverride": True}})
    assert (variables["GATEWAY_SIGNATURE_POLICY"], variables["GATEWAY_ALLOW_UNSIGNED_OVERRIDE"]) == ("warn", "true")


def test_scrape_annotations_and_service_monitor_are_off_by_default() -> None:
    assert not any("prometheus" in name for name in template({})["metadata"]["annotations"])
    annotations = template({"metrics": {"scrapeAnnotations": True}})["metadata"]["annotations"]
    assert {name: value for name, value in annotations.items() if "prometheus" in name} == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8001",
        "prometheus.io/path": "/metrics",
    }
    assert of_kind(render("gateway"), "ServiceMonitor") == []


def test_service_monitor_selects_the_service_and_its_port() -> None:
    objects = render("gateway", {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}}}})
    monitor, service = one(objects, "ServiceMonitor"), one(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert (endpoint["path"], endpoint["interval"], endpoint["scrapeTimeout"]) == ("/metrics", "60s", "10s")
    assert monitor["metadata"]["labels"]["release"] == "p"


def test_network_policy_allows_metrics_only_from_metrics_allowed_from() -> None:
    def peers_of_admin_port(values: Object) -> list[Any]:
        policy = one(render("gateway", {"networkPolicy": {"enabled": True}, **values}), "NetworkPolicy", "my-gateway")
        return [
            rule.get("from")
            for rule in policy["spec"]["ingress"]
            if {"port": "admin", "protocol": "TCP"} in rule["ports"]
        ]

    assert peers_of_admin_port({}) == []
    assert peers_of_admin_port({"metrics": {"scrapeAnnotations": True, "serviceMonitor": {"enabled": True}}}) == []
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert peers_of_admin_port({"metrics": {"allowedFrom": peers}}) == [peers]
