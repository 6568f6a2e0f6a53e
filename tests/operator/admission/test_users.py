"""Each verb of a user on each kind: what the admission policies allow, and the message of each refusal."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.operator.support.callers import APPLY, MERGE, OUR_KINDS, Answer, Caller, complete, grant_user, rule
from tests.operator.support.workloads import Kube, wait_for

pytestmark = pytest.mark.cluster

GW = {"gatewayRef": {"name": "gw"}}
SPECS: dict[str, dict[str, Any]] = {
    "gatewaybackups": GW,
    "gatewayrestores": {**GW, "latest": {}, "mode": "DryRun"},
    "gatewaybackupschedules": {**GW, "schedule": "0 3 1 1 *"},
    "gatewaybackupimports": GW,
}
Owner = dict[str, str]
names = (f"it-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def owner(team: Kube) -> Owner:
    """A reference to an object that exists: the garbage collector deletes objects whose owner does not."""
    team.kubectl("create", "configmap", "owner")
    uid = team.require("configmap", "owner")["metadata"]["uid"]
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}


def body(plural: str, name: str, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """An object of one of our kinds."""
    return complete(plural, {"metadata": {"name": name, **(metadata or {})}, "spec": {**SPECS[plural], **spec}})


def existing(kube: Kube, plural: str, metadata: dict[str, Any] | None = None, **spec: Any) -> str:
    """Create an object as a cluster-admin, and return its name."""
    name = next(names)
    assert Caller(kube).create(plural, body(plural, name, metadata, **spec)).allowed
    return name


def change(caller: Caller, plural: str, name: str, patch: dict[str, Any], way: str = "patch") -> Answer:
    """Change an object with a merge patch, with a PUT of the whole object, or with a server-side apply."""
    if way == "patch":
        return caller.patch(plural, name, patch)
    if way == "apply":
        minimal = {**complete(plural, {}), "metadata": {"name": name, **patch.get("metadata", {})}}
        spec = {"spec": {**SPECS[plural], **patch["spec"]}} if "spec" in patch else {}
        query = {"fieldManager": "them", "force": "true"}
        return caller.send("PATCH", plural, name, body={**minimal, **spec}, content_type=APPLY, **query)
    current = Caller(caller.kube).send("GET", plural, name).body
    changed = {**current, "spec": {**current["spec"], **patch.get("spec", {})}}
    changed["metadata"] = {**current["metadata"], **patch.get("metadata", {})}
    return caller.send("PUT", plural, name, body=changed)


def refused(answer: Answer, *texts: str) -> None:
    """Check that a policy refused the request, with these texts in the message."""
    assert answer.status == 403, answer
    assert "ValidatingAdmissionPolicy" in answer.message, answer
    for text in texts:
        assert text in answer.message, answer


NO_OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "00000000-0000-0000-0000-000000000001"}
FORGED_METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "an owner": ({"ownerReferences": [NO_OWNER]}, "metadata.ownerReferences cannot be set when"),
    "a finalizer": ({"finalizers": ["a.example/b"]}, "metadata.finalizers cannot be set when"),
    "our finalizer": ({"finalizers": ["mcpgateway.dev/finalizer"]}, "metadata.finalizers cannot be set when"),
    "a deletion policy": ({"finalizers": ["foregroundDeletion"]}, "metadata.finalizers cannot be set when"),
    "an approval": ({"annotations": {"mcpgateway.dev/approve-deletions": "1"}}, "cannot be created with an approval"),
}


@pytest.mark.parametrize("plural", OUR_KINDS)
@pytest.mark.parametrize("case", FORGED_METADATA)
def test_creators_cannot_set_owners_finalizers_or_approvals(
    team: Kube, writer: Caller, deleter: Caller, plural: str, case: str
) -> None:
    metadata, message = FORGED_METADATA[case]
    for caller in (writer, deleter):
        refused(caller.create(plural, body(plural, next(names), metadata)), message, OUR_KINDS[plural])
        # A create by server-side apply and one with generateName are creates as well.
        name = next(names)
        forged = body(plural, name, metadata)
        refused(
            caller.send("PATCH", plural, name, body=forged, content_type=APPLY, fieldManager="them"),
            message,
        )
        generated = {**body(plural, "", metadata), "metadata": {"generateName": "it-", **metadata}}
        refused(caller.create(plural, generated), message)
    # A restore by Velero runs as cluster-admin. It keeps finalizers, labels and annotations.
    assert Caller(team).create(plural, body(plural, next(names), metadata), dryRun="All").allowed


@pytest.mark.parametrize("plural", OUR_KINDS)
def test_creators_set_labels_and_annotations_freely(writer: Caller, plural: str) -> None:
    free = {"labels": {"mcpgateway.dev/schedule": "x"}, "annotations": {"mcpgateway.dev/note": "x", "a.example/b": "c"}}
    assert writer.create(plural, body(plural, next(names), free)).allowed
    assert writer.create(plural, body(plural, next(names), {"ownerReferences": [], "finalizers": []})).allowed


@pytest.mark.parametrize("way", ["patch", "put", "apply"])
@pytest.mark.parametrize("plural", OUR_KINDS)
def test_adding_an_owner_needs_delete_on_the_object(
    team: Kube, owner: Owner, writer: Caller, deleter: Caller, plural: str, way: str
) -> None:
    name = existing(team, plural)
    owned = {"metadata": {"ownerReferences": [owner]}}
    refused(change(writer, plural, name, owned, way), "adding an owner", f"--verb=delete --resource={plural}.mcpg")
    assert change(deleter, plural, name, owned, way).allowed


@pytest.mark.parametrize("field", ["apiVersion", "kind", "name", "uid"])
def test_changing_an_owner_counts_as_adding_one(team: Kube, owner: Owner, writer: Caller, field: str) -> None:
    name = existing(team, "gatewaybackups", {"ownerReferences": [owner]})
    other = {**owner, field: "00000000-0000-0000-0000-000000000002" if field == "uid" else "other"}
    refused(writer.patch("gatewaybackups", name, {"metadata": {"ownerReferences": [other]}}), "adding an owner")
    kept = {"metadata": {"ownerReferences": [{**owner, "blockOwnerDeletion": True}]}}
    assert writer.patch("gatewaybackups", name, kept).allowed
    assert writer.patch("gatewaybackups", name, {"metadata": {"ownerReferences": None}}).allowed


DELETING: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a ttl": ({}, {"ttl": "1s"}, "spec.ttl cannot be set"),
    "a shorter ttl": ({"ttl": "30d"}, {"ttl": "1s"}, "spec.ttl cannot be set"),
    "deleteFile": ({}, {"deleteFile": True}, "spec.deleteFile cannot be set"),
    "an accepted backup": ({}, {"accepted": True}, "spec.accepted cannot be set"),
    "unpinned": ({"pinned": True}, {"pinned": False}, "spec.pinned cannot be removed"),
    "a removed pin": ({"pinned": True}, {"pinned": None}, "spec.pinned cannot be removed"),
}


@pytest.mark.parametrize("case", DELETING)
def test_changes_that_lead_to_a_deletion_need_delete_on_that_backup(
    team: Kube, writer: Caller, deleter: Caller, case: str
) -> None:
    before, patch, message = DELETING[case]
    other = grant_user(team, "other", rule("mcpgateway.dev", "gatewaybackups", "update patch"),
                       rule("mcpgateway.dev", "gatewaybackups", "delete", "another"))  # fmt: skip
    name = existing(team, "gatewaybackups", **before)
    for caller in (writer, other):
        for way in ("patch", "put", "apply")[: 3 if None not in patch.values() else 1]:
            answer = change(caller, "gatewaybackups", name, {"spec": patch}, way)
            refused(answer, message, "needs the verb delete", f"--user={caller.user}", team.namespace)
    assert change(deleter, "gatewaybackups", name, {"spec": patch}).allowed


def test_delete_on_one_named_backup_suffices_for_it(team: Kube, writer: Caller) -> None:
    name = existing(team, "gatewaybackups", pinned=True)
    refused(writer.patch("gatewaybackups", name, {"spec": {"pinned": False}}), "create role gatewaybackups-delete")
    named = grant_user(team, "named", rule("mcpgateway.dev", "gatewaybackups", "patch"),
                       rule("mcpgateway.dev", "gatewaybackups", "delete", name))  # fmt: skip
    wait_for("the role acts", lambda: named.patch("gatewaybackups", name, {"spec": {"pinned": False}}).allowed)


HARMLESS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "description": ({}, {"spec": {"description": "x"}}),
    "pinned": ({}, {"spec": {"pinned": True}}),
    "no ttl": ({"ttl": "30d"}, {"spec": {"ttl": None}}),
    "the same ttl": ({"ttl": "30d"}, {"spec": {"ttl": "30d", "description": "x"}}),
    "still pinned": ({"pinned": True}, {"spec": {"description": "x"}}),
    "a file kept": ({}, {"spec": {"deleteFile": False}}),
    "not accepted": ({}, {"spec": {"accepted": False}}),
    "a label": ({}, {"metadata": {"labels": {"a": "b"}}}),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_changes_that_keep_backups_need_only_update(team: Kube, writer: Caller, case: str) -> None:
    before, patch = HARMLESS[case]
    answer = writer.patch("gatewaybackups", existing(team, "gatewaybackups", **before), patch)
    assert answer.allowed, answer


RETENTION = {"retention": {"keepLast": 7}}
SCHEDULES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a retention": ({}, RETENTION, "spec.retention cannot be set"),
    "an empty retention": ({}, {"retention": {}}, "spec.retention cannot be set"),
    "a smaller retention": (RETENTION, {"retention": {"keepLast": 1}}, "spec.retention cannot be set"),
    "a maximum age": (RETENTION, {"retention": {"maxAge": "1s"}}, "spec.retention cannot be set"),
    "adopted backups": (RETENTION, {"retention": {"includeAdopted": True}}, "spec.retention cannot be set"),
    "no dry run": ({"retention": {"keepLast": 1, "dryRun": True}}, {"retention": {"dryRun": False}}, "spec.retention"),
    "a ttl": ({}, {"backupTemplate": {"ttl": "1s"}}, "spec.backupTemplate.ttl cannot be set"),
    "a shorter ttl": (
        {"backupTemplate": {"ttl": "30d"}},
        {"backupTemplate": {"ttl": "1s"}},
        "spec.backupTemplate.ttl cannot be set",
    ),
    "more frequent": (RETENTION, {"schedule": "* * * * *"}, "spec.schedule of a schedule with retention"),
    "more frequent with a ttl": (
        {"backupTemplate": {"ttl": "30d"}},
        {"schedule": "* * * * *"},
        "spec.schedule of a schedule with retention",
    ),
    "no guard": (
        RETENTION,
        {"backupTemplate": {"verification": {"maxShrinkPercent": 100}}},
        "spec.backupTemplate of a schedule with retention",
    ),
}


@pytest.mark.parametrize("way", ["patch", "put"])
@pytest.mark.parametrize("case", SCHEDULES)
def test_retention_of_a_schedule_needs_delete_on_all_backups(
    team: Kube, writer: Caller, deleter: Caller, case: str, way: str
) -> None:
    before, patch, message = SCHEDULES[case]
    name = existing(team, "gatewaybackupschedules", **before)
    # Permission to delete one backup, or the schedule itself, is not permission to delete all of its backups.
    partial = grant_user(team, "partial", rule("mcpgateway.dev", "gatewaybackupschedules", "update patch delete"),
                         rule("mcpgateway.dev", "gatewaybackups", "delete", name))  # fmt: skip
    for caller in (writer, partial):
        answer = change(caller, "gatewaybackupschedules", name, {"spec": patch}, way)
        refused(answer, message, "--verb=delete --resource=gatewaybackups.mcpgateway.dev", f"--user={caller.user}")
    if not before:
        refused(writer.create("gatewaybackupschedules", body("gatewaybackupschedules", next(names), **patch)), message)
    assert change(deleter, "gatewaybackupschedules", name, {"spec": patch}, way).allowed


@pytest.mark.parametrize(
    ("before", "patch"),
    [
        ({}, {"schedule": "* * * * *"}),
        ({}, {"backupTemplate": {"verification": {"maxShrinkPercent": 100}}}),
        (RETENTION, {"suspend": True}),
        (RETENTION, {"retention": None}),
        (RETENTION, {"retention": {"keepLast": 7}, "objective": {"maxAge": "1h"}}),
        ({"backupTemplate": {"ttl": "30d"}}, {"backupTemplate": {"ttl": "30d"}, "suspend": True}),
    ],
)
def test_changes_of_a_schedule_that_keep_backups_need_only_update(
    team: Kube, writer: Caller, before: dict[str, Any], patch: dict[str, Any]
) -> None:
    answer = writer.patch("gatewaybackupschedules", existing(team, "gatewaybackupschedules", **before), {"spec": patch})
    assert answer.allowed, answer


def test_approval_of_deletions_needs_delete_on_all_backups(team: Kube, writer: Caller, deleter: Caller) -> None:
    plural, key = "gatewaybackupschedules", "mcpgateway.dev/approve-deletions"
    name = existing(team, plural)

    def approve(value: str | None) -> dict[str, Any]:
        return {"metadata": {"annotations": {key: value}}}

    for way in ("patch", "put", "apply"):
        refused(change(writer, plural, name, approve("1"), way), "deletions cannot be approved")
    assert deleter.patch(plural, name, approve("1")).allowed
    refused(writer.patch(plural, name, approve("2")), "deletions cannot be approved")
    assert writer.patch(plural, name, {"metadata": {"annotations": {"a.example/b": "c"}}}).allowed
    assert writer.patch(plural, name, approve(None)).allowed


@pytest.mark.parametrize("plural", OUR_KINDS)
def test_nobody_but_the_operator_writes_a_status(team: Kube, writer: Caller, deleter: Caller, plural: str) -> None:
    name = existing(team, plural)
    for caller in (writer, deleter):
        answer = caller.send("PATCH", plural, f"{name}/status", body={"status": {}}, content_type=MERGE)
        assert answer.status == 403, answer
    # A status in a create or an update is ignored.
    assert writer.patch(plural, name, {"status": {"phase": "Completed"}}).allowed
    assert "phase" not in Caller(team).send("GET", plural, name).body.get("status", {})
    forged = {**body(plural, next(names)), "status": {"phase": "Completed"}}
    assert "phase" not in writer.create(plural, forged).body.get("status", {})


def test_removing_finalizers_and_owners_needs_no_more_than_update(team: Kube, owner: Owner, writer: Caller) -> None:
    metadata = {"finalizers": ["a.example/b"], "ownerReferences": [owner]}
    name = existing(team, "gatewaybackups", metadata)
    assert writer.patch("gatewaybackups", name, {"metadata": dict.fromkeys(metadata)}).allowed
