"""Unexpected exceptions inside a real operator process: the object that caused one ends, and all others continue.

The adapters of the process raise at chosen calls. The unit tests try each call of each port; here kopf, the work queues
and the retention pass take part.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.cluster.fixtures import create_namespace
from tests.operator.conftest import IMAGE
from tests.operator.support.failing_operator import FILE, SECRET
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import QUICK_HEALTH_CHECK, GatewayDeployment, Kube, random_loopback_address

pytestmark = pytest.mark.cluster

ALWAYS = 10**6
BACKUP_CALLS = ("read", "workload", "pods", "secret", "health", "write_status", "backup")
RESTORE_CALLS = ("create_ours", "restore", "read_restore", "restart", "commit")


@dataclass
class FailingOperator:
    """An operator for one namespace, and the file with the rules of its adapters."""

    kube: Kube
    process: OperatorProcess
    file: Path

    def fail(self, *rules: tuple[str, str, int]) -> None:
        """Replace the rules. Each has a method, a text in its arguments, and how often it raises."""
        bodies = [{"method": method, "text": text, "times": times} for method, text, times in rules]
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps(bodies))
        temporary.replace(self.file)

    def gateways(self, admin: ScriptedAdminApi, *names: str) -> None:
        """Create gateways that share one admin API. The calls to each of them contain its name."""
        created = [GatewayDeployment(self.kube, admin.host, admin.key, name=name) for name in names]
        for one in created:
            one.apply_secret()
            one.apply_deployment()
        for one in created:
            one.set_pod_ready()


@pytest.fixture(scope="module")
def failing(cluster_with_crds: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingOperator]:
    """The operator of this module, without rules."""
    name, folder = f"failing-{secrets.token_hex(3)}", tmp_path_factory.mktemp("failing")
    create_namespace(cluster_with_crds, name)
    file = folder / "rules"
    file.write_text("[]")
    process = OperatorProcess(
        cluster_with_crds, folder / "log", name, environment={FILE: str(file), "GATEWAY_OPERATOR_IMAGE": IMAGE},
        flags=["--pass-seconds=0.5"], module="tests.operator.support.failing_operator",
    )  # fmt: skip
    with process:
        yield FailingOperator(Kube(cluster_with_crds, name), process, file)
    assert_no_secret(Kube(cluster_with_crds, name))
    cluster_with_crds.rest.delete("namespace", "", name)


def assert_no_secret(kube: Kube) -> None:
    """Check that no object shows the text of an exception."""
    for kind in ("gwb", "gwr", "gwbs", "events"):
        assert SECRET not in json.dumps(kube.items(kind)), kind


@pytest.fixture(scope="module")
def api() -> Iterator[ScriptedAdminApi]:
    """The admin API of all gateways of this module but one."""
    with ScriptedAdminApi(random_loopback_address()) as server:
        yield server


def test_backup_completes_after_one_unexpected_error_at_each_call(
    failing: FailingOperator, api: ScriptedAdminApi
) -> None:
    kube, names = failing.kube, {call: f"once-{call.replace('_', '-')}" for call in BACKUP_CALLS}
    failing.gateways(api, *names.values())
    failing.fail(*((call, name, 1) for call, name in names.items()))
    for name in names.values():
        kube.apply_backup(name, gatewayRef={"name": name})
    for call, name in names.items():
        status = kube.wait_phase("gwb", name, "Completed")
        assert ("Warning", "InternalError") in kube.events(name), (call, status)
    assert len(api.backups) == len(names)


def test_object_fails_at_its_deadline_and_others_complete(failing: FailingOperator, api: ScriptedAdminApi) -> None:
    kube, calls = failing.kube, ("workload", "pods", "secret", "health", "backup")
    names = {call: f"always-{call}" for call in calls}
    failing.gateways(api, "healthy", *names.values())
    failing.fail(*((call, name, ALWAYS) for call, name in names.items()))
    for name in names.values():
        limits = {"startingDeadlineSeconds": 4, "timeoutSeconds": 10, "retryLimit": 1}
        kube.apply_backup(name, gatewayRef={"name": name}, **limits)
    kube.complete_backup("meanwhile", gatewayRef={"name": "healthy"})
    for call, name in names.items():
        status = kube.wait_phase("gwb", name, "Failed")
        text = json.dumps(status)
        assert "InternalError" in text, (call, status)
        assert "InjectedError" in text, (call, status)
        assert ("Warning", "InternalError") in kube.events(name), (call, kube.events(name))


def test_retention_of_other_gateways_continues(failing: FailingOperator, api: ScriptedAdminApi) -> None:
    kube = failing.kube
    failing.gateways(api, "listed", "unlisted")
    failing.fail(("list_if_changed", "unlisted", ALWAYS))
    for name in ("listed", "unlisted"):
        kube.kubectl("create", "serviceaccount", f"{name}-backup")
        kube.apply_schedule(f"of-{name}", gatewayRef={"name": name}, retention={"keepLast": 1})
        kube.complete_scheduled_backup(f"of-{name}", name, gatewayRef={"name": name})
    kube.wait_condition("gwbs", "of-listed", "RetentionApplied", "Applied")
    unlisted = kube.wait_condition("gwbs", "of-unlisted", "RetentionApplied", "ListingIncomplete")
    assert unlisted["status"] == "False"
    assert failing.process.is_alive()


@pytest.fixture(scope="module")
def restored(failing: FailingOperator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealGateway]:
    """A gateway with the backup `good` of two users. It must be restarted after a restore."""
    failing.fail()
    folder = tmp_path_factory.mktemp("restored")
    gateway = real_gateway(failing.kube, folder, reload="Restart", admin_settle_seconds=0)
    with gateway as gw, gw.gateway.simulated_kubelet():
        failing.kube.complete_backup("good")
        yield gw


@pytest.mark.parametrize("call", RESTORE_CALLS)
def test_restore_completes_after_one_unexpected_error(
    failing: FailingOperator, restored: RealGateway, call: str
) -> None:
    kube, name = failing.kube, f"once-{call.replace('_', '-')}"
    restored.write_config(users=5)
    failing.fail((call, "", 1))
    health: dict[str, Any] = {**QUICK_HEALTH_CHECK, "timeoutSeconds": 40, "consecutive": 1}
    kube.apply_restore(name, backupName="good", healthCheck=health)
    status = kube.wait_phase("gwr", name, "Completed", timeout=90)
    assert restored.count_users() == 2
    assert restored.get_restore(status["requestID"])["data"]["state"] == "committed"
    assert ("Warning", "InternalError") in kube.events(name)
    template = kube.require("deployment", "gw")["spec"]["template"]["metadata"]["annotations"]
    assert template["mcpgateway.dev/restored"] == kube.require("gwr", name)["metadata"]["uid"]
