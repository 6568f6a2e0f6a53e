"""The charts and the examples on a real API server without a node: admission, RBAC, install and upgrade.

No pod can run here, so installs omit the hooks. tests/node tests the charts with their hooks.
"""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, ClusterError
from tests.cluster.output import wait_until
from tests.operator.support.namespaces import create_restricted_namespace

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[3]
OPERATOR, GATEWAY = str(ROOT / "helm" / "operator"), str(ROOT / "helm" / "gateway")
NAME = "gateway-backup-operator"


@pytest.fixture(scope="module")
def operator_namespace(control_plane: Cluster) -> Iterator[str]:
    """The namespace of the operator's chart. The install takes over CRDs that other tests have applied."""
    namespace = f"charts-operator-{secrets.token_hex(3)}"
    create_restricted_namespace(control_plane, namespace)
    control_plane.helm("install", "op", OPERATOR, "-n", namespace, "--no-hooks", "--take-ownership")
    yield namespace
    control_plane.helm("uninstall", "op", "-n", namespace, "--no-hooks", check=False)
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def team(control_plane: Cluster) -> Iterator[str]:
    """A namespace that enforces the restricted standard. The user `ada` is admin in it and nowhere else."""
    namespace = f"charts-team-{secrets.token_hex(3)}"
    create_restricted_namespace(control_plane, namespace)
    control_plane.kubectl("-n", namespace, "create", "rolebinding", "a", "--clusterrole=admin", "--user=ada")
    yield namespace
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def gateway(control_plane: Cluster, operator_namespace: str, team: str) -> str:
    """The namespace of the gateway's chart. The user `ada` installs it: the ClusterRole admin suffices."""
    account = f"operator.serviceAccount.namespace={operator_namespace}"
    arguments = ["install", "my-gateway", GATEWAY, "-n", team, "--no-hooks", "--set", account]
    control_plane.helm(*arguments, "--set", "networkPolicy.enabled=true", "--kube-as-user", "ada")
    return team


def can(cluster: Cluster, user: str, verb: str, resource: str, namespace: str, *flags: str) -> bool:
    """Whether the user has the permission, according to `kubectl auth can-i`."""
    answer = cluster.kubectl("auth", "can-i", verb, resource, "-n", namespace, "--as", user, *flags, check=False)
    assert answer.strip() in ("yes", "no"), answer
    return answer.strip() == "yes"


def count_pods(cluster: Cluster, namespace: str) -> int:
    """Number of pods that passed admission. Admission rejects a pod, never its Deployment."""
    return len(json.loads(cluster.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"])


def test_pods_are_admitted_under_the_restricted_standard(
    control_plane: Cluster, operator_namespace: str, gateway: str
) -> None:
    def admitted() -> bool:
        return [count_pods(control_plane, namespace) for namespace in (operator_namespace, gateway)] == [2, 1]

    wait_until(admitted, "two operators and one gateway", timeout=60, pause=0.2)


@pytest.mark.parametrize("chart", [OPERATOR, GATEWAY])
def test_rendered_objects_cause_no_api_server_warning(
    control_plane: Cluster, operator_namespace: str, team: str, chart: str
) -> None:
    # Hooks are included: admission reports what it would reject in the pods of a Job as a warning.
    values = ["--set", "crds.install=false" if chart == OPERATOR else "managementApi.enabled=true"]
    rendered = control_plane.helm("template", "other", chart, "-n", team, "--kube-version", "1.34.0", *values)
    control_plane.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"), input=rendered
    )


def test_examples_pass_strict_server_validation(control_plane: Cluster, operator_namespace: str, team: str) -> None:
    control_plane.kubectl(
        *("-n", team, "apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors"),
        *("-f", str(ROOT / "examples")),
    )


def test_operator_reads_only_the_secrets_that_gateways_grant(
    control_plane: Cluster, operator_namespace: str, gateway: str
) -> None:
    operator = f"system:serviceaccount:{operator_namespace}:{NAME}"
    assert can(control_plane, operator, "get", "secrets/my-gateway-admin", gateway)
    assert can(control_plane, operator, "patch", "deployments.apps/my-gateway", gateway)
    for verb, resource in (
        ("list", "secrets"),
        ("get", "secrets/other"),
        ("patch", "secrets/my-gateway-admin"),
        ("patch", "deployments.apps/other"),
        ("delete", "deployments.apps/my-gateway"),
        ("create", "pods"),
        ("delete", "pods"),
        ("create", "gatewayrestores.mcpgateway.dev"),
        ("delete", "gatewayrestores.mcpgateway.dev"),
        ("delete", "gatewaybackupschedules.mcpgateway.dev"),
        ("create", "gatewaybackupschedules.mcpgateway.dev"),
    ):
        assert not can(control_plane, operator, verb, resource, gateway), (verb, resource)
    assert can(control_plane, operator, "delete", "gatewaybackups.mcpgateway.dev", gateway), "retention and ttl need it"
    assert not can(control_plane, operator, "get", "secrets/my-gateway-admin", operator_namespace)
    assert can(control_plane, operator, "patch", "gatewaybackups.mcpgateway.dev", gateway, "--subresource=status")


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("view", {"get"}), ("edit", {"get", "create", "delete"}), ("admin", {"get", "create", "delete"})],
)
def test_user_roles_aggregate_into_view_edit_and_admin(
    control_plane: Cluster, operator_namespace: str, team: str, role: str, allowed: set[str]
) -> None:
    person = f"person-{role}"
    control_plane.kubectl("-n", team, "create", "rolebinding", person, f"--clusterrole={role}", f"--user={person}")
    kinds = ("gatewaybackups.mcpgateway.dev", "gatewayrestores.mcpgateway.dev")
    # Role aggregation is asynchronous.
    wait_until(
        lambda: can(control_plane, person, "get", kinds[0], team), f"the permissions of {role}", timeout=20, pause=0.2
    )
    for kind in kinds:
        permitted = {verb for verb in ("get", "create", "delete") if can(control_plane, person, verb, kind, team)}
        assert permitted == allowed
        assert not can(control_plane, person, "patch", kind, team, "--subresource=status")


