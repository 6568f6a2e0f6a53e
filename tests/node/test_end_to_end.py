"""End to end: a real gateway is damaged, restored and then used by an MCP client.

The client uses a key that the gateway issued. The damages are those that happen in production: deleted projects,
truncated configs, and pods that die. tests/node/test_encryption_and_disaster_recovery.py has the lost config.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from tests.cluster.output import wait_until
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import MANAGEMENT_PORT, GatewayPod
from tests.demo.kube import Kube
from tests.demo.mcp_client import Identity, Listing
from tests.demo.observers import Observer
from tests.node.conftest import InstalledGateway, Population, gateway_pod

pytestmark = pytest.mark.node

SERVERS = PROJECTS[0].servers


@dataclass
class Subject:
    """The gateway under test, one of its users, and the name of a backup of both."""

    kube: Kube
    pod: GatewayPod
    observer: Observer
    user: Identity
    backup: str = ""

    def list_servers(self) -> Listing:
        """The MCP servers that the user gets now, or the error."""
        return self.observer.listing(self.user)

    def works(self) -> bool:
        """Whether the user gets the servers of the project within 60 s."""
        return self.observer.wait_for_servers(self.user, SERVERS, timeout=60).servers == SERVERS

    def create(self, kind: str, name: str, **spec: object) -> str:
        """Create an object of the group mcpgateway.dev. Returns kind/name for kubectl."""
        manifest = {
            "apiVersion": "mcpgateway.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.pod.namespace},
            "spec": {"gatewayRef": {"name": self.pod.workload}, **spec},
        }
        self.kube.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        return f"{kind.lower()}/{name}"

    def completed(self, target: str, timeout: float = 240) -> dict[str, Any]:
        """Wait up to `timeout` seconds until the object is Completed. Returns its status."""
        self.kube.wait_completed(self.pod.namespace, target, timeout)
        return self.status(target)

    def status(self, target: str) -> dict[str, Any]:
        """The current status of the object, empty if it has none."""
        body = json.loads(self.kube.kubectl("-n", self.pod.namespace, "get", target, "-o", "json"))
        status: dict[str, Any] = body.get("status", {})
        return status

    def delete_pod(self, grace: int) -> None:
        """Delete the gateway's pod with a grace period in seconds, and wait until it is deleted."""
        selector = f"app.kubernetes.io/instance={self.pod.workload}"
        arguments = ["-n", self.pod.namespace, "delete", "pods", "-l", selector, f"--grace-period={grace}"]
        self.kube.kubectl(*arguments, *(["--force"] if grace == 0 else []), timeout=90)

    def rolled_out(self) -> None:
        """Wait until the gateway's pod is ready again."""
        arguments = ["rollout", "status", f"deployment/{self.pod.workload}", "--timeout=120s"]
        self.kube.kubectl("-n", self.pod.namespace, *arguments, timeout=130)

    def detailed_health(self) -> str:
        """The status that the admin API reports, and its issues."""
        return self.observer.observe("now", self.user).status


@pytest.fixture(scope="module")
def populated(installed_gateway: InstalledGateway, population: Population) -> Iterator[Subject]:
    """The installed gateway and one of its users. Each test leaves both unchanged."""
    pod = gateway_pod(installed_gateway.cluster, installed_gateway.namespace, installed_gateway.name)
    observer = Observer(pod.kube, pod.namespace, pod.workload)
    try:
        yield Subject(pod.kube, pod, observer, population.identities[0])
    finally:
        observer.close()


@pytest.fixture
def subject(populated: Subject, request: pytest.FixtureRequest) -> Subject:
    """That gateway after a check that it works, with a new backup for this test."""
    assert populated.list_servers().servers == SERVERS, "an earlier test left the gateway broken"
    backup = f"before-{zlib.crc32(request.node.name.encode()):08x}"
    status = populated.completed(populated.create("GatewayBackup", backup), timeout=120)
    assert status["verification"]["level"] == "Verified"
    assert status["counts"]["projects"] == len(PROJECTS)
    return replace(populated, backup=backup)


def test_deleted_project_and_truncated_config_are_restored(subject: Subject) -> None:
    with subject.pod.management_api() as api:
        api.delete_project_with_keys(subject.user.project)
    assert "CONFIG_002" in str(subject.list_servers())
    subject.pod.truncate()
    assert subject.detailed_health().startswith("unhealthy")
    assert "CONFIG_002" in str(subject.list_servers())

    status = subject.completed(subject.create("GatewayRestore", "undo", backupName=subject.backup))

    assert status["safetyBackup"]["kind"] == "raw"
    assert subject.works()
    assert subject.detailed_health() == "healthy"
    with subject.pod.management_api() as api:
        assert api.statistics()["total_projects"] == len(PROJECTS)


def test_pod_that_crashes_on_a_broken_config_is_restored(subject: Subject) -> None:
    """While the config is broken, the gateway's own API crashes at each request. The pod is in CrashLoopBackOff."""
    subject.pod.truncate()
    target = f"deployment/{subject.pod.workload}"
    with subject.kube.port_forward(subject.pod.namespace, target, MANAGEMENT_PORT) as forward:

        def crash_own_api() -> bool:
            try:
                httpx.get(f"http://127.0.0.1:{forward.port}/api/v1/projects", headers={"apikey": "x"}, timeout=5)
            except httpx.TransportError:
                forward.close()
            return "not Ready" in subject.observer.observe("now", subject.user).pod

        wait_until(crash_own_api, "the pod is not ready", timeout=60, pause=0.2)

    subject.completed(subject.create("GatewayRestore", "repair", backupName=subject.backup))

    assert subject.works()


def test_restore_continues_after_its_pod_was_killed(subject: Subject) -> None:
    with subject.pod.management_api() as api:
        api.delete_project_with_keys(subject.user.project)
    target = subject.create("GatewayRestore", "interrupted", backupName=subject.backup)
    phases = ("Restoring", "Restarting", "HealthCheck")
    wait_until(lambda: subject.status(target).get("phase") in phases, f"{target} is running", timeout=60, pause=0.2)
    subject.delete_pod(grace=0)

    status = subject.completed(target)

    assert status["phase"] == "Completed"
    assert subject.works()
    assert subject.detailed_health() == "healthy"
