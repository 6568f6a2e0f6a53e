"""A stolen token of the operator: which pods and NetworkPolicies it can create and delete where drills are allowed."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from gateway_operator.domain.drill.pod import DrillPlan, build_pod, build_policy
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from tests.operator.support.callers import Answer, Caller
from tests.operator.support.rbac import apply_operator_rbac, grant_gateway_role, service_account_name
from tests.operator.support.workloads import Kube, wait_for
from tests.unit.gateway_operator.drill.workloads import workload

pytestmark = pytest.mark.cluster
GRANTED = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


@pytest.fixture(scope="module")
def drill_account(team: Kube, operator_account: Caller) -> Caller:
    """The operator's ServiceAccount, with drills allowed for the gateway `gw`."""
    account = service_account_name(apply_operator_rbac(team))
    grant_gateway_role(team, account, "restore.drills=true", "operator.rbac.cronJobs=true")
    team.kubectl("create", "role", "drill-sets", "--verb=patch", "--resource=statefulsets.apps", "--resource-name=gw")
    team.kubectl(
        "create", "rolebinding", "drill-sets", "--role=drill-sets", f"--serviceaccount={team.namespace}:{account}"
    )
    return operator_account


def apply_workload(team: Kube, kind: str) -> Workload:
    """Create the gateway `gw` of that kind, with no pods, and read it back with the defaults of the API server."""
    spec: dict[str, Any] = {"volumeClaimTemplates": []} if kind == "StatefulSet" else {}
    body = workload(**spec).body
    claims = {"volumeClaimTemplates": None, "serviceName": "gw"} if kind == "StatefulSet" else {}
    team.apply(
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": "gw"},
            "spec": {**body["spec"], **claims, "replicas": 0},
        }
    )
    return Workload(GatewayRef(kind, "gw"), team.namespace, "w", team.require(kind.lower(), "gw"))


@pytest.fixture(scope="module", params=GRANTED)
def drill(request: pytest.FixtureRequest, team: Kube, drill_account: Caller) -> DrillPlan:
    """The plan of a drill of a workload of each kind."""
    source = apply_workload(team, str(request.param))
    team.apply_restore("weekly", mode="Drill", latest={})
    uid = team.require("gwr", "weekly")["metadata"]["uid"]
    plan = DrillPlan(
        restore=Ref("GatewayRestore", team.namespace, "weekly", uid),
        workload=source,
        config_path="/app/.enkrypt/docker/config.json",
        request_id=uid,
        targets=["10.0.0.1:8001"],
        seconds=600,
        operator=f"{team.namespace}:gateway-backup-operator",
    )

    answers: list[Answer] = []
    path, value, _ = FORGED["another image"]
    forged = at(build_pod(plan), path, value)

    def policies_act() -> bool:
        answers[:] = [drill_account.create("pods", body, dryRun="All") for body in (build_pod(plan), forged)]
        return [answer.status for answer in answers] == [201, 422]

    try:
        # RBAC and the parameters of the policies come from watches of the API server.
        wait_for("the role and the policies act", policies_act)
    except AssertionError as error:
        raise AssertionError(f"{error}: {answers}") from None
    return plan


