"""What the API server refuses by itself, each time with a sentence that a person can act on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.support.workloads import ClusterError, Kube, resource

pytestmark = pytest.mark.cluster
GW = {"gatewayRef": {"name": "gw"}}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no gateway": (resource("GatewayBackup", "a", {}), "gatewayRef"),
    "no spec": ({"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayBackup", "metadata": {"name": "a"}}, "spec"),
    "a long name": (resource("GatewayBackup", "a" * 64, GW), "at most 63 characters"),
    "a group with a slash": (resource("GatewayBackup", "a", {**GW, "group": "a/b"}), "a group must be a DNS label"),
    "an upper-case gateway": (resource("GatewayBackup", "a", {"gatewayRef": {"name": "GW"}}), "must be a DNS label"),
    "an ordinal of a Deployment": (
        resource("GatewayBackup", "a", {"gatewayRef": {"name": "gw", "ordinal": 1}}),
        "ordinal is for a StatefulSet",
    ),
    "another kind": (resource("GatewayBackup", "a", {"gatewayRef": {"name": "gw", "kind": "DaemonSet"}}), "kind"),
    "a timeout of nothing": (resource("GatewayBackup", "a", {**GW, "timeoutSeconds": 0}), "timeoutSeconds"),
    "no source": (resource("GatewayRestore", "a", GW), "exactly one source"),
    "two sources": (resource("GatewayRestore", "a", {**GW, "backupName": "x", "latest": {}}), "exactly one source"),
    "half a digest": (
        resource("GatewayRestore", "a", {**GW, "path": "x.json", "expectedSha256": "abc"}),
        "expectedSha256",
    ),
    "a file to be deleted at once": (
        resource("GatewayBackup", "a", {**GW, "deleteFile": True}),
        "deleteFile cannot be",
    ),
    "an unknown field": (resource("GatewayBackup", "a", {**GW, "retain": {"keepLast": 1}}), "unknown field"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(kube: Kube, case: str) -> None:
    body, sentence = REFUSED[case]
    with pytest.raises(ClusterError, match=sentence):
        kube.run("create", "--validate=strict", "-f", "-", body=body)


CHANGES: dict[str, tuple[str, str, str]] = {
    "gatewayRef": ("gwb", '{"gatewayRef":{"name":"other"}}', "a backup belongs to one gateway"),
    "group": ("gwb", '{"group":"nightly"}', "group cannot change"),
    "timeoutSeconds": ("gwb", '{"timeoutSeconds":20}', "timeoutSeconds cannot change"),
    "retryLimit": ("gwb", '{"retryLimit":1}', "retryLimit cannot change"),
    "startingDeadlineSeconds": ("gwb", '{"startingDeadlineSeconds":20}', "startingDeadlineSeconds cannot change"),
    "another source": ("gwr", '{"backupName":null,"latest":{}}', "a restore runs once"),
    "another field": ("gwr", '{"restart":"Always"}', "a restore runs once"),
    "a field that goes": ("gwr", '{"description":null}', "a restore runs once"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_may_not_change_does_not(kube: Kube, case: str) -> None:
    kind, change, sentence = CHANGES[case]
    kube.backup("it")
    kube.restore("it", backupName="it", description="a note")
    with pytest.raises(ClusterError, match=sentence):
        kube.run("patch", f"{kind}/it", "--type=merge", "-p", f'{{"spec":{change}}}')


def test_what_may_change_does(kube: Kube) -> None:
    kube.backup("it")
    kube.run("patch", "gwb/it", "--type=merge", "-p", '{"spec":{"deleteFile":true,"description":"x"}}')


def test_columns_and_short_names(kube: Kube) -> None:
    kube.backup("it")
    header = kube.run("get", "gwb").splitlines()[0].split()
    assert header == ["NAME", "PHASE", "GATEWAY", "SIZE", "VERIFIED", "GROUP", "PINNED", "AGE"]
    assert "gatewaybackup.mcpgateway.dev/it" in kube.run("get", "mcpgateway", "-o", "name")
