"""The admission policies: when they are installed, and rules for all of them. tests/operator/admission runs them."""

import re
from collections.abc import Iterator

import pytest

from tests.unit.charts.render import Object, of_kind, one, render

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"


def policies(values: Object | None = None) -> list[Object]:
    """The policies that the operator's chart installs."""
    return of_kind(render("operator", values), POLICY)


def test_each_policy_denies_requests_in_all_namespaces() -> None:
    objects = render("operator")
    bindings = {item["spec"]["policyName"]: item["spec"] for item in of_kind(objects, BINDING)}
    assert bindings.keys() == {item["metadata"]["name"] for item in policies()}
    for binding in bindings.values():
        assert binding["validationActions"] == ["Deny"]
        assert binding.keys() <= {"policyName", "validationActions", "paramRef"}, (
            "a selector would leave namespaces out"
        )
    for item in policies():
        # Parameters are read before the conditions, so a label must limit these policies to the operator's pods. An
        # uninstall keeps them: without them an API server stops its watch of the parameters (kubernetes#130887).
        has_parameters = "paramKind" in item["spec"]
        expected = {"selector": {}, "parameterNotFoundAction": "Deny"} if has_parameters else None
        assert bindings[item["metadata"]["name"]].get("paramRef") == expected
        assert ("objectSelector" in item["spec"]["matchConstraints"]) == has_parameters
        assert ("annotations" in item["metadata"]) == has_parameters
    for item in policies():
        assert item["spec"]["failurePolicy"] == "Fail"
        (rule,) = item["spec"]["matchConstraints"]["resourceRules"]
        assert rule["apiVersions"] == ["*"], "a later version of a kind is covered as well"


@pytest.mark.parametrize("values", [{"admissionPolicies": {"enabled": False}}, {"watchNamespaces": ["team-a"]}])
def test_no_policies_when_disabled_or_in_role_only_mode(values: Object) -> None:
    objects = render("operator", values)
    assert of_kind(objects, POLICY) == of_kind(objects, BINDING) == []


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def test_policies_name_no_user() -> None:
    for item in policies():
        # Approvals come from people, so this one kind of user is named. It names no user.
        text = "\n".join(_strings(item["spec"])).replace("startsWith('system:serviceaccount:')", "")
        assert not re.search(r"username *[!=]=|groups|system:", text), item["metadata"]["name"]


def test_policies_for_kinds_of_kubernetes_judge_only_the_operator() -> None:
    # Otherwise an error in an expression would stop every deployment in the cluster.
    for item in policies():
        groups = item["spec"]["matchConstraints"]["resourceRules"][0]["apiGroups"]
        conditions = [condition["name"] for condition in item["spec"].get("matchConditions", [])]
        assert conditions == ([] if groups == ["mcpgateway.dev"] else ["is-the-operator", "may-not-update"])


def test_operator_has_the_verbs_that_identify_it() -> None:
    # `update` of a status identifies the operator. With `update` of a workload or CronJob the policies would skip it.
    rules = one(render("operator"), "ClusterRole", "gateway-backup-operator")["rules"]
    rules += one(render("gateway", {"schedule": {"enabled": True}}), "Role", "my-gateway-backup-operator")["rules"]
    updated = {resource for rule in rules if "update" in rule["verbs"] for resource in rule["resources"]}
    assert updated == {"gatewaybackups/status", "gatewaybackupschedules/finalizers"}


def test_policy_names_the_image_of_the_chart() -> None:
    digest = f"sha256:{'a' * 64}"
    objects = render("operator", {"image": {"repository": "host.example/x/op", "tag": "1.2.3", "digest": digest}})
    policy = one(objects, POLICY, "gateway-backup-operator-cronjobs")
    assert f"image == 'host.example/x/op:1.2.3@{digest}'" in str(policy["spec"]["validations"])
