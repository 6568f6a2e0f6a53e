"""Persistent volumes that a test creates itself, mainly small ones that fill up or become read-only."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.output import run
from tests.cluster.paths import ClusterError
from tests.cluster.provisioner import local_volume

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


@dataclass(frozen=True)
class Volume:
    """A persistent volume with its own storage class, which has the name of the volume."""

    cluster: "Cluster"
    name: str
    path: Path
    is_tmpfs: bool

    @property
    def storage_class(self) -> str:
        """Storage class for the claim; only this volume has it."""
        return self.name

    def resize(self, size: str) -> None:
        """Change the size of the tmpfs, also while pods use it."""
        self._remount(f"size={_tmpfs_size(size)}")

    def set_read_only(self, read_only: bool) -> None:
        """Mount the tmpfs read-only or writable. No file may be open for writing."""
        self._remount("ro" if read_only else "rw")

    def release(self) -> None:
        """Make the volume with its data available to a new claim, after its claim was deleted."""
        patch = json.dumps({"spec": {"claimRef": None}})
        self.cluster.kubectl("patch", "persistentvolume", self.name, "--type=merge", "-p", patch)

    def remove(self) -> None:
        """Delete the volume and its data; no pod may still use it."""
        self.cluster.kubectl("delete", "persistentvolume", self.name, "--ignore-not-found", "--wait=false")
        if self.is_tmpfs:
            run(["umount", "--lazy", str(self.path)])
        shutil.rmtree(self.path)

    def _remount(self, option: str) -> None:
        if not self.is_tmpfs:
            raise ClusterError(f"the volume {self.name} is a plain folder: only one on a tmpfs can be remounted")
        run(["mount", "-o", f"remount,{option}", str(self.path)])


def add_volume(cluster: "Cluster", name: str, size: str, *, tmpfs: bool) -> Volume:
    """Create a volume; see `Cluster.add_volume`."""
    path = cluster.paths.volumes / name
    path.mkdir(mode=0o755, parents=True)
    if tmpfs:
        run(["mount", "-t", "tmpfs", "-o", f"size={_tmpfs_size(size)},mode=0755", "tmpfs", str(path)])
    # Retain: the data is kept for the test and for the next claim.
    manifest = local_volume(cluster.state, name, size, storageClassName=name, persistentVolumeReclaimPolicy="Retain")
    cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    return Volume(cluster, name, path, tmpfs)


def _tmpfs_size(size: str) -> str:
    """A Kubernetes quantity in the notation of mount, for example 16Mi as 16m."""
    if not size.endswith(("Ki", "Mi", "Gi")):
        raise ClusterError(f"the size must be a number with Ki, Mi or Gi, not {size!r}")
    return size[:-1].lower()