def test_uninstall_keeps_claims_and_crds_for_the_next_install(
    control_plane: Cluster, operator_namespace: str, namespace: str
) -> None:
    def claims() -> dict[str, str]:
        items = json.loads(control_plane.kubectl("-n", namespace, "get", "pvc", "-o", "json"))["items"]
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}

    control_plane.helm("install", "my-gateway", GATEWAY, "-n", namespace, "--no-hooks")
    before = claims()
    assert before.keys() == {"my-gateway-config", "my-gateway-backups"}
    control_plane.helm("uninstall", "my-gateway", "-n", namespace, "--no-hooks")
    assert claims() == before
    control_plane.helm("install", "my-gateway", GATEWAY, "-n", namespace, "--no-hooks")
    assert claims() == before

    control_plane.helm("uninstall", "op", "-n", operator_namespace, "--no-hooks")
    try:
        assert "gatewaybackups" in control_plane.kubectl("get", "crds", "-o", "name")
    finally:
        control_plane.helm("install", "op", OPERATOR, "-n", operator_namespace, "--no-hooks")


def test_upgrade_with_the_same_values_changes_nothing(control_plane: Cluster, gateway: str) -> None:
    def uids_and_generations() -> list[tuple[str, int]]:
        kinds = "deployments,services,roles.rbac.authorization.k8s.io,networkpolicies,pvc"
        items = json.loads(control_plane.kubectl("-n", gateway, "get", kinds, "-o", "json"))["items"]
        return [(item["metadata"]["uid"], item["metadata"].get("generation", 0)) for item in items]

    before = uids_and_generations()
    control_plane.helm("upgrade", "my-gateway", GATEWAY, "-n", gateway, "--no-hooks", "--reuse-values")
    assert uids_and_generations() == before


def test_role_only_mode_needs_no_cluster_wide_permission(
    control_plane: Cluster, operator_namespace: str, team: str
) -> None:
    # RBAC lets users grant only permissions that they have, and a namespace admin cannot write a backup's status.
    arguments = ["install", "own", OPERATOR, "-n", team, "--no-hooks", "--set", "crds.install=false"]
    arguments += ["--set", f"watchNamespaces={{{team}}}", "--kube-as-user", "ada"]
    with pytest.raises(ClusterError, match="attempting to grant RBAC permissions not currently held"):
        control_plane.helm(*arguments)
    control_plane.helm("uninstall", "own", "-n", team, "--no-hooks", check=False)
    control_plane.kubectl("-n", team, "apply", "-f", "-", input=json.dumps(_role_that_may_grant()))
    control_plane.kubectl("-n", team, "create", "rolebinding", "granter", "--role=granter", "--user=ada")
    control_plane.helm(*arguments)
    operator = f"system:serviceaccount:{team}:{NAME}"
    assert can(control_plane, operator, "list", "gatewaybackups.mcpgateway.dev", team)
    assert not can(control_plane, operator, "list", "gatewaybackups.mcpgateway.dev", operator_namespace)
    assert not can(control_plane, operator, "get", f"namespaces/{team}", team)
    control_plane.helm("uninstall", "own", "-n", team, "--no-hooks")


def _role_that_may_grant() -> dict[str, object]:
    rules = [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["bind"]},
    ]
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}
    return {**kind, "metadata": {"name": "granter"}, "rules": rules}
