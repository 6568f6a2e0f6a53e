"""Restores that restart their gateway: each kind of workload, each way to replace pods, and everything in the way.

A restore completes, or it is refused in Validating before anything has changed. Its operator patches the workload at
most once for each restart. All cases run at the same time, since they mostly wait.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway_operator.domain.model.names import RESTORED
from tests.cluster import Cluster
from tests.cluster.fixtures import create_namespace
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import (
    LEFT_UNREADY,
    ClusterError,
    Kube,
    random_loopback_address,
    running_pod_status,
    wait_for,
)

pytestmark = pytest.mark.cluster

RECREATE = {"strategy": {"type": "Recreate"}}
ROLLING = {"strategy": {"type": "RollingUpdate"}}
SURGE_ONLY = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}
PARALLEL = {"podManagementPolicy": "Parallel"}
STARTS = threading.Semaphore(2)
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


def partition(number: int) -> dict[str, Any]:
    """The fields of a StatefulSet that replaces only pods with at least this ordinal."""
    return {**PARALLEL, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}}


def add_variable(case: Case) -> None:
    """Start a rollout whose new pods never become ready."""
    template = {"metadata": {"annotations": {LEFT_UNREADY: "yes"}}}
    case.kube.kubectl("patch", case.target, "--type=merge", "-p", json.dumps({"spec": {"template": template}}))
    wait_for("a new pod", lambda: len(case.gw.gateway.list_pods()) > case.replicas)


def pause(case: Case) -> None:
    """Pause the Deployment, as before a manual rollout."""
    case.kube.kubectl("rollout", "pause", case.target)


def hold_a_terminating_pod(case: Case) -> None:
    """Delete a pod that a finalizer keeps, as a node that is gone does."""
    name, kube = case.gw.gateway.pod_name(), case.kube
    # The pod garbage collector ends terminating pods that have no node.
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-of-{case.name}"}}
    kube.cluster.rest.create(node, "")
    target = {"apiVersion": "v1", "kind": "Node", "name": f"node-of-{case.name}"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    path = f"/api/v1/namespaces/{kube.namespace}/pods/{name}/binding"
    answer = kube.cluster.rest.request(
        "POST", path, content=json.dumps(binding), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 201, answer.text
    kube.kubectl("patch", "pod", name, "--type=merge", "-p", '{"metadata": {"finalizers": ["a.example/held"]}}')
    kube.kubectl("delete", "pod", name, "--wait=false")
    wait_for("another pod", lambda: any("podIP" in one["status"] for one in case.live_pods()))


def give_replicas_volumes_of_their_own(case: Case) -> None:
    """Let the second pod have another admin API with another volume."""
    newest = max(case.live_pods(), key=lambda one: str(one["metadata"]["name"]))
    host = random_loopback_address()
    case.other = ScriptedAdminApi(host)
    case.other.key, case.other.volume_id = case.gw.key, "9" * 32
    case.other.__enter__()
    case.kube.patch_status("pod", newest["metadata"]["name"], running_pod_status(host))


def pause_during_the_restore(case: Case) -> None:
    """Pause the Deployment after the checks and before the restart: the safety backup takes at least a second."""

    def work() -> None:
        case.kube.wait_phase("gwr", case.name, "SafetyBackup", "Restoring", timeout=120)
        pause(case)

    threading.Thread(target=work, daemon=True).start()


def remove_the_marker_always(case: Case) -> None:
    """Remove the restart marker from the pod template whenever it appears, as a controller with its own template."""

    def work() -> None:
        patch = json.dumps({"spec": {"template": {"metadata": {"annotations": {RESTORED: None}}}}})
        while not case.kube.status("gwr", case.name).get("completionTime"):
            template = case.kube.require("deployment", case.name)["spec"]["template"]["metadata"]
            if RESTORED in template.get("annotations", {}):
                case.kube.kubectl("patch", case.target, "--type=merge", "-p", patch)
            time.sleep(0.2)

    threading.Thread(target=work, daemon=True).start()


@dataclass(eq=False)
class Case:
    """One gateway, and what is done to its workload before the restore."""

    name: str
    replicas: int = 1
    rollout: dict[str, Any] = field(default_factory=lambda: RECREATE)
    kind: str = "Deployment"
    ordinal: int = 0
    before: Callable[[Case], None] = lambda _: None
    reason: str = "Restored"
    health_seconds: int = 60
    kube: Kube = field(init=False)
    gw: RealGateway = field(init=False)
    other: ScriptedAdminApi | None = None

    @property
    def target(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    @property
    def ref(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "ordinal": self.ordinal}

    def live_pods(self) -> list[dict[str, Any]]:
        """The pods that are not being deleted."""
        return [one for one in self.gw.gateway.list_pods() if "deletionTimestamp" not in one["metadata"]]

    def ready(self) -> bool:
        """Whether all pods are ready, and the workload's controller says so."""
        status = self.kube.require(self.kind.lower(), self.name)["status"]
        return bool(status.get("readyReplicas") == self.replicas)

    def restore(self, **spec: Any) -> None:
        health = {"timeoutSeconds": self.health_seconds, "consecutive": 1}
        spec = {"gatewayRef": self.ref, "backupName": f"{self.name}-good", "healthCheck": health, **spec}
        self.kube.apply_restore(self.name, **spec)

    def run(self, kube: Kube, folder: Path) -> dict[str, Any]:
        """Make a backup, change the config, and restore. Returns the status of the finished restore."""
        self.kube = kube
        folder.mkdir()
        settings = {"name": self.name, "replicas": self.replicas, "kind": self.kind, "rollout": self.rollout}
        with ExitStack() as stack:
            # Two at a time: all servers that start at once would take longer than one may take.
            with STARTS:
                gw = self.gw = stack.enter_context(
                    real_gateway(kube, folder, create=False, reload="Restart", admin_settle_seconds=0, **settings)
                )
            gw.gateway.apply_secret()
            gw.gateway.apply_deployment()
            with gw.gateway.simulated_kubelet():
                wait_for(f"the pods of {self.name}", self.ready, timeout=120)
                kube.apply_backup(f"{self.name}-good", gatewayRef=self.ref)
                kube.wait_phase("gwb", f"{self.name}-good", "Completed", timeout=120)
                gw.write_config(users=5)
                self.before(self)
                self.restore(**({"timeoutSeconds": 10} if self in REFUSED else {}))
                status = kube.wait_status("gwr", self.name, lambda one: one.get("completionTime"), timeout=180)
                return {**status, "users": gw.count_users()}


