"""Who may restore, and the two people of an approval, on the real API server with real identities."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest

from tests.operator.support.callers import APPLY, MERGE, Answer, Caller, grant_user, rule
from tests.operator.support.workloads import Kube, wait_for

pytestmark = pytest.mark.cluster

KEY = "mcpgateway.dev/approved-by"
PLURAL = "gatewayrestores"
SPEC: dict[str, Any] = {"gatewayRef": {"name": "gw"}, "latest": {}}
WRITE = "get list watch create update patch delete"
names = (f"back-{number}" for number in itertools.count())


def restore(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {**SPEC, **spec}}


def approve(user: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": {KEY: user}}}


def refused(answer: Answer, *texts: str) -> None:
    """Check that a policy refused the request, with these texts in the message."""
    assert answer.status == 403, answer
    assert "ValidatingAdmissionPolicy" in answer.message, answer
    for text in texts:
        assert text in answer.message, answer


@pytest.fixture(scope="module")
def asker(team: Kube) -> Caller:
    """Requests restores: may create and apply."""
    return grant_user(team, "asker", rule("mcpgateway.dev", PLURAL, f"{WRITE} apply"))


@pytest.fixture(scope="module")
def approver(team: Kube) -> Caller:
    """A second person with the same permissions."""
    return grant_user(team, "approver", rule("mcpgateway.dev", PLURAL, f"{WRITE} apply"))


@pytest.fixture(scope="module")
def editor(team: Kube) -> Caller:
    """May do everything with GatewayRestores but apply one."""
    return grant_user(team, "editor", rule("mcpgateway.dev", PLURAL, f"{WRITE} deletecollection"))


def waiting(asker: Caller, **spec: Any) -> str:
    """Create a restore that names its requester. Returns its name."""
    name = next(names)
    answer = asker.create(PLURAL, restore(name, **{"requestedBy": asker.user, **spec}))
    assert answer.allowed, answer
    return name


WAYS = ("patch", "put", "apply", "json-patch")


def annotate(caller: Caller, name: str, user: str | None, way: str = "patch") -> Answer:
    """Set or remove the approving annotation in one of the ways that a client has."""
    current = Caller(caller.kube).send("GET", PLURAL, name).body
    if way == "patch":
        return caller.patch(PLURAL, name, approve(user))
    if way == "apply":
        body = {key: current[key] for key in ("apiVersion", "kind", "spec")}
        metadata = {"name": name, **({"annotations": {KEY: user}} if user is not None else {})}
        query = {"fieldManager": "kubectl", "force": "true"}
        return caller.send("PATCH", PLURAL, name, body={**body, "metadata": metadata}, content_type=APPLY, **query)
    annotations = dict(current["metadata"].get("annotations") or {})
    annotations.pop(KEY, None)
    if user is not None:
        annotations[KEY] = user
    if way == "json-patch":
        change = [{"op": "add", "path": "/metadata/annotations", "value": annotations}]
        return caller.send("PATCH", PLURAL, name, body=change, content_type="application/json-patch+json")
    body = {**current, "metadata": {**current["metadata"], "annotations": annotations}}
    return caller.send("PUT", PLURAL, name, body=body)


@pytest.mark.parametrize("mode", [None, "Apply"])
def test_mode_apply_needs_the_verb_apply(team: Kube, asker: Caller, editor: Caller, mode: str | None) -> None:
    spec = {} if mode is None else {"mode": mode}
    for way in ("create", "generateName", "apply"):
        name = next(names)
        body = restore(name, **spec)
        if way == "generateName":
            body["metadata"] = {"generateName": f"{name}-"}
        if way == "apply":
            body = {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayRestore", **body}
            answer = editor.send("PATCH", PLURAL, name, body=body, content_type=APPLY, fieldManager="them")
        else:
            answer = editor.create(PLURAL, body)
        refused(answer, "needs the verb apply", f"-n {team.namespace} create role", "--verb=apply", "--user=editor")
    assert asker.create(PLURAL, restore(next(names), **spec)).allowed


@pytest.mark.parametrize("mode", ["DryRun", "Drill"])
def test_dry_runs_and_drills_need_only_create(editor: Caller, mode: str) -> None:
    name = next(names)
    assert editor.create(PLURAL, restore(name, mode=mode)).allowed
    # The mode cannot change later.
    assert not editor.patch(PLURAL, name, {"spec": {"mode": "Apply"}}).allowed
    assert not editor.patch(PLURAL, name, {"spec": {"mode": None}}).allowed


@pytest.mark.parametrize("end", ["Commit", "Rollback"])
def test_setting_the_end_needs_the_verb_apply(asker: Caller, editor: Caller, end: str) -> None:
    name = waiting(asker)
    refused(editor.patch(PLURAL, name, {"spec": {"end": end}}), "spec.end", "needs the verb apply")
    assert asker.patch(PLURAL, name, {"spec": {"end": end}}).allowed


def test_the_verb_comes_from_a_group_as_well(team: Kube) -> None:
    nobody = Caller(team, user="nobody")
    member = Caller(team, user="member", group="restorers")
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "restorers"}}
    team.apply({**head, "kind": "Role", "rules": [rule("mcpgateway.dev", PLURAL, f"{WRITE} apply")]})
    team.apply(
        {
            **head,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "restorers"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "restorers"}],
        }
    )
    wait_for("the role acts", lambda: member.create(PLURAL, restore(next(names))).allowed)
    assert not nobody.create(PLURAL, restore(next(names))).allowed


def test_requested_by_is_the_creator(team: Kube, asker: Caller) -> None:
    for other in ("approver", "Asker", "asker ", "system:serviceaccount:a:b"):
        refused(asker.create(PLURAL, restore(next(names), requestedBy=other)), "spec.requestedBy must be", "asker")
    # Not even a cluster-admin requests in the name of somebody else.
    refused(Caller(team).create(PLURAL, restore(next(names), requestedBy="asker")), "spec.requestedBy must be")
    name = waiting(asker)
    assert not asker.patch(PLURAL, name, {"spec": {"requestedBy": "approver"}}).allowed
    assert not Caller(team).patch(PLURAL, name, {"spec": {"requestedBy": None}}).allowed


@pytest.mark.parametrize("user", ["asker", "approver", ""])
def test_nobody_creates_an_approved_restore(team: Kube, asker: Caller, user: str) -> None:
    body = restore(next(names))
    body["metadata"]["annotations"] = {KEY: user}
    for caller in (asker, Caller(team)):
        refused(caller.create(PLURAL, body), "cannot be created with an approval")
        applied = {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayRestore", **body}
        query = {"fieldManager": "them", "force": "true"}
        answer = caller.send("PATCH", PLURAL, body["metadata"]["name"], body=applied, content_type=APPLY, **query)
        refused(answer, "cannot be created with an approval")


@pytest.mark.parametrize("way", WAYS)
def test_only_a_second_person_with_apply_approves(asker: Caller, approver: Caller, editor: Caller, way: str) -> None:
    name = waiting(asker)
    refused(annotate(asker, name, "asker", way), "another person must approve it")
    refused(annotate(asker, name, "approver", way), "must name the user who approves")
    refused(annotate(approver, name, "asker", way), "must name the user who approves")
    refused(annotate(editor, name, "editor", way), "needs the verb apply")
    refused(annotate(editor, name, "approver", way), "must name the user who approves")
    assert annotate(approver, name, "approver", way).allowed


@pytest.mark.parametrize("way", WAYS)
def test_only_the_approver_withdraws_the_approval(
    team: Kube, asker: Caller, approver: Caller, editor: Caller, way: str
) -> None:
    name = waiting(asker)
    assert annotate(approver, name, "approver").allowed
    for caller in (asker, editor, Caller(team)):
        # A server-side apply removes only fields that its manager owns.
        if way != "apply":
            refused(annotate(caller, name, None, way), "can be withdrawn only by")
        refused(annotate(caller, name, caller.user or "admin", way), "can be withdrawn only by")
    # Other changes keep it.
    assert asker.patch(PLURAL, name, {"metadata": {"annotations": {"a.example/b": "c"}}}).allowed
    assert annotate(approver, name, None, "patch").allowed
    assert annotate(approver, name, "approver", way).allowed


def test_a_restore_that_names_no_requester_cannot_be_approved(asker: Caller, approver: Caller) -> None:
    name = next(names)
    assert asker.create(PLURAL, restore(name)).allowed
    refused(annotate(approver, name, "approver"), "spec.requestedBy names nobody")


def _is_refused_as_account(caller: Caller, name: str, user: str) -> bool:
    answer = annotate(caller, name, user)
    assert not answer.allowed, answer
    return "a ServiceAccount cannot approve" in answer.message


def test_service_accounts_cannot_approve(team: Kube, asker: Caller) -> None:
    team.kubectl("create", "serviceaccount", "robot")
    team.kubectl("create", "rolebinding", "robot", "--role=approver", f"--serviceaccount={team.namespace}:robot")
    robot = Caller.account(team, "robot")
    user = f"system:serviceaccount:{team.namespace}:robot"
    name = waiting(asker)
    impersonated = Caller(team, user=user)
    for caller in (robot, impersonated):
        wait_for("the policy judges", partial(_is_refused_as_account, caller, name, user))


def test_status_subresource_changes_no_approval(team: Kube, asker: Caller, editor: Caller) -> None:
    grant_user(team, "asker", rule("mcpgateway.dev", f"{PLURAL} {PLURAL}/status", f"{WRITE} apply"))
    name = waiting(asker)
    body = {**approve("asker"), "status": {"phase": "Pending"}}

    def patched() -> Answer:
        return asker.send("PATCH", PLURAL, f"{name}/status", body=body, content_type=MERGE)

    wait_for("the role acts", lambda: patched().status != 403 or "Policy" in patched().message)
    current = Caller(team).send("GET", PLURAL, name).body
    assert KEY not in (current["metadata"].get("annotations") or {})


def test_kubectl_annotates_for_the_approver_alone(team: Kube, asker: Caller, approver: Caller) -> None:
    name = waiting(asker)
    team.kubectl(f"--as={approver.user}", "annotate", "gwr", name, f"{KEY}={approver.user}")
    assert team.require("gwr", name)["metadata"]["annotations"][KEY] == "approver"
    team.kubectl(f"--as={asker.user}", "annotate", "gwr", name, f"{KEY}-", check=False)
    assert team.require("gwr", name)["metadata"]["annotations"][KEY] == "approver"


def test_message_contains_a_command_that_grants_the_verb(team: Kube, editor: Caller) -> None:
    stranger = grant_user(team, "stranger-2", rule("mcpgateway.dev", PLURAL, "create"))
    answer = stranger.create(PLURAL, restore(next(names)))
    refused(answer, "To grant it: kubectl")
    for command in answer.message.split("To grant it: kubectl ")[1].split(" && kubectl "):
        team.cluster.kubectl(*command.split())
    wait_for("the role acts", lambda: stranger.create(PLURAL, restore(next(names))).allowed)
