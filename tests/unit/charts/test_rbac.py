"""Rights: exactly those of the table, for each account; one more is a decision that this table records."""

import pytest

from tests.unit.charts.render import ROOT, Object, of_kind, one, pod_specs, render

Rule = tuple[str, str, str, str]  # verb, group, resource, name ("*" = any)
OURS = "mcpgateway.dev"


def grants(role: Object) -> set[Rule]:
    """A role's rules, one right each."""
    return {
        (verb, group, resource, name)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
    }


def may(verbs: str, group: str, resource: str, name: str = "*") -> set[Rule]:
    """Rights to one resource, short to write."""
    return {(verb, group, resource, name) for verb in verbs.split()}


OPERATOR = (
    may("get list watch create patch delete", OURS, "gatewaybackups")
    | may("get list watch", OURS, "gatewayrestores")
    | may("get list watch", OURS, "gatewaybackupschedules")
    | may("get list watch", OURS, "gatewaybackupimports")
    | may("patch", OURS, "gatewaybackupschedules/status")
    | may("patch", OURS, "gatewaybackupimports/status")
    | may("update", OURS, "gatewaybackupschedules/finalizers")
    | may("get list watch", "batch", "cronjobs")
    | may("patch", OURS, "gatewaybackups/status")
    | may("patch", OURS, "gatewayrestores/status")
    | may("create", "", "events")
    | may("get list", "", "pods")
    | may("get list", "apps", "deployments")
    | may("get list", "apps", "statefulsets")
    | may("get list", "apps", "replicasets")
)
RELEASE = may("get list patch", OURS, "gatewaybackups")
NAME = "gateway-backup-operator"


def test_the_operator_may_do_this_and_nothing_else() -> None:
    objects = render("operator")
    assert grants(one(objects, "ClusterRole", NAME)) == OPERATOR


def test_the_operators_chart_grants_no_secret_and_no_wildcard() -> None:
    for values in ({}, {"watchNamespaces": ["a"]}):
        objects = render("operator", values)
        for role in [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]:
            for right in grants(role):
                assert right[2] not in ("secrets", "configmaps", "pods/exec"), right
                assert not set(right[:3]) & {"*", "escalate", "bind", "impersonate"}, right


def test_role_only_mode_has_no_cluster_role_at_all() -> None:
    objects = render("operator", {"watchNamespaces": ["team-a", "team-b"]})
    assert of_kind(objects, "ClusterRole") == []
    assert of_kind(objects, "ClusterRoleBinding") == []
    for namespace in ("team-a", "team-b"):
        (role,) = [
            item
            for item in of_kind(objects, "Role")
            if item["metadata"] | {"name": NAME, "namespace": namespace} == item["metadata"]
        ]
        assert grants(role) == OPERATOR
    environment = [
        variable
        for _, spec in pod_specs(objects)
        for item in spec["containers"]
        for variable in item.get("env", [])
        if variable["name"] == "WATCH_NAMESPACES"
    ]
    assert [variable["value"] for variable in environment] == ["team-a,team-b"] * 2


def test_people_see_with_view_and_make_with_edit() -> None:
    objects = render("operator")
    view, edit = one(objects, "ClusterRole", "gateway-backup-view"), one(objects, "ClusterRole", "gateway-backup-edit")
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    for resource in ("gatewaybackups", "gatewayrestores", "gatewaybackupschedules", "gatewaybackupimports"):
        assert may("get list watch", OURS, resource) <= grants(view)
        assert may("create update patch delete deletecollection", OURS, resource) <= grants(edit)
    assert all("/status" not in right[2] for right in grants(view) | grants(edit))
    assert {label for label in view["metadata"]["labels"] if prefix in label} == {
        prefix + role for role in ("view", "edit", "admin")
    }
    assert {label for label in edit["metadata"]["labels"] if prefix in label} == {
        prefix + role for role in ("edit", "admin")
    }


def test_the_uninstall_hook_may_stop_the_operator_and_take_finalizers_off() -> None:
    objects = render("operator")
    assert grants(one(objects, "ClusterRole", f"{NAME}-release")) == RELEASE
    assert grants(one(objects, "Role", f"{NAME}-release")) == (
        may("get", "apps", "deployments", NAME)
        | may("patch", "apps", "deployments/scale", NAME)
        | may("list", "", "pods")
    )
    only = render("operator", {"watchNamespaces": ["team-b"]})
    assert grants(one(only, "Role", f"{NAME}-release-objects")) == RELEASE