COMPLETED = [
    Case("recreate"),
    Case("recreate-many", replicas=3),
    Case("rolling", rollout=ROLLING),
    Case("rolling-many", replicas=3, rollout=ROLLING),
    Case("surge-many", replicas=2, rollout=SURGE_ONLY),
    Case("ordered", replicas=3, rollout={}, kind="StatefulSet", ordinal=0),
    Case("ordered-last", replicas=2, rollout={}, kind="StatefulSet", ordinal=1),
    Case("parallel", replicas=2, rollout=PARALLEL, kind="StatefulSet", ordinal=0),
    Case("partition", replicas=2, rollout=partition(1), kind="StatefulSet", ordinal=1),
]
REFUSED = [
    Case("paused", before=pause, reason="RolloutPaused"),
    Case("in-progress", rollout=SURGE_ONLY, before=add_variable, reason="RolloutInProgress"),
    Case("terminating", before=hold_a_terminating_pod, rollout=ROLLING, reason="PodTerminating"),
    Case("on-delete", rollout=ON_DELETE, kind="StatefulSet", reason="RestartNotPossible"),
    Case("own-volumes", replicas=2, before=give_replicas_volumes_of_their_own, reason="VolumesDiffer"),
    Case("below", replicas=2, rollout=partition(1), kind="StatefulSet", reason="RestartNotPossible"),
]
CONTESTED = [
    Case("paused-later", before=pause_during_the_restore, health_seconds=6, reason="RestartFailed"),
    Case("marker-removed", before=remove_the_marker_always, health_seconds=15, reason="RestartFailed"),
]
CASES = {case.name: case for case in (*COMPLETED, *REFUSED, *CONTESTED)}


