"""Drills of a real gateway on a real kubelet: a good one, failures, a deletion, and the isolation of the pod.

The node enforces no NetworkPolicies. The gateway's owner accepts that for the good drills; without it a drill ends with
NotIsolated.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cluster.output import wait_until
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import CONFIG_FILE, GatewayPod
from tests.demo.kube import Kube
from tests.demo.terminal_report import Report
from tests.node.conftest import InstalledGateway
from tests.operator.support.namespaces import create_restricted_namespace

pytestmark = pytest.mark.node

NAMESPACE = "drills"
NAME = "drilled"
ISOLATION = "mcpgateway.dev/drill-isolation"


@dataclass
class DrilledGateway:
    """A gateway with users and a Completed backup `good`, whose chart allows drills."""

    installed: InstalledGateway
    pod: GatewayPod

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return self.installed.kubectl(*arguments, namespace=NAMESPACE, **options)

    def create(self, kind: str, name: str, **spec: Any) -> None:
        body = {
            "apiVersion": "mcpgateway.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {"gatewayRef": {"name": NAME}, **spec},
        }
        self.kubectl("apply", "-f", "-", input=json.dumps(body))

    def finished(self, kind: str, name: str, timeout: float = 150) -> dict[str, Any]:
        """Wait until the object has ended. Returns its status."""

        def status() -> dict[str, Any]:
            return dict(self.installed.get(kind, name, NAMESPACE).get("status") or {})

        wait_until(lambda: "completionTime" in status(), f"{kind} {name} has ended", timeout, pause=0.5)
        return status()

    def drill(self, name: str, **spec: Any) -> dict[str, Any]:
        """Run a drill to its end. Returns its status."""
        self.create("GatewayRestore", name, mode="Drill", timeoutSeconds=120, **spec)
        return self.finished("gatewayrestore", name)

    def accept_no_isolation(self, accept: bool) -> None:
        value = "Optional" if accept else "Required"
        self.kubectl("annotate", "deployment", NAME, f"{ISOLATION}={value}", "--overwrite")

    def level(self, backup: str) -> str:
        return str(self.installed.get("gatewaybackup", backup, NAMESPACE)["status"]["verification"]["level"])

    def leftovers(self) -> list[str]:
        """The pods and NetworkPolicies of drills that still exist."""
        names = self.kubectl("get", "pods,networkpolicies", "-l", "mcpgateway.dev/drill", "-o", "name")
        return names.split()

    def live(self) -> tuple[str, str]:
        """The uid of the gateway's pod and its config: neither may change."""
        pod = self.installed.pod(NAME, NAMESPACE)
        return pod["metadata"]["uid"], self.installed.run(
            "admin", "cat", CONFIG_FILE, release=NAME, namespace=NAMESPACE
        )


@pytest.fixture(scope="module")
def drilled(installed_gateway: InstalledGateway) -> Iterator[DrilledGateway]:
    """A gateway for this module. Its live config and its pod stay the same throughout."""
    cluster = installed_gateway.cluster
    create_restricted_namespace(cluster, NAMESPACE)
    values = ("--set", "managementApi.enabled=true", "--set", "restore.drills=true")
    installed_gateway.install_gateway(*values, release=NAME, namespace=NAMESPACE)
    pod = GatewayPod(Kube(Report(io.StringIO()), cluster.environment), NAMESPACE, NAME)
    pod.populate(PROJECTS)
    gateway = DrilledGateway(installed_gateway, pod)
    gateway.create("GatewayBackup", "good")
    assert gateway.finished("gatewaybackup", "good")["phase"] == "Completed"
    before = gateway.live()
    try:
        yield gateway
        assert gateway.live() == before
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def test_drill_without_a_policy_engine_ends_before_anything_is_restored(drilled: DrilledGateway) -> None:
    drilled.accept_no_isolation(False)
    status = drilled.drill("not-isolated", backupName="good")
    assert (status["phase"], status["reason"]) == ("Failed", "NotIsolated"), status
    assert "The pod reached" in status["message"]
    assert status["drill"]["isolated"] is False
    assert "restoredTime" not in status["drill"]
    assert drilled.leftovers() == []
    assert drilled.level("good") == "Verified"


def test_gateway_starts_with_the_backup_in_a_temporary_pod(drilled: DrilledGateway) -> None:
    drilled.accept_no_isolation(True)
    status = drilled.drill("weekly", latest={})
    assert (status["phase"], status["reason"]) == ("Completed", "Drilled"), status
    assert status["source"]["backupName"] == "good"
    drill = status["drill"]
    assert drill["counts"]["projects"] == len(PROJECTS)
    assert 0 < drill["readySeconds"] <= drill["totalSeconds"] < 120
    assert "Isolation was not enforced" in status["message"]
    assert drilled.leftovers() == []
    assert drilled.level("good") == "Drilled"


def test_drill_of_a_damaged_backup_fails_and_says_why(drilled: DrilledGateway) -> None:
    drilled.accept_no_isolation(True)
    drilled.create("GatewayBackup", "damaged")
    path = drilled.finished("gatewaybackup", "damaged")["path"]
    damage = f"with open('/backups/{path}', 'r+b') as file: file.seek(20); file.write(b'damaged')"
    drilled.installed.run("admin", "python3", "-c", damage, release=NAME, namespace=NAMESPACE)
    status = drilled.drill("of-damaged", backupName="damaged")
    assert status["phase"] == "Failed"
    assert status["reason"] in ("BackupChanged", "BackupCorrupt", "DigestMismatch"), status
    assert drilled.leftovers() == []
    assert drilled.level("damaged") == "Verified"


def test_deleted_drill_takes_its_pod_and_policy_with_it(drilled: DrilledGateway) -> None:
    drilled.accept_no_isolation(True)
    drilled.create("GatewayRestore", "abandoned", mode="Drill", backupName="good")
    wait_until(lambda: len(drilled.leftovers()) == 2, "the pod and the policy exist", timeout=60, pause=0.2)
    drilled.kubectl("delete", "gatewayrestore", "abandoned", "--wait=false")
    wait_until(lambda: not drilled.leftovers(), "both are deleted", timeout=60, pause=0.2)