def at(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path, where ~ in a name means a slash. None removes the field."""
    changed = copy.deepcopy(body)
    where: Any = changed
    *parents, last = (name.replace("~", "/") for name in path.split("/"))
    for name in parents:
        where = where[int(name) if name.isdigit() else name]
    key = int(last) if last.isdigit() else last
    if value is None:
        del where[key]
    else:
        where[key] = value
    return changed


SECRET_ENV = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}]
TOKEN = {"name": "config", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
CLAIM = {"name": "config", "persistentVolumeClaim": {"claimName": "backups"}}
EXEC = {"postStart": {"exec": {"command": ["sh"]}}}
# Where two policies refuse a pod, the API server gives the message of either.
NO_CLAIM = "no claim, host path or token|only the Secrets and ConfigMaps"
FORGED: dict[str, tuple[str, Any, str]] = {
    "no owner": ("metadata/ownerReferences", None, "belong to a GatewayRestore"),
    "another owner": ("metadata/ownerReferences/0/kind", "GatewayBackup", "belong to a GatewayRestore"),
    "no drill label": ("metadata/labels", {"app": "gateway"}, "belong to a GatewayRestore"),
    "no kind": ("metadata/labels/mcpgateway.dev~drill-kind", None, "that the operator may patch"),
    "a kind without a workload": (
        "metadata/labels/mcpgateway.dev~drill-kind",
        "DaemonSet",
        "that the operator may patch",
    ),
    "a label of the gateway": ("metadata/labels/app", "gateway", "only its own label"),
    "a token": ("spec/automountServiceAccountToken", True, "no token|only the Secrets and ConfigMaps"),
    "another account": ("spec/serviceAccountName", "gateway-backup-operator", "no token"),
    "a projected token": ("spec/volumes/0", TOKEN, NO_CLAIM),
    "a claim": ("spec/volumes/0", CLAIM, NO_CLAIM),
    "a host path": ("spec/volumes/0", {"name": "config", "hostPath": {"path": "/"}}, NO_CLAIM),
    "an unlimited volume": ("spec/volumes/0", {"name": "config", "emptyDir": {}}, "empty volumes with a size limit"),
    "the host network": ("spec/hostNetwork", True, "no access to its node"),
    "the host's processes": ("spec/hostPID", True, "no access to its node"),
    "a node": ("spec/nodeName", "node", "no access to its node"),
    "privilege": ("spec/containers/0/securityContext", {"privileged": True}, "no access to its node"),
    "a hook": ("spec/containers/0/lifecycle", EXEC, "no lifecycle hooks"),
    "no deadline": ("spec/activeDeadlineSeconds", None, "has a deadline"),
    "restarts": ("spec/restartPolicy", "Always", "has a deadline"),
    "no limits": ("spec/containers/0/resources", {}, "has a deadline, limits"),
    "no isolation check": (
        "spec/initContainers/0/name",
        "other",
        "first checks that it is isolated|have the names and images",
    ),
    "another check": (
        "spec/initContainers/0/args",
        ["--version"],
        "first checks that it is isolated|have the commands",
    ),
    "another workload": (
        "metadata/annotations/mcpgateway.dev~drill-of",
        "other",
        "that the operator may patch",
    ),
    "no workload": ("metadata/annotations", {}, "that the operator may patch"),
    "another image": ("spec/containers/0/image", "evil:1", "names and images"),
    "another image of a helper": ("spec/initContainers/0/image", "evil:1", "names and images"),
    "another container": ("spec/containers/0/name", "evil", "names and images"),
    "another command": ("spec/containers/0/command", ["sh", "-c", "env"], "have the commands"),
    "other arguments": ("spec/containers/0/args", ["x"], "have the commands"),
    "another command of a helper": ("spec/initContainers/3/command", ["sh"], "have the commands"),
    "a variable": ("spec/containers/0/env", SECRET_ENV, "have the environment"),
    "a Secret as environment": ("spec/containers/0/envFrom", [{"secretRef": {"name": "x"}}], "have the environment"),
    "another Secret": ("spec/volumes/2/secret/secretName", "other", "only the Secrets and ConfigMaps"),
    "an added Secret": (
        "spec/volumes/0",
        {"name": "config", "secret": {"secretName": "x"}},
        "only the Secrets and ConfigMaps",
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_operator_creates_no_pod_that_is_not_a_drill(
    team: Kube, drill_account: Caller, drill: DrillPlan, case: str
) -> None:
    path, value, message = FORGED[case]
    body = at(build_pod(drill), path, value)
    answer = drill_account.create("pods", body, dryRun="All")
    assert answer.status == 422, answer
    assert re.search(message, answer.message), answer


def test_a_pod_without_a_workload_to_compare_with_is_refused(
    team: Kube, drill_account: Caller, drill: DrillPlan
) -> None:
    kind = drill.workload.ref.kind.lower()
    team.kubectl("delete", kind, "gw")
    try:
        wait_for("the pod is refused", lambda: not drill_account.create("pods", build_pod(drill), dryRun="All").allowed)
        answer = drill_account.create("pods", build_pod(drill), dryRun="All")
        assert "no params found" in answer.message, answer
    finally:
        apply_workload(team, drill.workload.ref.kind)
    wait_for("the pod is allowed", lambda: drill_account.create("pods", build_pod(drill), dryRun="All").allowed)


def test_operator_deletes_only_pods_of_drills(team: Kube, drill_account: Caller, drill: DrillPlan) -> None:
    foreign = {"metadata": {"name": "foreign"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert Caller(team).create("pods", foreign).allowed
    try:
        answer = drill_account.send("DELETE", "pods", "foreign")
        assert answer.status == 422, answer
        assert "only the pods of drills" in answer.message
    finally:
        team.kubectl("delete", "pod", "foreign", "--force", "--grace-period=0")
    assert drill_account.create("pods", build_pod(drill)).allowed
    assert drill_account.send("DELETE", "pods", drill.name).allowed


NETWORKS: dict[str, tuple[str, Any, str]] = {
    "no owner": ("metadata/ownerReferences", None, "belong to a GatewayRestore"),
    "all pods": ("spec/podSelector", {}, "selects drill pods"),
    "egress": ("spec/egress", [{}], "allows no egress"),
    "only ingress": ("spec/policyTypes", ["Ingress"], "allows no egress"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_operator_creates_no_other_network_policy(
    team: Kube, drill_account: Caller, drill: DrillPlan, case: str
) -> None:
    path, value, message = NETWORKS[case]
    answer = drill_account.create("networkpolicies", at(build_policy(drill), path, value), dryRun="All")
    assert answer.status == 422, answer
    assert message in answer.message, answer
    assert drill_account.create("networkpolicies", build_policy(drill), dryRun="All").allowed


def test_operator_deletes_no_other_network_policy(team: Kube, drill_account: Caller, drill: DrillPlan) -> None:
    foreign = {"metadata": {"name": "foreign"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    assert Caller(team).create("networkpolicies", foreign).allowed
    answer = drill_account.send("DELETE", "networkpolicies", "foreign")
    assert answer.status == 422, answer
    team.kubectl("delete", "networkpolicy", "foreign")


def test_policies_do_not_stop_anyone_else(team: Kube, drill: DrillPlan) -> None:
    assert Caller(team).create("pods", at(build_pod(drill), "spec/containers/0/image", "evil:1"), dryRun="All").allowed
