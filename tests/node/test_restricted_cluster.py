"""A cluster with a tainted node, a namespace with a quota, and uids that the namespace assigns, as on OpenShift.

All three act at the same time on one gateway, on an operator of the namespace, and on the pods of schedules.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import Cluster
from tests.cluster.output import wait_until
from tests.node.conftest import InstalledGateway
from tests.operator.support.clocks import ShiftedClock
from tests.operator.support.namespaces import create_restricted_namespace

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.objects.cron_jobs import KubernetesCronJobs
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.ports import Ports
from gateway_operator.reconcile.schedule import ScheduleParts, reconcile_schedule

pytestmark = pytest.mark.node

NAMESPACE = "restricted"
NAME = "fenced"
TAINT = "dedicated=gateways:NoSchedule"
TOLERATIONS = [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]
UID = 1000680000
HOOK_RESOURCES = {"requests": {"cpu": "10m"}, "limits": {"cpu": "500m", "memory": "192Mi"}}
JOB_RESOURCES = {"requests": {"cpu": "10m"}, "limits": {"cpu": "200m", "memory": "128Mi"}}
COMMON_VALUES: dict[str, Any] = {
    "podSecurityContext": None,
    "tolerations": TOLERATIONS,
    "hooks": {"resources": HOOK_RESOURCES},
}
OPERATOR_VALUES = {
    **COMMON_VALUES,
    "fullnameOverride": "fenced-operator",
    "crds": {"install": False},
    "watchNamespaces": [NAMESPACE],
    "resources": {"limits": {"cpu": "500m"}},
}
GATEWAY_VALUES = {
    **COMMON_VALUES,
    "gateway": {"resources": {"limits": {"cpu": "1"}}},
    "admin": {"resources": {"limits": {"cpu": "1"}}},
    "schedule": {"enabled": True, "cron": "0 3 1 1 *", "jobTemplate": {"resources": JOB_RESOURCES}},
}
UNUSABLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "no-limits": ({"tolerations": TOLERATIONS}, "FailedCreate", "must specify limits.cpu"),
    "no-toleration": ({"resources": JOB_RESOURCES}, "Unschedulable", "untolerated taint"),
}
"""Schedules whose pods cannot run: their jobTemplate, and what Kubernetes says about it."""


def assigned_uids() -> list[dict[str, Any]]:
    """Policies that set uid and group of the namespace's pods, and refuse all other uids."""
    target = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    }
    assigned = f"Object.spec.securityContext{{runAsUser: {UID}, fsGroup: {UID}}}"
    uid = "object.spec.?securityContext.?runAsUser"
    fixed, in_range = f"{uid}.hasValue()", f"{uid}.value() == {UID}"
    containers = "object.spec.containers.all(one, !one.?securityContext.?runAsUser.hasValue())"
    mutating: dict[str, Any] = {
        "matchConstraints": target,
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConditions": [{"name": "no-uid-of-its-own", "expression": f"!{fixed}"}],
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": f"Object{{spec: Object.spec{{securityContext: {assigned}}}}}"},
            }
        ],
    }
    validating: dict[str, Any] = {
        "matchConstraints": target,
        "failurePolicy": "Fail",
        "validations": [{"expression": f"{fixed} && {in_range} && {containers}", "message": "a uid outside the range"}],
    }
    group = "admissionregistration.k8s.io"
    objects = []
    for version, kind, spec in (("v1beta1", "Mutating", mutating), ("v1", "Validating", validating)):
        head = {"apiVersion": f"{group}/{version}", "metadata": {"name": "assigned-uids"}}
        binding: dict[str, Any] = {"policyName": "assigned-uids"}
        if kind == "Validating":
            binding["validationActions"] = ["Deny"]
        objects.append({**head, "kind": f"{kind}AdmissionPolicy", "spec": spec})
        objects.append({**head, "kind": f"{kind}AdmissionPolicyBinding", "spec": binding})
    return objects


def schedule(name: str, job_template: dict[str, Any]) -> dict[str, Any]:
    """A schedule of the gateway that is due each minute."""
    spec = {"gatewayRef": {"name": NAME}, "schedule": "* * * * *", "jobTemplate": job_template}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayBackupSchedule", "metadata": meta, "spec": spec}


@pytest.fixture(scope="module")
def fenced(installed_gateway: InstalledGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledGateway]:
    """A gateway and an operator in the namespace, installed on the tainted node."""
    cluster, folder = installed_gateway.cluster, tmp_path_factory.mktemp("fenced")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "cpu", "namespace": NAMESPACE}}
    rules = [*assigned_uids(), {**quota, "spec": {"hard": {"limits.cpu": "6"}}}]
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": rules})
    create_restricted_namespace(cluster, NAMESPACE)
    cluster.kubectl("apply", "-f", "-", input=body)
    cluster.kubectl("taint", "nodes", "--all", TAINT)
    try:
        wait_until(lambda: _fixed_uid_is_refused(cluster), "the policies act", timeout=60, pause=0.3)
        for name, (job_template, *_) in UNUSABLE.items():
            cluster.kubectl("apply", "-f", "-", input=json.dumps(schedule(name, job_template)))
        for name, values in (("gateway", GATEWAY_VALUES), ("operator", OPERATOR_VALUES)):
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
        with ThreadPoolExecutor(2) as pool:
            installs = [
                pool.submit(install, installed_gateway, kind, folder / f"{kind}.yaml")
                for kind in ("gateway", "operator")
            ]
            for one in installs:
                one.result()
        yield installed_gateway
    finally:
        cluster.kubectl("taint", "nodes", "--all", f"{TAINT}-", check=False)
        cluster.kubectl("delete", "-f", "-", "--wait=false", input=body, check=False)
        # Without the hook, which tests/node/test_charts.py has: the operator of all namespaces removes the finalizers.
        cluster.helm("uninstall", "fenced-operator", "-n", NAMESPACE, "--no-hooks")
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def install(installed: InstalledGateway, chart: str, values: Path) -> None:
    """Install one of the charts in the namespace."""
    if chart == "gateway":
        installed.install_gateway("--values", str(values), release=NAME, namespace=NAMESPACE)
    else:
        installed.install_operator("--values", str(values), release="fenced-operator", namespace=NAMESPACE)


