"""RBAC permissions that depend on chart values or on names. docs/permissions.md lists all, and a test compares it."""

import pytest

from tests.unit.charts.render import Object, of_kind, one, pod_specs, render

Rule = tuple[str, str, str, str]  # verb, group, resource, name ("*" = any)
OURS = "mcpgateway.dev"


def grants(role: Object) -> set[Rule]:
    """The rules of a role, split into single permissions."""
    return {
        (verb, group, resource, name)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
    }


def may(verbs: str, group: str, resource: str, name: str = "*") -> set[Rule]:
    """Permissions for several verbs, separated by spaces, on one resource."""
    return {(verb, group, resource, name) for verb in verbs.split()}


POLICIES = {
    ("get", "admissionregistration.k8s.io", resource, f"gateway-backup-operator-{suffix}")
    for resource in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    for suffix in ("restores", "schedules")
}
VOLUMES = may("get", "", "persistentvolumes")
NAME = "gateway-backup-operator"


def operator_grants(values: Object | None = None) -> set[Rule]:
    """The permissions of the operator's ClusterRole, which docs/permissions.md lists."""
    return grants(one(render("operator", values or {}), "ClusterRole", NAME))


def test_operator_reads_only_the_admission_policies_of_its_release() -> None:
    without = operator_grants({"admissionPolicies": {"enabled": False}})
    assert operator_grants() == without | POLICIES
    assert not without & POLICIES


def test_operator_chart_grants_no_secrets() -> None:
    for values in ({}, {"watchNamespaces": ["a"]}):
        objects = render("operator", values)
        for role in [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]:
            assert not {rule[2] for rule in grants(role)} & {"secrets", "configmaps", "pods/exec"}


def test_role_only_mode_creates_no_cluster_role() -> None:
    objects = render("operator", {"watchNamespaces": ["team-a", "team-b"]})
    assert of_kind(objects, "ClusterRole") == []
    assert of_kind(objects, "ClusterRoleBinding") == []
    for namespace in ("team-a", "team-b"):
        (role,) = [
            item
            for item in of_kind(objects, "Role")
            if item["metadata"] | {"name": NAME, "namespace": namespace} == item["metadata"]
        ]
        assert grants(role) == operator_grants() - POLICIES - VOLUMES
    environment = [
        variable
        for _, spec in pod_specs(objects)
        for item in spec["containers"]
        for variable in item.get("env", [])
        if variable["name"] == "WATCH_NAMESPACES"
    ]
    assert [variable["value"] for variable in environment] == ["team-a,team-b"] * 2


def test_each_role_of_people_is_complete_and_only_one_restores() -> None:
    objects = render("operator")
    view, edit = one(objects, "ClusterRole", "gateway-backup-view"), one(objects, "ClusterRole", "gateway-backup-edit")
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    restore = one(objects, "ClusterRole", "gateway-backup-restore")
    writes = "create update patch delete deletecollection"
    for resource in ("gatewaybackups", "gatewayrestores", "gatewaybackupschedules", "gatewaybackupimports"):
        for role in (view, edit, restore):
            assert may("get list watch", OURS, resource) <= grants(role)
        assert may(writes, OURS, resource) <= grants(edit)
    assert grants(restore) == grants(view) | may(f"{writes} apply", OURS, "gatewayrestores")
    assert all("/status" not in rule[2] for rule in grants(view) | grants(edit) | grants(restore))
    assert not {rule for rule in grants(view) | grants(edit) if rule[0] == "apply"}
    assert {label for label in view["metadata"]["labels"] if prefix in label} == {
        prefix + role for role in ("view", "edit", "admin")
    }
    assert {label for label in edit["metadata"]["labels"] if prefix in label} == {
        prefix + role for role in ("edit", "admin")
    }
    assert {label for label in restore["metadata"]["labels"] if prefix in label} == {f"{prefix}admin"}


def test_edit_role_gets_no_restores_without_the_policies() -> None:
    # Then `create` would be enough to replace a config.
    objects = render("operator", {"admissionPolicies": {"enabled": False}})
    edit = one(objects, "ClusterRole", "gateway-backup-edit")
    assert {rule[0] for rule in grants(edit) if rule[2] == "gatewayrestores"} == {"get", "list", "watch"}
    assert ("apply", OURS, "gatewayrestores", "*") in grants(one(objects, "ClusterRole", "gateway-backup-restore"))


def test_uninstall_hook_can_stop_only_the_operator() -> None:
    objects = render("operator")
    by_name = {rule for rule in grants(one(objects, "Role", f"{NAME}-release")) if rule[3] != "*"}
    assert by_name == may("get", "apps", "deployments", NAME) | may("patch", "apps", "deployments/scale", NAME)
    only = render("operator", {"watchNamespaces": ["team-b"]})
    everywhere = grants(one(objects, "ClusterRole", f"{NAME}-release"))
    assert grants(one(only, "Role", f"{NAME}-release-objects")) == everywhere


def test_operator_can_read_the_gateways_secrets_and_restart_it() -> None:
    objects = render("gateway", {"tls": {"caSecret": "ca"}})
    role = one(objects, "Role", "my-gateway-backup-operator")
    assert grants(role) == (
        may("get", "", "secrets", "my-gateway-admin")
        | may("get", "", "secrets", "ca")
        | may("patch", "apps", "deployments", "my-gateway")
    )
    binding = one(objects, "RoleBinding", "my-gateway-backup-operator")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAME}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


