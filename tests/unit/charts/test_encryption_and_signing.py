"""Encryption, signatures, trust and metrics as values: who gets which key, and what a change of a key does."""

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
    """The admin API's environment."""
    return {item["name"]: item["value"] for item in container(render("gateway", values), "admin")["env"]}


def template(values: Object) -> dict[str, Any]:
    """The gateway's pod template."""
    found: dict[str, Any] = one(render("gateway", values), "Deployment")["spec"]["template"]
    return found


@every_variant
def test_only_the_admin_api_has_the_signing_key_and_never_on_a_volume_that_is_kept(variant: str) -> None:
    for _, spec in pod_specs(render_variant(variant)):
        holders = {volume["name"] for volume in spec["volumes"] if volume["name"] == "signing-key"}
        for item in containers(spec):
            mounted = {mount["name"] for mount in item["volumeMounts"]} & holders
            assert mounted == (holders if item["name"] == "admin" else set())
            assert all(mount.get("readOnly") for mount in item["volumeMounts"] if mount["name"] in holders)
        for volume in spec["volumes"]:
            assert volume["name"] not in holders or volume.keys() == {"name", "secret"}


def test_the_signing_key_is_the_hooks_or_yours() -> None:
    def secret(values: Object) -> str:
        (found,) = [one for one in template(values)["spec"]["volumes"] if one["name"] == "signing-key"]
        assert found["secret"]["items"] == [{"key": "signing-key.pem", "path": "signing-key.pem"}]
        return str(found["secret"]["secretName"])

    assert secret({}) == "my-gateway-signing"
    assert secret({"signing": {"existingSecret": "pen"}}) == "pen"


def test_recipients_reach_the_admin_api_as_it_reads_them() -> None:
    values = {"encryption": {"recipients": RECIPIENTS}}
    assert parse_recipients(one(render("gateway", values), "ConfigMap", KEYS)["data"]["recipients.txt"]) == tuple(
        RECIPIENTS
    )
    assert environment(values)["GATEWAY_AGE_RECIPIENTS_FILE"] == "/etc/gateway-admin/recipients/recipients.txt"
    assert "GATEWAY_ENCRYPTION" not in environment(values), "the admin API requires it where there are recipients"
    assert environment({"encryption": {"policy": "allow", **values["encryption"]}})["GATEWAY_ENCRYPTION"] == "allow"
    assert of_kind(render("gateway"), "ConfigMap") == []


@pytest.mark.parametrize("key", [PUBLIC_KEY, PUBLIC_PEM, f"  {PUBLIC_KEY}\n"])
def test_trusted_keys_may_be_written_as_pem_or_as_its_one_line(key: str) -> None:
    values = {"signing": {"trustedKeys": {"the old cluster": key}}}
    text = one(render("gateway", values), "ConfigMap", KEYS)["data"]["trusted-keys.pem"]
    assert "# the old cluster" in text
    assert load_trusted(text) == load_trusted(PUBLIC_PEM)
    assert environment(values)["GATEWAY_TRUSTED_KEYS_FILE"] == "/etc/gateway-admin/trusted-keys/trusted-keys.pem"


def test_trusted_keys_may_be_in_a_configmap_of_yours() -> None:
    values = {"signing": {"existingTrustedKeysConfigMap": "friends"}}
    assert of_kind(render("gateway", values), "ConfigMap") == []
    (volume,) = [one for one in template(values)["spec"]["volumes"] if one["name"] == "trusted-keys"]
    assert volume["configMap"]["name"] == "friends"
    assert "GATEWAY_TRUSTED_KEYS_FILE" in environment(values)


def test_other_keys_are_another_pod_and_the_same_keys_are_the_same() -> None:
    def annotation(values: Object) -> str | None:
        found: str | None = template(values)["metadata"]["annotations"].get("checksum/public-keys")
        return found

    one_key, both = ({"encryption": {"recipients": some}} for some in (RECIPIENTS[:1], RECIPIENTS))
    trusted = {"signing": {"trustedKeys": {"a": PUBLIC_KEY}}}
    found = [annotation(values) for values in ({}, one_key, both, trusted, {**both, **trusted})]
    assert found[0] is None
    assert len(set(found)) == len(found)
    assert annotation(both) == annotation({**both, "podLabels": {"a": "b"}})


@every_variant
def test_no_private_key_is_rendered(variant: str) -> None:
    text = str(render_variant(variant))
    assert "PRIVATE KEY" not in text
    assert not re.search(r"AGE-SECRET-KEY-1\w", text)


def test_a_signature_is_required_unless_one_says_otherwise() -> None:
    found = environment({})
    assert (found["GATEWAY_SIGNATURE_POLICY"], found["GATEWAY_ALLOW_UNSIGNED_OVERRIDE"]) == ("require", "false")
    found = environment({"signing": {"policy": "warn", "allowUnsignedOverride": True}})
    assert (found["GATEWAY_SIGNATURE_POLICY"], found["GATEWAY_ALLOW_UNSIGNED_OVERRIDE"]) == ("warn", "true")


def test_metrics_are_announced_only_where_that_is_wanted() -> None:
    assert not any("prometheus" in name for name in template({})["metadata"]["annotations"])
    annotations = template({"metrics": {"scrapeAnnotations": True}})["metadata"]["annotations"]
    assert {name: value for name, value in annotations.items() if "prometheus" in name} == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8001",
        "prometheus.io/path": "/metrics",
    }
    assert of_kind(render("gateway"), "ServiceMonitor") == []


def test_a_servicemonitor_finds_the_service() -> None:
    objects = render("gateway", {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}}}})
    monitor, service = one(objects, "ServiceMonitor"), one(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert (endpoint["path"], endpoint["interval"], endpoint["scrapeTimeout"]) == ("/metrics", "60s", "10s")
    assert monitor["metadata"]["labels"]["release"] == "p"


def test_a_monitor_gets_through_the_networkpolicy_only_where_it_is_named() -> None:
    def admitted(values: Object) -> list[Any]:
        policy = one(render("gateway", {"networkPolicy": {"enabled": True}, **values}), "NetworkPolicy")
        return [
            rule.get("from")
            for rule in policy["spec"]["ingress"]
            if {"port": "admin", "protocol": "TCP"} in rule["ports"]
        ]

    assert admitted({}) == []
    assert admitted({"metrics": {"scrapeAnnotations": True, "serviceMonitor": {"enabled": True}}}) == []
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert admitted({"metrics": {"from": peers}}) == [peers]
