"""Tests of the test cluster's control plane, on which all other cluster tests depend."""

import os
import secrets
import signal
from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, attach, lifecycle
from tests.cluster.output import wait_until
from tests.cluster.processes import Processes

pytestmark = pytest.mark.cluster

CRONJOB = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: tick, image: none}]
"""


@pytest.fixture
def name() -> Iterator[str]:
    """A name for a cluster that the test starts; the fixture stops it afterwards."""
    chosen = f"self-{secrets.token_hex(3)}"
    yield chosen
    lifecycle.stop(chosen, lambda line: None, keep_images=False)


def test_job_controllers_create_pods(control_plane: Cluster, namespace: str) -> None:
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", input=CRONJOB)
    control_plane.kubectl("create", "job", "once", "--from=cronjob/tick", "-n", namespace)

    def has_pod() -> bool:
        listed = control_plane.kubectl("get", "pods", "-l", "job-name=once", "-n", namespace, "-o", "name")
        return listed.startswith("pod/once")

    wait_until(has_pod, "the pod of the job", timeout=60)


def test_service_account_token_has_only_its_own_permissions(control_plane: Cluster, namespace: str) -> None:
    token = control_plane.token_for("default", namespace)
    nobody = [f"--server={control_plane.server}", "--kubeconfig=/dev/null", f"--token={token}"]
    authority = f"--certificate-authority={control_plane.paths.pki / 'ca.crt'}"

    identity = control_plane.kubectl("auth", "whoami", *nobody, authority)
    answer = control_plane.kubectl("auth", "can-i", "list", "secrets", *nobody, authority, check=False)

    assert f"system:serviceaccount:{namespace}:default" in identity
    assert answer.strip() == "no"


def test_objects_survive_a_restart_of_the_api_server(control_plane: Cluster, namespace: str) -> None:
    control_plane.kubectl("create", "configmap", "kept", "-n", namespace)

    control_plane.restart_api_server()

    assert "kept" in control_plane.kubectl("get", "configmap", "-n", namespace, "-o", "name")
    wait_until(control_plane.is_healthy, "every program to be alive again", timeout=60)


def test_two_clusters_run_side_by_side(control_plane: Cluster, name: str) -> None:
    other = lifecycle.start(name, node=False)

    other.kubectl("create", "namespace", "only-here")

    assert other.server != control_plane.server
    assert "only-here" not in control_plane.kubectl("get", "namespaces", "-o", "name")
    assert attach(name).is_healthy()


def test_start_cleans_up_after_a_killed_cluster(name: str) -> None:
    first = lifecycle.start(name, node=False)
    first.kubectl("create", "namespace", "from-before")
    processes = Processes(first.paths)
    survivor = processes.pid("etcd")
    for program in ("kube-apiserver", "kube-controller-manager"):
        pid = processes.pid(program)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    (first.paths.pids / "etcd").unlink()  # as if the run had been killed before it wrote this file

    second = lifecycle.start(name, node=False, reuse=True)

    assert second.is_healthy()
    assert "from-before" not in second.kubectl("get", "namespaces", "-o", "name")
    assert survivor != Processes(second.paths).pid("etcd")


def test_reuse_returns_a_healthy_cluster_unchanged(name: str) -> None:
    first = lifecycle.start(name, node=False)
    first.kubectl("create", "namespace", "from-before")

    second = lifecycle.start(name, node=False, reuse=True)

    assert "from-before" in second.kubectl("get", "namespaces", "-o", "name")
