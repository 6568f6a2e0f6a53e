"""Whether the operator accepts an admission policy as one that is in force."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway_operator.domain.gateway.admission import RESTORES_POLICY, InstalledPolicy, last_change, policy_problem
from tests.unit.gateway_operator.policies import INSTALLED_AT, chart_policy

NAME = "gateway-backup-operator-restores"
LATER = INSTALLED_AT + timedelta(hours=1)
Change = Callable[[dict[str, Any], dict[str, Any]], object]


def problem(change: Change | None = None) -> str:
    """The problem of the chart's policy and binding after a change of them."""
    policy, binding = chart_policy(RESTORES_POLICY)
    if change is not None:
        change(policy, binding)
    return policy_problem(RESTORES_POLICY, InstalledPolicy(NAME, policy or None, binding or None), LATER)


def first_rule(policy: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = policy["spec"]["matchConstraints"]["resourceRules"][0]
    return rule


def test_the_policy_of_the_chart_is_in_force() -> None:
    assert problem() == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda policy, _: policy["metadata"].update(labels={"a": "b"}),
        lambda policy, _: policy["spec"]["validations"][0].update(messageExpression="'other'"),
        lambda policy, _: policy["spec"]["matchConstraints"].update(
            matchPolicy="Equivalent", namespaceSelector={}, objectSelector={}
        ),
        lambda policy, _: first_rule(policy).update(scope="*"),
        lambda policy, _: first_rule(policy)["operations"].reverse(),
        lambda _, binding: binding["spec"].update(validationActions=["Audit", "Deny"]),
        lambda policy, _: policy["metadata"]["managedFields"].append(
            {"manager": "kube-controller-manager", "subresource": "status", "time": "2026-12-01T00:00:00Z"}
        ),
    ],
)
def test_messages_defaults_and_labels_do_not_matter(change: Change) -> None:
    assert problem(change) == ""


WEAKER: dict[str, tuple[Change, str]] = {
    "no policy": (lambda policy, _: policy.clear(), "does not exist"),
    "no binding": (lambda _, binding: binding.clear(), "has no ValidatingAdmissionPolicyBinding"),
    "policy is being deleted": (
        lambda policy, _: policy["metadata"].update(deletionTimestamp="2026-11-28T12:00:00Z"),
        "does not exist",
    ),
    "binding is being deleted": (
        lambda _, binding: binding["metadata"].update(deletionTimestamp="2026-11-28T12:00:00Z"),
        "has no ValidatingAdmissionPolicyBinding",
    ),
    "failure is ignored": (lambda policy, _: policy["spec"].update(failurePolicy="Ignore"), "is not the one"),
    "only creates": (lambda policy, _: first_rule(policy).update(operations=["CREATE"]), "is not the one"),
    "another kind": (lambda policy, _: first_rule(policy).update(resources=["gatewaybackups"]), "is not the one"),
    "named objects": (lambda policy, _: first_rule(policy).update(resourceNames=["one"]), "is not the one"),
    "other scope": (lambda policy, _: first_rule(policy).update(scope="Cluster"), "is not the one"),
    "no rules": (lambda policy, _: policy["spec"]["matchConstraints"].update(resourceRules=[]), "is not the one"),
    "exact versions": (
        lambda policy, _: policy["spec"]["matchConstraints"].update(matchPolicy="Exact"),
        "is not the one",
    ),
    "excluded": (
        lambda policy, _: policy["spec"]["matchConstraints"].update(excludeResourceRules=[first_rule(policy)]),
        "is not the one",
    ),
    "some namespaces": (
        lambda policy, _: policy["spec"]["matchConstraints"].update(namespaceSelector={"matchLabels": {"a": "b"}}),
        "is not the one",
    ),
    "some objects": (
        lambda policy, _: policy["spec"]["matchConstraints"].update(objectSelector={"matchLabels": {"a": "b"}}),
        "is not the one",
    ),
    "a condition": (
        lambda policy, _: policy["spec"].update(matchConditions=[{"name": "never", "expression": "false"}]),
        "is not the one",
    ),
    "a parameter": (lambda policy, _: policy["spec"].update(paramKind={"kind": "ConfigMap"}), "is not the one"),
    "an expression": (lambda policy, _: policy["spec"]["validations"][3].update(expression="true"), "is not the one"),
    "a variable": (lambda policy, _: policy["spec"]["variables"][2].update(expression="true"), "is not the one"),
    "fewer validations": (lambda policy, _: policy["spec"]["validations"].pop(), "is not the one"),
    "audit": (lambda _, binding: binding["spec"].update(validationActions=["Audit"]), "denies nothing"),
    "warn": (lambda _, binding: binding["spec"].update(validationActions=["Warn", "Audit"]), "denies nothing"),
    "no action": (lambda _, binding: binding["spec"].pop("validationActions"), "denies nothing"),
    "another policy": (lambda _, binding: binding["spec"].update(policyName="other"), "is not the one"),
    "a selector": (
        lambda _, binding: binding["spec"].update(matchResources={"namespaceSelector": {"matchLabels": {"a": "b"}}}),
        "matchResources",
    ),
    "a reference": (lambda _, binding: binding["spec"].update(paramRef={"name": "a"}), "paramRef"),
}


@pytest.mark.parametrize("case", WEAKER)
def test_a_weaker_policy_is_not_in_force(case: str) -> None:
    change, text = WEAKER[case]
    assert text in problem(change)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("seconds", [0, 1, 3600])
def test_a_change_after_the_object_was_created_counts(which: int, seconds: int) -> None:
    changed = (LATER + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def change(*both: dict[str, Any]) -> None:
        both[which]["metadata"]["managedFields"].append({"manager": "kubectl-edit", "time": changed})

    assert "was changed at" in problem(change)


@pytest.mark.parametrize("which", [0, 1])
def test_a_policy_that_was_created_again_counts_as_changed(which: int) -> None:
    def change(*both: dict[str, Any]) -> None:
        both[which]["metadata"]["creationTimestamp"] = LATER.strftime("%Y-%m-%dT%H:%M:%SZ")

    assert "was changed at" in problem(change)


@pytest.mark.parametrize(
    "metadata",
    [{}, {"creationTimestamp": "2026-11-28T12:00:00Z"}, {"managedFields": [{"manager": "x"}]}],
)
def test_an_unknown_time_of_the_last_change_is_not_trusted(metadata: dict[str, Any]) -> None:
    assert last_change({"metadata": metadata}) is None

    def change(policy: dict[str, Any], _: dict[str, Any]) -> None:
        policy["metadata"] = metadata

    assert "at an unknown time" in problem(change)


def test_operators_without_policies_say_how_to_install_them() -> None:
    for installed in (None, InstalledPolicy()):
        assert "admissionPolicies.enabled" in policy_problem(RESTORES_POLICY, installed)
    assert "forbidden" in policy_problem(RESTORES_POLICY, InstalledPolicy(NAME, error="forbidden"))