@pytest.mark.parametrize("values", [{"schedule": {"enabled": True}}, {"operator": {"rbac": {"cronJobs": True}}}])
def test_operator_can_write_cron_jobs_only_where_schedules_are_enabled(values: Object) -> None:
    def role(values: Object) -> set[Rule]:
        return grants(one(render("gateway", values), "Role", "my-gateway-backup-operator"))

    more = may("create patch delete", "batch", "cronjobs") | may("get", "", "serviceaccounts", "my-gateway-backup")
    assert role(values) == role({}) | more
    assert not role({}) & more


def test_pods_of_schedules_can_only_create_and_watch_backups() -> None:
    objects = render("gateway")
    assert grants(one(objects, "Role", "my-gateway-backup")) == may("create get watch", OURS, "gatewaybackups")
    drills = render("gateway", {"restore": {"drills": True}})
    more = grants(one(drills, "Role", "my-gateway-backup")) - grants(one(objects, "Role", "my-gateway-backup"))
    assert more == may("create get watch", OURS, "gatewayrestores")
    (subject,) = one(objects, "RoleBinding", "my-gateway-backup")["subjects"]
    account = one(objects, "ServiceAccount", "my-gateway-backup")
    assert (subject["name"], subject["namespace"]) == ("my-gateway-backup", account["metadata"]["namespace"])
    without = render("gateway", {"schedule": {"serviceAccount": {"create": False}}})
    names = {item["metadata"]["name"] for kind in ("Role", "ServiceAccount") for item in of_kind(without, kind)}
    assert "my-gateway-backup" not in names


def test_gateway_role_binding_names_the_operators_service_account() -> None:
    account = one(render("operator"), "ServiceAccount", NAME)
    subject = one(render("gateway"), "RoleBinding", "my-gateway-backup-operator")["subjects"][0]
    assert subject["name"] == account["metadata"]["name"]


OWN_ADMIN = {"adminKey": {"existingSecret": "mine"}}
OWN_TLS = {"tls": {"existingSecret": "cert"}}
OWN_SIGNING = {"signing": {"existingSecret": "pen"}}
NO_TLS = {"tls": {"enabled": False}}
ADMIN, TLS, SIGNING = "my-gateway-admin", "my-gateway-admin-tls", "my-gateway-signing"


@pytest.mark.parametrize(
    ("values", "created"),
    [
        ({}, {"--admin-secret": ADMIN, "--tls-secret": TLS, "--signing-secret": SIGNING}),
        (NO_TLS, {"--admin-secret": ADMIN, "--signing-secret": SIGNING}),
        (OWN_ADMIN, {"--tls-secret": TLS, "--signing-secret": SIGNING}),
        (OWN_TLS, {"--admin-secret": ADMIN, "--signing-secret": SIGNING}),
        (OWN_SIGNING, {"--admin-secret": ADMIN, "--tls-secret": TLS}),
        ({**OWN_ADMIN, **OWN_TLS}, {"--signing-secret": SIGNING}),
    ],
)
def test_install_hook_can_create_only_the_missing_secrets(values: Object, created: dict[str, str]) -> None:
    objects = render("gateway", values)
    role = one(objects, "Role", "my-gateway-make-secrets")
    expected: set[Rule] = may("create", "", "secrets")
    for name in created.values():
        expected |= may("get patch", "", "secrets", name)
    if SIGNING in created.values():
        expected |= may("get patch", "", "configmaps", SIGNING) | may("create", "", "configmaps")
    assert grants(role) == expected
    (job,) = of_kind(objects, "Job")
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    given = dict(argument.partition("=")[::2] for argument in arguments)
    assert given.keys() == {"make-secrets", "--namespace", "--workload", "--label", *created}
    assert created.items() <= given.items()


def test_no_install_hook_when_no_secret_is_missing() -> None:
    for values in ({**OWN_ADMIN, **OWN_TLS, **OWN_SIGNING}, {**OWN_ADMIN, **NO_TLS, **OWN_SIGNING}):
        objects = render("gateway", values)
        assert of_kind(objects, "Job") == []
        assert [item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")] == ["my-gateway-backup"]


def test_operator_reads_no_key_but_the_admin_key_and_the_listed_identities() -> None:
    def secrets(values: Object) -> set[str]:
        role = one(render("gateway", values), "Role", "my-gateway-backup-operator")
        return {rule[3] for rule in grants(role) if rule[2] == "secrets"}

    assert secrets({}) == {ADMIN}
    assert secrets({"restore": {"ageIdentitySecrets": ["restore-key", "paper-key"]}}) == {
        ADMIN,
        "restore-key",
        "paper-key",
    }


def test_operator_runs_drills_only_where_the_chart_allows_it() -> None:
    def permissions(values: Object) -> set[Rule]:
        return grants(one(render("gateway", values), "Role", "my-gateway-backup-operator"))

    drills = may("create delete", "", "pods") | may("get create delete", "networking.k8s.io", "networkpolicies")
    assert permissions({"restore": {"drills": True}}) - permissions({}) == drills
