"""All paths of the test cluster.

There is a cache for programs and images, which may be deleted at any time, and one state folder per cluster. Its path
must be short, because it contains unix sockets and the kernel limits their paths to 107 bytes.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


class ClusterError(Exception):
    """A failure of the test cluster. The message is for the developer who runs the tests."""


def cache_dir() -> Path:
    """The cache folder, for files that can be rebuilt."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(base) / "gateway-backup-operator"
    path.mkdir(parents=True, exist_ok=True)
    return path


def state_root() -> Path:
    """The folder of all clusters of this user. On a disk and not on a tmpfs, because it contains images."""
    path = Path(os.environ.get("GATEWAY_CLUSTER_STATE") or f"/var/tmp/gateway-clusters-{os.getuid()}")
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise ClusterError(f"{path} belongs to another user; set GATEWAY_CLUSTER_STATE to a folder of yours")
    return path


@dataclass(frozen=True)
class ClusterPaths:
    """The paths of one cluster's files."""

    root: Path

    @classmethod
    def of(cls, name: str) -> "ClusterPaths":
        """The paths of the cluster with this name; ClusterError if it is invalid in host names or socket paths."""
        if not _NAME.fullmatch(name):
            raise ClusterError(f"a cluster name is 1-20 characters of a-z, 0-9 and -, not {name!r}")
        return cls(state_root() / name)

    @property
    def state(self) -> Path:
        """JSON file with the cluster's slot and tokens."""
        return self.root / "state.json"

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig file of the cluster-admin user."""
        return self.root / "kubeconfig"

    @property
    def pids(self) -> Path:
        """Folder with one pid file for each running program."""
        return self.root / "pids"

    @property
    def logs(self) -> Path:
        """Folder with the logs of all programs."""
        return self.root / "logs"

    @property
    def pki(self) -> Path:
        """Keys, certificates and the token file."""
        return self.root / "pki"

    @property
    def etcd(self) -> Path:
        """Folder with etcd's data, deleted at each start."""
        return self.root / "etcd"

    @property
    def containerd(self) -> Path:
        """Folder with images and snapshots, kept between starts so that they need no new import."""
        return self.root / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """Path of the unix socket of containerd."""
        return self.root / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        """The kubelet's root folder: volumes of running pods."""
        return self.root / "kubelet"

    @property
    def volumes(self) -> Path:
        """The folders behind the persistent volumes."""
        return self.root / "volumes"
