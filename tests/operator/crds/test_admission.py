"""Validation by the CRDs: the API server rejects invalid objects and changes with a message that names the cause."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.support.workloads import ClusterError, Kube, custom_resource

pytestmark = pytest.mark.cluster
GW = {"gatewayRef": {"name": "gw"}}
JOB = {"name": "nightly-1", "uid": "0f3c9a77-1111-4222-8333-444455556666"}

INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "no gateway": (custom_resource("GatewayBackup", "a", {}), "gatewayRef"),
    "no spec": ({"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayBackup", "metadata": {"name": "a"}}, "spec"),
    "a long name": (custom_resource("GatewayBackup", "a" * 64, GW), "at most 63 characters"),
    "a group with a slash": (
        custom_resource("GatewayBackup", "a", {**GW, "group": "a/b"}),
        "a group must be a DNS label",
    ),
    "an upper-case gateway": (
        custom_resource("GatewayBackup", "a", {"gatewayRef": {"name": "GW"}}),
        "must be a DNS label",
    ),
    "an ordinal of a Deployment": (
        custom_resource("GatewayBackup", "a", {"gatewayRef": {"name": "gw", "ordinal": 1}}),
        "ordinal is for a StatefulSet",
    ),
    "another kind": (
        custom_resource("GatewayBackup", "a", {"gatewayRef": {"name": "gw", "kind": "DaemonSet"}}),
        "kind",
    ),
    "a timeout of zero": (custom_resource("GatewayBackup", "a", {**GW, "timeoutSeconds": 0}), "timeoutSeconds"),
    "no source": (custom_resource("GatewayRestore", "a", GW), "exactly one source"),
    "two sources": (
        custom_resource("GatewayRestore", "a", {**GW, "backupName": "x", "latest": {}}),
        "exactly one source",
    ),
    "a path and a factory reset": (
        custom_resource("GatewayRestore", "a", {**GW, "path": "x.json", "factoryReset": {"confirm": True}}),
        "exactly one source",
    ),
    "a factory reset that is not confirmed": (
        custom_resource("GatewayRestore", "a", {**GW, "factoryReset": {"confirm": False}}),
        "confirm must be true",
    ),
    "a factory reset without confirm": (custom_resource("GatewayRestore", "a", {**GW, "factoryReset": {}}), "confirm"),
    "a drill of a factory reset": (
        custom_resource("GatewayRestore", "a", {**GW, "mode": "Drill", "factoryReset": {"confirm": True}}),
        "cannot have mode Drill",
    ),
    "a factory reset with an identity": (
        custom_resource(
            "GatewayRestore", "a", {**GW, "factoryReset": {"confirm": True}, "identitySecretRef": {"name": "s"}}
        ),
        "describe a backup",
    ),
    "an unknown mode": (custom_resource("GatewayRestore", "a", {**GW, "path": "x", "mode": "Test"}), "mode"),
    "end at creation": (
        custom_resource("GatewayRestore", "a", {**GW, "path": "x", "end": "Commit"}),
        "end cannot be set when a restore is created",
    ),
    "a digest that is too short": (
        custom_resource("GatewayRestore", "a", {**GW, "path": "x.json", "expectedSha256": "abc"}),
        "expectedSha256",
    ),
    "a ttl of an adopted file": (
        custom_resource("GatewayBackup", "a", {**GW, "existing": {"path": "x.json"}, "ttl": "1s"}),
        "ttl cannot be set when a file is adopted",
    ),
    **{
        f"before {time}": (custom_resource("GatewayRestore", "a", {**GW, "before": time}), "before")
        for time in (
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "2016-12-31T23:59:60Z",
            "2026-05-01T12:00:00+99:99",
            "9999-12-31T23:59:59-14:00",
            "2026-05-01",
        )
    },
    "deleteFile at creation": (
        custom_resource("GatewayBackup", "a", {**GW, "deleteFile": True}),
        "deleteFile cannot be",
    ),
    "accepted at creation": (
        custom_resource("GatewayBackup", "a", {**GW, "accepted": True}),
        "accepted cannot be",
    ),
    "a retention policy": (
        custom_resource("GatewayBackup", "a", {**GW, "retention": {"keepLast": 1}}),
        "unknown field",
    ),
    "a job and a file": (
        custom_resource("GatewayBackup", "a", {**GW, "job": JOB, "existing": {"path": "x"}}),
        "job or existing, not both",
    ),
    "a job without a uid": (custom_resource("GatewayBackup", "a", {**GW, "job": {"name": "j"}}), "uid"),
    "an unknown field": (custom_resource("GatewayBackup", "a", {**GW, "retain": {"keepLast": 1}}), "unknown field"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_objects_are_rejected_with_a_message(kube: Kube, case: str) -> None:
    body, message = INVALID[case]
    with pytest.raises(ClusterError, match=message):
        kube.kubectl("create", "--validate=strict", "-f", "-", body=body)


FORBIDDEN_CHANGES: dict[str, tuple[str, str, str]] = {
    "gatewayRef": ("gwb", '{"gatewayRef":{"name":"other"}}', "a backup belongs to one gateway"),
    "group": ("gwb", '{"group":"nightly"}', "group cannot change"),
    "timeoutSeconds": ("gwb", '{"timeoutSeconds":20}', "timeoutSeconds cannot change"),
    "retryLimit": ("gwb", '{"retryLimit":1}', "retryLimit cannot change"),
    "startingDeadlineSeconds": ("gwb", '{"startingDeadlineSeconds":20}', "startingDeadlineSeconds cannot change"),
    "job": ("gwb", '{"job":{"name":"nightly-2"}}', "job cannot be added"),
    "a removed job": ("gwb", '{"job":null}', "job cannot be added"),
    "another source": ("gwr", '{"backupName":null,"latest":{}}', "a restore runs once"),
    "an added source": ("gwr", '{"factoryReset":{"confirm":true}}', "a restore runs once"),
    "another mode": ("gwr", '{"mode":"DryRun"}', "a restore runs once"),
    "an added field": ("gwr", '{"requestedBy":"jane"}', "a restore runs once"),
    "another field with end": ("gwr", '{"end":"Commit","supersede":true}', "a restore runs once"),
    "another field": ("gwr", '{"restart":"Always"}', "a restore runs once"),
    "a removed field": ("gwr", '{"description":null}', "a restore runs once"),
}


@pytest.mark.parametrize("case", FORBIDDEN_CHANGES)
def test_immutable_fields_cannot_change(kube: Kube, case: str) -> None:
    kind, change, message = FORBIDDEN_CHANGES[case]
    kube.apply_backup("it", job=JOB)
    kube.apply_restore("it", backupName="it", description="a note")
    with pytest.raises(ClusterError, match=message):
        kube.kubectl("patch", f"{kind}/it", "--type=merge", "-p", f'{{"spec":{change}}}')


@pytest.mark.parametrize("change", ['{"end":"Rollback"}', '{"end":null}'])
def test_end_of_a_restore_can_be_set_only_once(kube: Kube, change: str) -> None:
    kube.apply_restore("it", backupName="it")
    kube.patch_spec("gwr", "it", {"end": "Commit"})
    with pytest.raises(ClusterError, match="end can be set once"):
        kube.kubectl("patch", "gwr/it", "--type=merge", "-p", f'{{"spec":{change}}}')


def test_dry_run_has_no_end(kube: Kube) -> None:
    kube.apply_restore("it", mode="DryRun", factoryReset={"confirm": True})
    with pytest.raises(ClusterError, match="end is for mode Apply"):
        kube.patch_spec("gwr", "it", {"end": "Commit"})


def test_mutable_fields_can_change(kube: Kube) -> None:
    kube.apply_backup("it")
    kube.patch_spec("gwb", "it", {"deleteFile": True, "description": "x", "accepted": True})


def test_printer_columns_and_short_names(kube: Kube) -> None:
    kube.apply_backup("it")
    header = kube.kubectl("get", "gwb").splitlines()[0].split()
    assert header == ["NAME", "PHASE", "REASON", "GATEWAY", "SIZE", "VERIFIED", "GROUP", "AGE"]
    assert "gatewaybackup.mcpgateway.dev/it" in kube.kubectl("get", "mcpgateway", "-o", "name")
