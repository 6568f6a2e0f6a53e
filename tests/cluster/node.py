"""Runs the node as root in its own network namespace.

Its programs: containerd, kubelet, kube-proxy, DNS, the provisioner, and the engine that enforces NetworkPolicies.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.cluster import cgroups, images, network, provisioner
from tests.cluster.control_plane import node_name
from tests.cluster.output import wait_until
from tests.cluster.paths import HERE, ClusterPaths
from tests.cluster.processes import Processes
from tests.cluster.runtime import PAUSE_TAG, Runtime
from tests.cluster.slots import State

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

_ENGINE = "networkpolicies"
PROGRAMS = ("containerd", "kubelet", "kube-proxy", "coredns", "provisioner", _ENGINE)


class Node:
    """The only node of a cluster."""

    def __init__(self, state: State, programs: dict[str, Path]) -> None:
        self._state = state
        self._paths = ClusterPaths.of(state.name)
        self._programs = programs
        self._processes = Processes(self._paths)
        self._runtime = Runtime(state)

    @property
    def entering(self) -> Sequence[str]:
        """Prefix of a command that runs it in the node's network namespace."""
        return network.entering(self._state.name)

    def make_network(self) -> None:
        """Create the node's network namespace, in which the control plane also runs."""
        network.make(self._state)

    def start_runtime(self) -> None:
        """Start containerd and import the pause image, which each pod needs."""
        self._runtime.start()
        self._runtime.import_image(images.pause_image(), PAUSE_TAG)

    def start(self, cluster: "Cluster") -> None:
        """Start the other programs of the node, and wait until pods can run."""
        cgroups.make(self._state.name)
        # Pods get no external name servers.
        self._config("resolv.conf").write_text("")
        self._config("kubelet.yaml").write_text(yaml.safe_dump(self._kubelet_config()))
        self._config("Corefile").write_text(self._corefile())
        self._spawn("kubelet", self._kubelet())
        cluster.kubectl("apply", "--server-side", "-f", str(HERE / "manifests"))
        self._spawn("kube-proxy", self._kube_proxy())
        self._spawn("coredns", ["-conf", str(self._config("Corefile"))])
        provisioner.spawn(self._state)
        self.start_policy_engine()
        self.wait_ready(cluster)

    def wait_ready(self, cluster: "Cluster", timeout: float = 90) -> None:
        """Wait until the node is ready and a pod would start."""

        def ready() -> bool:
            self._processes.must_live(PROGRAMS)
            query = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
            return cluster.kubectl("get", "nodes", "-o", query, check=False).strip() == "True"

        wait_until(ready, f"the node of {self._state.name} to be ready", timeout, pause=0.2)

    def start_policy_engine(self) -> None:
        """Start the enforcement of NetworkPolicies. It begins when the engine has read all of them."""
        credentials = f"-kubeconfig={self._paths.pki / _ENGINE}.kubeconfig"
        node = f"-node={node_name(self._state.name)}"
        self._spawn(_ENGINE, [credentials, node, f"-service-cidr={self._state.addresses.services}"])

    def stop_policy_engine(self) -> None:
        """End the enforcement of NetworkPolicies: the engine removes its iptables rules and IP sets."""
        self._processes.stop(_ENGINE, patience=20)

    def is_healthy(self) -> bool:
        """Whether all programs of the node are running."""
        return all(self._processes.pid(name) is not None for name in PROGRAMS)

    def import_image(self, archive: Path, tag: str) -> bool:
        """Import an image from an OCI archive; False if the node already has it."""
        return self._runtime.import_image(archive, tag)

    def tag_image(self, tag: str, reference: str) -> None:
        """Give an imported image another full reference, registry included."""
        self._runtime.tag_image(tag, reference)

    def _config(self, name: str) -> Path:
        return self._paths.root / "config" / name

    def _spawn(self, name: str, arguments: Sequence[str]) -> None:
        self._processes.spawn(name, [*self.entering, str(self._programs[name]), *arguments])

    def _kubelet(self) -> list[str]:
        return [
            f"--config={self._config('kubelet.yaml')}",
            f"--kubeconfig={self._paths.pki / 'kubelet.kubeconfig'}",
            f"--hostname-override={node_name(self._state.name)}",
            f"--node-ip={self._state.addresses.node}",
            f"--root-dir={self._paths.kubelet}",
        ]

    def _kubelet_config(self) -> dict[str, object]:
        pki = self._paths.pki
        has_quotas = any(
            path.exists()
            for path in (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cgroup.controllers"))
        )
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(pki / "kubelet.key"),
            "containerRuntimeEndpoint": f"unix://{self._paths.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroups.root_name(self._state.name)}",
            "clusterDomain": "cluster.local",
            "clusterDNS": [self._state.addresses.node],
            "resolvConf": str(self._config("resolv.conf")),
            "podLogsDir": str(self._paths.logs / "pods"),
            "volumePluginDir": str(self._paths.root / "run" / "volume-plugins"),
            "failSwapOn": False,
            "failCgroupV1": False,
            "cpuCFSQuota": has_quotas,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,  # a lower score needs a capability that containers lack
            "serializeImagePulls": False,
            # The disk is shared with the machine, so the kubelet must not evict pods or delete images when it fills.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "5s",
        }

    def _kube_proxy(self) -> list[str]:
        return [
            f"--kubeconfig={self._paths.pki / 'kube-proxy.kubeconfig'}",
            f"--hostname-override={node_name(self._state.name)}",
            # Not iptables: the policy engine writes back the whole filter table that it has read before, and so can
            # delete what kube-proxy writes in the meantime. Then no service has an address until kube-proxy retries.
            "--proxy-mode=nftables",
            f"--cluster-cidr={self._state.addresses.pods}",
            # Do not change the machine's conntrack limit.
            "--conntrack-max-per-core=0",
            "--oom-score-adj=0",
        ]

    def _corefile(self) -> str:
        # No `forward`: names outside the cluster do not resolve.
        return f"""
cluster.local in-addr.arpa ip6.arpa {{
    bind {self._state.addresses.node}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {self._paths.pki / "coredns.kubeconfig"}
        pods insecure
        ttl 1
    }}
}}
. {{
    bind {self._state.addresses.node}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
