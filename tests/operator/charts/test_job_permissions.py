"""The hooks and the pods of schedules with exactly the permissions of the charts.

Each runs the command of its pod as its own ServiceAccount. The API server's audit log must show each permission of its
section in docs/permissions.md, and no other request.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway_operator.domain.model.names import FINALIZER, RESTORE_FINALIZER, job_backup_name
from gateway_operator.domain.schedule.cronjob import TEMPLATE_VARIABLE
from gateway_operator.domain.schedule.drill_cronjob import DRILL_VARIABLE
from tests.cluster import ClusterError
from tests.operator.support.kubectl_gateway import KubectlGateway, wait_for_exit
from tests.operator.support.rbac import RBAC_KINDS, kubeconfig_for_account, render_objects
from tests.operator.support.workloads import Kube, wait_for
from tests.unit.charts.permission_page import audited

pytestmark = pytest.mark.cluster
RELEASE = "gateway-backup-operator-release"
_FINISHED = {"type": "Finished", "status": "True", "reason": "Verified", "message": "It has ended."}
ENDED = {"phase": "Completed", "conditions": [{**_FINISHED, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}


class Jobs:
    """The chart's accounts in a namespace, and the commands of their pods."""

    def __init__(self, kube: Kube, objects: list[dict[str, Any]], folder: Path) -> None:
        self._kube = kube
        self._objects = objects
        self._folder = folder
        for one in objects:
            if one["kind"] in RBAC_KINDS:
                kube.apply(one)

    def run(self, account: str, kind: str, *more: str) -> None:
        """Run the command of the pod of the only object of this kind that has the account, with more arguments."""
        (container,) = next(spec["containers"] for spec in self._pods(kind) if spec["serviceAccountName"] == account)
        environment = {"KUBECONFIG": str(kubeconfig_for_account(self._kube, account, self._folder))}
        environment |= {one["name"]: one["value"] for one in container.get("env", ())}
        command = [sys.executable, "-m", "gateway_operator.main", *container["args"], *more]
        subprocess.run(command, check=True, env={**self._kube.cluster.environment, **environment}, timeout=60)

    def _pods(self, kind: str) -> Iterator[dict[str, Any]]:
        for one in self._objects:
            if one["kind"] == kind:
                spec = one["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else one["spec"]
                yield spec["template"]["spec"]

    def used(self, account: str) -> set[tuple[str, str]]:
        """The permissions of all requests of an account. None of them may have been refused."""
        requests = list(self._kube.cluster.requests_by(f"system:serviceaccount:{self._kube.namespace}:{account}"))
        assert [one for one in requests if not one.allowed] == []
        return {one.permission for one in requests}


@pytest.fixture
def gateway_jobs(kube: Kube, tmp_path: Path) -> Jobs:
    """The accounts of the chart of the gateway `my-gateway`."""
    values = ("schedule.enabled=true", "restore.drills=true")
    objects = render_objects(kube.cluster, "gateway", "my-gateway", kube.namespace, *values)
    return Jobs(kube, [one for one in objects if one["kind"] != "GatewayBackupSchedule"], tmp_path)


def test_secret_jobs_use_exactly_the_documented_permissions(kube: Kube, gateway_jobs: Jobs) -> None:
    hook, renewal = "my-gateway-make-secrets", "my-gateway-renew"
    gateway_jobs.run(hook, "Job")
    # The second run adds the fields that somebody has removed.
    for kind, name, field in (("secret", "my-gateway-admin", "ca.crt"), ("configmap", "my-gateway-signing", "key-id")):
        kube.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps({"data": {field: None}}))
    gateway_jobs.run(hook, "Job")
    assert gateway_jobs.used(hook) == audited(hook)
    # Without a certificate, the renewal makes one at once.
    kube.kubectl("patch", "secret", "my-gateway-admin-tls", "--type=merge", "-p", '{"data": {"tls.crt": ""}}')
    gateway_jobs.run(renewal, "CronJob", "--renewal-pause-seconds=0")
    assert gateway_jobs.used(renewal) == audited(renewal)
    assert kube.require("secret", "my-gateway-admin-tls")["data"]["tls.crt"]


def test_schedule_pods_use_exactly_the_documented_permissions(kube: Kube, gateway_jobs: Jobs, tmp_path: Path) -> None:
    account = "my-gateway-backup"
    cli = KubectlGateway.as_account(kube, account, tmp_path)
    spec: dict[str, Any] = {"gatewayRef": {"name": "my-gateway"}}
    for word, kind, variable, more in (
        ("backup", "gwb", TEMPLATE_VARIABLE, {}),
        ("drill", "gwr", DRILL_VARIABLE, {"mode": "Drill", "latest": {}}),
    ):
        template = json.dumps({"metadata": {}, "spec": {**spec, **more}})
        environment = {"JOB_NAME": word, "JOB_UID": f"{word}-uid-of-36-characters", variable: template}
        name = job_backup_name(word, environment["JOB_UID"])
        pod = cli.start(word, "create", "--from-job", "--wait", "--timeout=60", environment=environment)
        watch = ("watch", f"{'gatewaybackups' if kind == 'gwb' else 'gatewayrestores'}.mcpgateway.dev")
        wait_for("the watch", lambda: watch in gateway_jobs.used(account))  # noqa: B023 - it is called at once
        kube.patch_status(kind, name, ENDED)
        code, text = wait_for_exit(pod)
        assert code == 0, text
    assert gateway_jobs.used(account) == audited(account)


@pytest.fixture
def release_jobs(kube: Kube, tmp_path: Path) -> Iterator[Jobs]:
    """The accounts of the operator's chart. The hook acts in this namespace only, and not on objects of other tests."""
    objects = render_objects(kube.cluster, "operator", "op", kube.namespace, "crds.install=false")
    objects = [one for one in objects if one["metadata"]["name"] == RELEASE]
    for one in objects:
        if one["kind"] == "Job":
            container = one["spec"]["template"]["spec"]["containers"][0]
            container["env"] = [{"name": "WATCH_NAMESPACES", "value": kube.namespace}]
    yield Jobs(kube, objects, tmp_path)
    for kind in ("clusterrole", "clusterrolebinding"):
        with suppress(ClusterError):
            kube.kubectl("delete", kind, RELEASE)


def test_uninstall_hook_uses_exactly_the_documented_permissions(kube: Kube, release_jobs: Jobs) -> None:
    labels = {"app": "operator"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "operator", "image": "none"}]}}
    kube.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "gateway-backup-operator",
                "annotations": {"meta.helm.sh/release-name": "op", "meta.helm.sh/release-namespace": kube.namespace},
            },
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
        }
    )
    kube.apply_backup("kept")
    kube.apply_restore("open", latest={})
    for kind, name, finalizer in (("gwb", "kept", FINALIZER), ("gwr", "open", RESTORE_FINALIZER)):
        body = json.dumps({"metadata": {"finalizers": [finalizer]}})
        kube.kubectl("patch", kind, name, "--type=merge", "-p", body)
    release_jobs.run(RELEASE, "Job")
    assert release_jobs.used(RELEASE) == audited(RELEASE)
    assert not kube.require("gwb", "kept")["metadata"].get("finalizers")
    assert not kube.require("gwr", "open")["metadata"].get("finalizers")
