"""Where the test cluster keeps its things, so that no other module makes up a path.

Two places: a cache that may be thrown away at any time (programs, images), and one short state folder per
cluster. Short, because unix sockets live in it and the kernel allows them 107 bytes.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


class ClusterError(Exception):
    """What went wrong, in words for the person who runs the tests."""


def cache_dir() -> Path:
    """The folder for what is expensive to make and safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(base) / "gateway-backup-operator"
    path.mkdir(parents=True, exist_ok=True)
    return path


def state_root() -> Path:
    """The folder of all clusters of this user; on a disk rather than on a tmpfs, because images lie in it."""
    path = Path(os.environ.get("GATEWAY_CLUSTER_STATE") or f"/var/tmp/gateway-clusters-{os.getuid()}")
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise ClusterError(f"{path} belongs to another user; set GATEWAY_CLUSTER_STATE to a folder of yours")
    return path


@dataclass(frozen=True)
class ClusterPaths:
    """The files of one cluster."""

    root: Path

    @classmethod
    def of(cls, name: str) -> "ClusterPaths":
        """The paths of the cluster with this name, which must be fit for a host name and a socket path."""
        if not _NAME.fullmatch(name):
            raise ClusterError(f"a cluster name is 1-20 characters of a-z, 0-9 and -, not {name!r}")
        return cls(state_root() / name)

    @property
    def state(self) -> Path:
        """What the cluster is: its slot, tokens and addresses."""
        return self.root / "state.json"

    @property
    def kubeconfig(self) -> Path:
        """The cluster-admin's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def pids(self) -> Path:
        """One file for each program that runs."""
        return self.root / "pids"

    @property
    def logs(self) -> Path:
        """What the programs say."""
        return self.root / "logs"

    @property
    def pki(self) -> Path:
        """Keys, certificates and the token file."""
        return self.root / "pki"

    @property
    def etcd(self) -> Path:
        """The cluster's data; thrown away at every start."""
        return self.root / "etcd"

    @property
    def containerd(self) -> Path:
        """Images and snapshots; kept between starts, so that a warm start need not import images again."""
        return self.root / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.root / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        """The kubelet's root folder: volumes of running pods."""
        return self.root / "kubelet"

    @property
    def volumes(self) -> Path:
        """The folders behind the persistent volumes."""
        return self.root / "volumes"