def test_the_operator_may_read_one_gateways_secrets_and_restart_it() -> None:
    objects = render("gateway", {"tls": {"caSecret": "ca"}})
    role = one(objects, "Role", "my-gateway-backup-operator")
    assert grants(role) == (
        may("get", "", "secrets", "my-gateway-admin")
        | may("get", "", "secrets", "ca")
        | may("get patch", "apps", "deployments", "my-gateway")
        | may("create patch", "batch", "cronjobs")
        | may("get", "", "serviceaccounts", "my-gateway-backup")
    )
    binding = one(objects, "RoleBinding", "my-gateway-backup-operator")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAME}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_the_operator_does_not_read_the_admin_apis_private_key() -> None:
    role = one(render("gateway"), "Role", "my-gateway-backup-operator")
    assert {right for right in grants(role) if right[2] == "secrets"} == may("get", "", "secrets", "my-gateway-admin")


def test_the_pods_of_schedules_may_make_a_backup_and_wait_for_it() -> None:
    objects = render("gateway")
    assert grants(one(objects, "Role", "my-gateway-backup")) == may("create get watch", OURS, "gatewaybackups")
    (subject,) = one(objects, "RoleBinding", "my-gateway-backup")["subjects"]
    account = one(objects, "ServiceAccount", "my-gateway-backup")
    assert (subject["name"], subject["namespace"]) == ("my-gateway-backup", account["metadata"]["namespace"])
    without = render("gateway", {"schedule": {"serviceAccount": {"create": False}}})
    names = {item["metadata"]["name"] for kind in ("Role", "ServiceAccount") for item in of_kind(without, kind)}
    assert "my-gateway-backup" not in names


def test_the_account_that_the_gateway_trusts_is_the_one_that_the_operators_chart_makes() -> None:
    account = one(render("operator"), "ServiceAccount", NAME)
    subject = one(render("gateway"), "RoleBinding", "my-gateway-backup-operator")["subjects"][0]
    assert subject["name"] == account["metadata"]["name"]


MINE = {"adminKey": {"existingSecret": "mine"}}
CERT = {"tls": {"existingSecret": "cert"}}
PEN = {"signing": {"existingSecret": "pen"}}
PLAIN = {"tls": {"enabled": False}}
ADMIN, TLS, SIGNING = "my-gateway-admin", "my-gateway-admin-tls", "my-gateway-signing"


@pytest.mark.parametrize(
    ("values", "made"),
    [
        ({}, {"--admin-secret": ADMIN, "--tls-secret": TLS, "--signing-secret": SIGNING}),
        (PLAIN, {"--admin-secret": ADMIN, "--signing-secret": SIGNING}),
        (MINE, {"--tls-secret": TLS, "--signing-secret": SIGNING}),
        (CERT, {"--admin-secret": ADMIN, "--signing-secret": SIGNING}),
        (PEN, {"--admin-secret": ADMIN, "--tls-secret": TLS}),
        ({**MINE, **CERT}, {"--signing-secret": SIGNING}),
    ],
)
def test_the_install_hook_may_make_these_secrets(values: Object, made: dict[str, str]) -> None:
    objects = render("gateway", values)
    role = one(objects, "Role", "my-gateway-make-secrets")
    wanted: set[Rule] = may("create", "", "secrets")
    for name in made.values():
        wanted |= may("get patch", "", "secrets", name)
    if SIGNING in made.values():
        wanted |= may("get patch", "", "configmaps", SIGNING) | may("create", "", "configmaps")
    assert grants(role) == wanted
    (job,) = of_kind(objects, "Job")
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    given = dict(argument.partition("=")[::2] for argument in arguments)
    assert given.keys() == {"make-secrets", "--namespace", "--workload", "--label", *made}
    assert made.items() <= given.items()


def test_there_is_no_install_hook_when_there_is_no_secret_to_make() -> None:
    for values in ({**MINE, **CERT, **PEN}, {**MINE, **PLAIN, **PEN}):
        objects = render("gateway", values)
        assert of_kind(objects, "Job") == []
        assert [item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")] == ["my-gateway-backup"]


def test_the_operator_reads_only_those_identities_that_the_gateways_owner_names() -> None:
    def secrets(values: Object) -> set[str]:
        role = one(render("gateway", values), "Role", "my-gateway-backup-operator")
        return {right[3] for right in grants(role) if right[2] == "secrets"}

    assert secrets({}) == {ADMIN}
    assert secrets({"restore": {"identitySecrets": ["restore-key", "paper-key"]}}) == {
        ADMIN,
        "restore-key",
        "paper-key",
    }


def test_every_right_is_explained_on_the_page_about_security() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    for chart in ("operator", "gateway"):
        objects = render(chart)
        for role in [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]:
            for rule in role["rules"]:
                for resource in rule["resources"]:
                    row = f"`{resource}` | {', '.join(rule['verbs'])} |"
                    assert row in page, f"{role['metadata']['name']}: no row with {row}"