def _fixed_uid_is_refused(cluster: Cluster) -> bool:
    """Whether a pod with a uid outside the range is refused, and one without a uid gets that of the namespace."""
    arguments = ["-n", NAMESPACE, "create", "--dry-run=server", "-o", "json", "-f", "-"]
    refused = cluster.kubectl(*arguments, input=json.dumps(_pod(runAsUser=10001)), check=False)
    text = cluster.kubectl(*arguments, input=json.dumps(_pod()), check=False)
    return not refused and bool(text) and json.loads(text)["spec"]["securityContext"].get("runAsUser") == UID


def _pod(**security: Any) -> dict[str, Any]:
    container = {
        "name": "one", "image": "x", "resources": {"limits": {"cpu": "1m"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **security}
    spec = {"containers": [container], "securityContext": security}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": spec}


def test_pods_of_both_charts_run_with_the_uid_of_the_namespace(fenced: InstalledGateway) -> None:
    pods = fenced.cluster.rest.items("pods", NAMESPACE, labels="app.kubernetes.io/name")
    assert len(pods) == 3, "a gateway and two operators"
    assert {one["spec"]["securityContext"]["runAsUser"] for one in pods} == {UID}
    for container in ("gateway", "admin"):
        assert fenced.run(container, "id", "-u", release=NAME, namespace=NAMESPACE).strip() == str(UID)


def test_scheduled_backup_and_restore_with_a_restart_complete(fenced: InstalledGateway) -> None:
    def kubectl(*arguments: str, **options: Any) -> str:
        return fenced.kubectl(*arguments, namespace=NAMESPACE, **options)

    wait_until(
        lambda: f"cronjob.batch/{NAME}" in kubectl("get", "cronjobs", "-o", "name").split(),
        "the CronJob", timeout=60, pause=0.5,
    )  # fmt: skip
    kubectl("create", "job", f"--from=cronjob/{NAME}", "by-hand")
    kubectl("wait", "--for=condition=Complete", "job/by-hand", "--timeout=120s", timeout=130)
    (pod,) = fenced.cluster.rest.items("pods", NAMESPACE, labels="batch.kubernetes.io/job-name=by-hand")
    assert pod["spec"]["securityContext"]["runAsUser"] == UID
    before = fenced.pod(NAME, NAMESPACE)["metadata"]["uid"]
    spec = {"gatewayRef": {"name": NAME}, "latest": {"group": NAME}, "restart": "Always"}
    head = {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayRestore", "metadata": {"name": "back"}}
    kubectl("apply", "-f", "-", input=json.dumps({**head, "spec": spec}))
    kubectl("wait", "--for=condition=Completed", "gwr/back", "--timeout=200s", timeout=210)
    assert fenced.pod(NAME, NAMESPACE)["metadata"]["uid"] != before


@pytest.mark.parametrize("name", UNUSABLE)
async def test_schedule_repeats_why_its_pods_do_not_run(
    fenced: InstalledGateway, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The reconcile runs here with a clock two minutes ahead, because the operator first waits for a minute."""
    _, *words = UNUSABLE[name]
    jobs = f"mcpgateway.dev/schedule={name}"
    wait_until(lambda: bool(fenced.cluster.rest.items("jobs", NAMESPACE, labels=jobs)), "a Job", timeout=90, pause=0.5)
    monkeypatch.setenv("KUBECONFIG", str(fenced.cluster.kubeconfig))
    cluster = await KubernetesCluster.connect()
    try:
        (container,) = fenced.get("cronjob", name, NAMESPACE)["spec"]["jobTemplate"]["spec"]["template"]["spec"][
            "containers"
        ]
        ports, image = Ports(cluster, HttpAdminApi(), ShiftedClock(minutes=2)), Image(container["image"])
        parts = ScheduleParts(ports, KubernetesCronJobs(cluster), image)
        await reconcile_schedule(parts, Ref("GatewayBackupSchedule", NAMESPACE, name, ""), logging.getLogger("tests"))
    finally:
        await cluster.close()
    # The operator may write the status again with its own clock, so the event is read.
    events = fenced.cluster.rest.items("events", NAMESPACE, fields=f"involvedObject.name={name}")
    (message,) = [one["message"] for one in events if one["reason"] == "JobWithoutPod"]
    assert all(word in message for word in words), message