@pytest.fixture(scope="module")
def team(cluster_with_crds: Cluster) -> Iterator[Kube]:
    """The namespace of all gateways."""
    name = f"restarts-{secrets.token_hex(3)}"
    create_namespace(cluster_with_crds, name)
    yield Kube(cluster_with_crds, name)
    cluster_with_crds.rest.delete("namespace", "", name)


@pytest.fixture(scope="module")
def requests(team: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file with the requests of the operator that acts in the namespace."""
    folder = tmp_path_factory.mktemp("operator")
    file = folder / "requests"
    module, environment = "tests.operator.support.recording_operator", {"RECORDED_REQUESTS": str(file)}
    with OperatorProcess(team.cluster, folder / "log", team.namespace, environment=environment, module=module):
        yield file


@pytest.fixture(scope="module")
def results(
    team: Kube, requests: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """The status of each restore, as soon as it has finished."""
    folder = tmp_path_factory.mktemp("gateways")
    with ThreadPoolExecutor(len(CASES)) as pool:
        yield {name: pool.submit(case.run, team, folder / name) for name, case in CASES.items()}
    for case in CASES.values():
        if case.other is not None:
            case.other.__exit__()
    team.kubectl("delete", "node", "node-of-terminating", "--ignore-not-found", check=False)
    for pod in team.items("pods"):
        if pod["metadata"].get("finalizers"):
            with suppress(ClusterError):
                team.kubectl(
                    "patch", "pod", pod["metadata"]["name"], "--type=merge", "-p", '{"metadata": {"finalizers": null}}'
                )


def patches(requests: Path, name: str) -> int:
    """How often the operator has patched the workload."""
    pattern = re.compile(rf"PATCH \S+/(deployments|statefulsets)/{name} ")
    return sum(bool(pattern.match(line)) for line in requests.read_text().splitlines())


@pytest.mark.parametrize("case", COMPLETED, ids=lambda case: case.name)
def test_restore_restarts_all_pods_with_one_patch(
    team: Kube, requests: Path, results: dict[str, Future[dict[str, Any]]], case: Case
) -> None:
    status = results[case.name].result()
    assert (status["phase"], status["reason"], status["restarted"], status["users"]) == (
        "Completed", "Restored", True, 2,
    ), status  # fmt: skip
    assert patches(requests, case.name) == 1
    uid = team.require("gwr", case.name)["metadata"]["uid"]
    pods = team.items("pods", labels=f"app={case.name}")
    restarted = [one for one in pods if one["metadata"].get("annotations", {}).get(RESTORED) == uid]
    assert len(restarted) == (1 if case.name == "partition" else case.replicas)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_restore_that_could_not_restart_is_refused_unchanged(
    team: Kube, requests: Path, results: dict[str, Future[dict[str, Any]]], case: Case
) -> None:
    status = results[case.name].result()
    assert status["phase"] == "Failed", status
    assert status["reason"] == case.reason, status
    assert [one["name"] for one in status["steps"]] == ["Validating"]
    assert status["users"] == 5
    assert "safetyBackup" not in status
    assert patches(requests, case.name) == 0


@pytest.mark.parametrize("case", CONTESTED, ids=lambda case: case.name)
def test_restart_that_others_undo_is_not_repeated(
    requests: Path, results: dict[str, Future[dict[str, Any]]], case: Case
) -> None:
    """One patch for the restore and one for its rollback, whatever another controller does to the workload."""
    status = results[case.name].result()
    assert patches(requests, case.name) <= 2
    if status["phase"] == "RolledBack":
        assert status["reason"] == case.reason, status
        assert status["users"] == 5
    else:
        # The pods were replaced before the other controller acted.
        assert (case.name, status["phase"], status["users"]) == ("marker-removed", "Completed", 2), status
