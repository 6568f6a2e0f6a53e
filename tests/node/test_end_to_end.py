"""The promise of the whole: a real gateway is backed up and restored, and its user is the one who says so.

The user is the public MCP client with a key that the gateway itself issued; the losses are those that people have.
"""

from __future__ import annotations

import io
import json
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from tests.cluster.fixtures import create_namespace
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import CONFIG_FILE, MANAGEMENT_PORT, GatewayPod
from tests.demo.kube import Kube
from tests.demo.mcp_client import Identity, Listing
from tests.demo.observers import Observer
from tests.demo.terminal_report import Report
from tests.node.conftest import RESTRICTED, InstalledGateway

pytestmark = pytest.mark.node

SERVERS = PROJECTS[0].servers


@dataclass
class Subject:
    """A gateway with a user in it, and a backup of both."""

    kube: Kube
    pod: GatewayPod
    observer: Observer
    user: Identity
    backup: str = ""

    def ask(self) -> Listing:
        """What the user gets now."""
        return self.observer.listing(self.user)

    def works(self) -> bool:
        """Whether the user gets the servers of the project, at once or soon."""
        return self.observer.wait_for_servers(self.user, SERVERS, timeout=60).servers == SERVERS

    def create(self, kind: str, name: str, **spec: object) -> str:
        """Make one of our objects; returns what kubectl calls it."""
        manifest = {
            "apiVersion": "mcpgateway.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.pod.namespace},
            "spec": {"gatewayRef": {"name": self.pod.workload}, **spec},
        }
        self.kube.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        return f"{kind.lower()}/{name}"

    def completed(self, thing: str, timeout: float = 240) -> dict[str, Any]:
        """Wait until it is done; its status."""
        self.kube.wait_completed(self.pod.namespace, thing, timeout)
        return self.status(thing)

    def status(self, thing: str) -> dict[str, Any]:
        """What its status says now."""
        found = json.loads(self.kube.kubectl("-n", self.pod.namespace, "get", thing, "-o", "json"))
        status: dict[str, Any] = found.get("status", {})
        return status

    def delete_pod(self, grace: int) -> None:
        """Delete the gateway's pod, and wait until it is gone."""
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
def populated(installed_gateway: InstalledGateway) -> Iterator[Subject]:
    """A gateway of this module's own, with projects, users and keys. Each test leaves it as it found it."""
    cluster, namespace, name = installed_gateway.cluster, "story", "story-gateway"
    create_namespace(cluster, namespace)
    cluster.kubectl("label", "namespace", namespace, *RESTRICTED)
    installed_gateway.install_gateway("--set", "managementApi.enabled=true", release=name, namespace=namespace)
    kube = Kube(Report(io.StringIO()), cluster.environment)
    pod = GatewayPod(kube, namespace, name)
    observer = Observer(kube, namespace, name)
    try:
        yield Subject(kube, pod, observer, pod.populate(PROJECTS)[0])
    finally:
        observer.close()
        cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


@pytest.fixture
def subject(populated: Subject, request: pytest.FixtureRequest) -> Subject:
    """That gateway, its first user served, and a new backup of it with a name of this test's own."""
    assert populated.ask().servers == SERVERS, "an earlier test left the gateway broken"
    backup = f"before-{zlib.crc32(request.node.name.encode()):08x}"
    status = populated.completed(populated.create("GatewayBackup", backup), timeout=120)
    assert status["verification"]["level"] == "Verified"
    assert status["counts"]["projects"] == len(PROJECTS)
    return replace(populated, backup=backup)


def _until(condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.2)


def test_deleted_project_and_truncated_config_are_restored(subject: Subject) -> None:
    with subject.pod.management_api() as api:
        api.delete_project_with_keys(subject.user.project)
    assert "CONFIG_002" in str(subject.ask())
    subject.pod.truncate()
    assert subject.detailed_health().startswith("unhealthy")
    assert "CONFIG_002" in str(subject.ask())

    status = subject.completed(subject.create("GatewayRestore", "undo", backupName=subject.backup))

    assert status["safetyBackup"]["kind"] == "raw"
    assert subject.works()
    assert subject.detailed_health() == "healthy"
    with subject.pod.management_api() as api:
        assert api.statistics()["total_projects"] == len(PROJECTS)


def test_pod_that_is_not_ready_because_its_config_is_broken_is_restored(subject: Subject) -> None:
    """The gateway's own API dies at each request while the config is broken: its pod is in CrashLoopBackOff."""
    subject.pod.truncate()
    target = f"deployment/{subject.pod.workload}"
    with subject.kube.port_forward(subject.pod.namespace, target, MANAGEMENT_PORT) as forward:

        def kill_its_own_api() -> bool:
            try:
                httpx.get(f"http://127.0.0.1:{forward.port}/api/v1/projects", headers={"apikey": "x"}, timeout=5)
            except httpx.TransportError:
                forward.close()
            return "not Ready" in subject.observer.observe("now", subject.user).pod

        _until(kill_its_own_api, "the pod is not ready")

    subject.completed(subject.create("GatewayRestore", "cure", backupName=subject.backup))

    assert subject.works()


def test_lost_config_is_not_seeded_over_and_is_restored(subject: Subject) -> None:
    subject.kube.kubectl(*subject.pod.exec_arguments("gateway", "rm", CONFIG_FILE))
    subject.delete_pod(grace=5)
    subject.rolled_out()
    # A new, empty config would look healthy, and nobody would learn that everything is lost.
    assert subject.detailed_health().startswith("unhealthy")

    status = subject.completed(subject.create("GatewayRestore", "refind", latest={}))

    assert status["source"]["backupName"] == subject.backup
    assert status["safetyBackup"]["kind"] == "missing"
    assert subject.works()


def test_pod_that_dies_in_the_middle_of_a_restore(subject: Subject) -> None:
    with subject.pod.management_api() as api:
        api.delete_project_with_keys(subject.user.project)
    thing = subject.create("GatewayRestore", "interrupted", backupName=subject.backup)
    phases = ("Restoring", "Restarting", "HealthCheck")
    _until(lambda: subject.status(thing).get("phase") in phases, f"{thing} is at work")
    subject.delete_pod(grace=0)

    status = subject.completed(thing)

    assert status["phase"] == "Completed"
    assert subject.works()
    assert subject.detailed_health() == "healthy"
