"""Tests of the test cluster's node: pods, services, DNS, volumes, isolation and restarts."""

import os
import secrets
import signal
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, images, lifecycle, network
from tests.cluster.output import wait_until
from tests.cluster.processes import Processes
from tests.cluster.runtime import PAUSE_TAG

pytestmark = pytest.mark.node

# A web server that serves the files of its volume, as a user who does not own them.
SHOP = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: goods}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 3Gi}}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      securityContext:
        {runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, runAsNonRoot: true}
      containers:
        - name: shop
          image: IMAGE
          command: [sh, -c, "echo open; exec python3 -m http.server 8080"]
          workingDir: /goods
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: "1", memory: 128Mi}}
          volumeMounts: [{name: goods, mountPath: /goods}]
      volumes: [{name: goods, persistentVolumeClaim: {claimName: goods}}]
"""
# A pod that mounts a volume with its own storage class and sleeps.
HOLDER = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: small}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: CLASS
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: holder}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 10001, fsGroup: 10001}
  containers:
    - name: holder
      image: IMAGE
      command: [sleep, infinity]
      volumeMounts: [{name: small, mountPath: /small}]
  volumes: [{name: small, persistentVolumeClaim: {claimName: small}}]
"""


@pytest.fixture(scope="module")
def image(node_cluster: Cluster) -> str:
    """An image with Python in it, on the node."""
    tag = images.base_image().tag
    images.load(node_cluster, tag)
    return tag


def test_pod_with_claim_probe_service_dns_exec_and_logs(node_cluster: Cluster, namespace: str, image: str) -> None:
    def kubectl(*arguments: str) -> str:
        return node_cluster.kubectl("-n", namespace, *arguments)

    node_cluster.kubectl("apply", "-n", namespace, "-f", "-", input=SHOP.replace("IMAGE", image))
    kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    kubectl("exec", "deploy/shop", "--", "sh", "-c", "echo apples > /goods/stock.txt")
    ask = "import urllib.request as r; print(r.urlopen('http://URL/stock.txt').read().decode())"

    from_pod = kubectl("exec", "deploy/shop", "--", "python3", "-c", ask.replace("URL", f"shop.{namespace}.svc"))
    short_name = kubectl("exec", "deploy/shop", "--", "python3", "-c", ask.replace("URL", "shop"))
    address = kubectl("get", "service", "shop", "-o", "jsonpath={.spec.clusterIP}")
    with urllib.request.urlopen(f"http://{address}/stock.txt", timeout=5) as answer:
        from_machine = answer.read()

    assert (from_pod.strip(), short_name.strip(), from_machine.strip()) == ("apples", "apples", b"apples")
    assert "open" in kubectl("logs", "deploy/shop")
    owner = kubectl("exec", "deploy/shop", "--", "stat", "-c", "%u:%g %a", "/goods")
    assert owner.strip() == "0:10001 2775"


def test_pods_cannot_reach_the_internet(node_cluster: Cluster, namespace: str, image: str) -> None:
    ask = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"

    run = ["run", "caged", f"--image={image}", "--restart=Never", "--", "python3", "-c", ask]
    node_cluster.kubectl("-n", namespace, *run)
    failed = "--for=jsonpath={.status.phase}=Failed"
    node_cluster.kubectl("-n", namespace, "wait", "pod/caged", failed, "--timeout=60s")

    assert "unreachable" in node_cluster.kubectl("-n", namespace, "logs", "caged")


def test_volume_is_deleted_with_its_claim(node_cluster: Cluster, namespace: str) -> None:
    claim = SHOP.split("---")[0]
    node_cluster.kubectl("apply", "-n", namespace, "-f", "-", input=claim)
    bound = "--for=jsonpath={.status.phase}=Bound"
    node_cluster.kubectl("-n", namespace, "wait", "pvc/goods", bound, "--timeout=60s")
    name = node_cluster.kubectl("-n", namespace, "get", "pvc", "goods", "-o", "jsonpath={.spec.volumeName}")
    folder = node_cluster.paths.volumes / name
    assert folder.is_dir()

    node_cluster.kubectl("-n", namespace, "delete", "pvc", "goods")

    wait_until(lambda: not folder.exists(), "the volume's folder to go", timeout=60)
    node_cluster.kubectl("wait", "--for=delete", f"pv/{name}", "--timeout=60s")


def test_tmpfs_volume_fills_up_grows_and_becomes_read_only(node_cluster: Cluster, namespace: str, image: str) -> None:
    volume = node_cluster.add_volume(f"small-{secrets.token_hex(3)}", "4Mi", tmpfs=True)
    manifest = HOLDER.replace("CLASS", volume.storage_class).replace("IMAGE", image)
    node_cluster.kubectl("apply", "-n", namespace, "-f", "-", input=manifest)
    node_cluster.kubectl("-n", namespace, "wait", "pod/holder", "--for=condition=Ready", "--timeout=60s")

    def write(megabytes: int) -> str:
        command = f"dd if=/dev/zero of=/small/file bs=1M count={megabytes} 2>&1; rm -f /small/file"
        return node_cluster.kubectl("-n", namespace, "exec", "holder", "--", "sh", "-c", command, check=False)

    assert "No space left" in write(8)
    volume.resize("16Mi")
    assert "8388608 bytes" in write(8)
    volume.set_read_only(True)
    assert "Read-only" in write(1)
    volume.set_read_only(False)
    assert "1048576 bytes" in write(1)

    node_cluster.kubectl("-n", namespace, "delete", "pod/holder", "pvc/small")
    volume.remove()
    assert not volume.path.exists()


def test_pods_keep_running_during_an_api_server_restart(node_cluster: Cluster, namespace: str, image: str) -> None:
    node_cluster.kubectl("-n", namespace, "run", "steady", f"--image={image}", "--", "sleep", "infinity")
    node_cluster.kubectl("-n", namespace, "wait", "pod/steady", "--for=condition=Ready", "--timeout=60s")

    node_cluster.restart_api_server()

    restarts = "jsonpath={.status.containerStatuses[0].restartCount}"
    assert node_cluster.kubectl("-n", namespace, "get", "pod", "steady", "-o", restarts) == "0"
    # A new pod shows that the scheduler, the controllers and the kubelet have reconnected.
    node_cluster.kubectl("-n", namespace, "run", "later", f"--image={image}", "--", "sleep", "infinity")
    node_cluster.kubectl("-n", namespace, "wait", "pod/later", "--for=condition=Ready", "--timeout=60s")


@pytest.fixture
def other_name() -> Iterator[str]:
    """A name for a cluster that the test starts; the fixture stops it afterwards."""
    chosen = f"self-{secrets.token_hex(3)}"
    yield chosen
    lifecycle.stop(chosen, lambda line: None, keep_images=False)


def test_second_cluster_runs_beside_the_first_and_after_a_kill(node_cluster: Cluster, other_name: str) -> None:
    def run_pod(cluster: Cluster) -> None:
        cluster.kubectl("run", "probe", f"--image={PAUSE_TAG}")
        cluster.kubectl("wait", "pod/probe", "--for=condition=Ready", "--timeout=60s")

    second = lifecycle.start(other_name)
    run_pod(second)
    assert second.node_address != node_cluster.node_address
    processes = Processes(second.paths)
    for program in processes.names():
        pid = processes.pid(program)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    third = lifecycle.start(other_name, reuse=True)
    run_pod(third)

    assert node_cluster.is_healthy()
    lifecycle.stop(other_name)
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert network.namespace_of(other_name) not in namespaces
    with open("/proc/self/mounts") as mounts:
        assert f"/{other_name}/" not in mounts.read()
