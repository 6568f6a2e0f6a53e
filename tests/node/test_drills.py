"""Drills of a real gateway on a real kubelet: a good one, failures, a deletion, and the isolation of the pod.

The node enforces NetworkPolicies, so the drills are isolated. One test turns the engine off.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.output import wait_until
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import CONFIG_FILE
from tests.node.conftest import ROOT, InstalledGateway, Population, gateway_pod
from tests.node.page_commands import PageReader
from tests.node.pages import DRILLS
from tests.node.shell import Shell
from tests.operator.support.namespaces import create_restricted_namespace

pytestmark = pytest.mark.node

NAMESPACE = "drills"
NAME = "drilled"
ISOLATION = "mcpgateway.dev/drill-isolation"


@dataclass
class DrilledGateway:
    """A gateway with users and a Completed backup `good`, whose chart allows drills."""

    installed: InstalledGateway

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

    @contextmanager
    def page(self, folder: Path) -> Iterator[PageReader]:
        """The page about drills, with this gateway's names. Its commands use the gateway's namespace."""
        cluster = self.installed.cluster
        own = shutil.copy(cluster.kubeconfig, folder / "kubeconfig")
        with Shell({**cluster.environment, "KUBECONFIG": str(own)}, folder) as shell:
            shell.run(f"kubectl config set-context --current --namespace {NAMESPACE}")
            yield PageReader(DRILLS, shell, {"my-gateway": NAME, "helm/gateway": str(ROOT / "helm" / "gateway")})

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
def drilled(installed_gateway: InstalledGateway, population: Population) -> Iterator[DrilledGateway]:
    """A gateway for this module. Its live config and its pod stay the same throughout."""
    cluster = installed_gateway.cluster
    create_restricted_namespace(cluster, NAMESPACE)
    values = (
        "--set", "managementApi.enabled=true", "--set", "restore.drills=true",
              "--set", "operator.rbac.cronJobs=true")  # fmt: skip
    installed_gateway.install_gateway(*values, release=NAME, namespace=NAMESPACE)
    population.copy_to(gateway_pod(cluster, NAMESPACE, NAME))
    gateway = DrilledGateway(installed_gateway)
    gateway.create("GatewayBackup", "good")
    assert gateway.finished("gatewaybackup", "good")["phase"] == "Completed"
    before = gateway.live()
    try:
        yield gateway
        assert gateway.live() == before
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def test_drill_without_a_policy_engine_needs_the_owners_consent(drilled: DrilledGateway, tmp_path: Path) -> None:
    with drilled.installed.cluster.policies_off():
        status = drilled.drill("not-isolated", backupName="good")
        assert (status["phase"], status["reason"]) == ("Failed", "NotIsolated"), status
        assert "The pod reached" in status["message"]
        assert status["drill"]["isolated"] is False
        assert "restoredTime" not in status["drill"]
        assert drilled.leftovers() == []
        assert drilled.level("good") == "Verified"

        with drilled.page(tmp_path) as page:
            page.run("accept no isolation")
        status = drilled.drill("accepted", backupName="good")
        assert (status["phase"], status["reason"]) == ("Completed", "Drilled"), status
        assert status["drill"]["isolated"] is False
        assert "Isolation was not enforced" in status["message"]
    drilled.kubectl("annotate", "deployment", NAME, f"{ISOLATION}=Required", "--overwrite")


def test_page_of_drills_proves_the_newest_backup_in_isolation(drilled: DrilledGateway, tmp_path: Path) -> None:
    drilled.create("GatewayBackup", "newer")
    assert drilled.finished("gatewaybackup", "newer")["phase"] == "Completed"
    with drilled.page(tmp_path) as page:
        page.run("chart")
        shown = json.loads(page.run("drill").strip().splitlines()[-1])
    status = drilled.installed.get("gatewayrestore", "drill-1", NAMESPACE)["status"]
    assert shown == status["drill"]
    assert (status["phase"], status["reason"]) == ("Completed", "Drilled"), status
    assert status["source"]["backupName"] == "newer"
    drill = status["drill"]
    assert drill["counts"]["projects"] == len(PROJECTS)
    assert 0 < drill["readySeconds"] <= drill["totalSeconds"] < 120
    assert drill["isolated"] is True
    assert "solation" not in status["message"]
    assert drilled.leftovers() == []
    assert drilled.level("newer") == "Drilled"


def test_schedule_drills_its_newest_backup(drilled: DrilledGateway) -> None:
    """Two real pods: the first Job makes the backup, and the second drills it. Only their times are not awaited."""
    drill = {"schedule": "0 4 1 1 *", "timeoutSeconds": 120}
    drilled.create("GatewayBackupSchedule", "nightly", schedule="0 2 1 1 *", drill=drill)
    # The operator creates the CronJob of the drills after that of the backups.
    wait_until(lambda: "nightly-drill" in drilled.kubectl("get", "cronjobs", "-o", "name"), "the CronJobs", timeout=60)
    for name in ("nightly", "nightly-drill"):
        drilled.kubectl("create", "job", f"--from=cronjob/{name}", f"{name}-now")
        drilled.kubectl("wait", "--for=condition=Complete", f"job/{name}-now", "--timeout=150s", timeout=160)
    drilled.kubectl("wait", "--for=condition=Drilled", "gwbs/nightly", "--timeout=60s")
    status = drilled.installed.get("gwbs", "nightly", NAMESPACE)["status"]["drill"]
    assert status["lastSuccessfulBackup"].startswith("nightly-now-")
    assert 0 < status["lastSuccessfulSeconds"] < 120
    assert drilled.level(status["lastSuccessfulBackup"]) == "Drilled"
    assert drilled.installed.get("gwr", status["lastName"], NAMESPACE)["status"]["drill"]["isolated"] is True
    account = f"--as=system:serviceaccount:{NAMESPACE}:{NAME}-backup"
    answer = drilled.kubectl("auth", "can-i", "apply", "gatewayrestores.mcpgateway.dev", account, check=False)
    assert answer.strip() == "no"
    # The history limits of the CronJob delete its Jobs, and the garbage collector the drill of each.
    drilled.kubectl("delete", "job/nightly-drill-now")
    wait_until(
        lambda: status["lastName"] not in drilled.kubectl("get", "gwr", "-o", "name"), "the drill is deleted", 60
    )
    drilled.kubectl("delete", "gwbs/nightly")


def test_drill_of_a_damaged_backup_fails_and_says_why(drilled: DrilledGateway) -> None:
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
    drilled.create("GatewayRestore", "abandoned", mode="Drill", backupName="good")
    wait_until(lambda: len(drilled.leftovers()) == 2, "the pod and the policy exist", timeout=60, pause=0.2)
    drilled.kubectl("delete", "gatewayrestore", "abandoned", "--wait=false")
    wait_until(lambda: not drilled.leftovers(), "both are deleted", timeout=60, pause=0.2)
