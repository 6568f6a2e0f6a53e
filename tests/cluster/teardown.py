"""Removes a node in any state, including one whose run was killed."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster import cgroups, network
from tests.cluster.paths import ClusterPaths
from tests.cluster.processes import Processes
from tests.cluster.runtime import Runtime
from tests.cluster.slots import State


def tear_down_node(name: str) -> None:
    """Stop all programs of the node and delete its data. The images are kept as a cache."""
    paths, state = ClusterPaths.of(name), State.load(ClusterPaths.of(name))
    processes = Processes(paths)
    # The kubelet first, because it restarts containers that are stopped below.
    processes.stop_all(["kubelet", "kube-proxy", "coredns", "provisioner"], patience=3)
    cgroups.kill_all(name)
    was_taken_down = not (paths.root / "run").exists()
    clean = was_taken_down
    if state is not None:
        runtime = Runtime(state)
        clean = runtime.remove_containers() or was_taken_down
        processes.stop("containerd", patience=5)
        runtime.forget_containers()
    processes.stop_all(processes.names(), patience=2)
    processes.kill_strays()
    _unmount_below(paths.root)
    network.remove(name, state)
    cgroups.remove(name)
    for folder in (paths.kubelet, paths.volumes, paths.root / "run", paths.root / "config"):
        shutil.rmtree(folder, ignore_errors=True)
    if not clean:
        # After an unclean stop, containerd's database may contain containers that no longer exist: delete it.
        shutil.rmtree(paths.containerd, ignore_errors=True)
    _remove_notes_elsewhere(name, paths)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    own_mounts = [mount for mount in mounts if mount.startswith(f"{folder}/")]
    for mount in reversed(own_mounts):
        if subprocess.run(["umount", mount], capture_output=True, check=False).returncode != 0:
            # The mount is busy: a lazy unmount detaches it now, and the kernel releases it after its last use.
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


def _remove_notes_elsewhere(name: str, paths: ClusterPaths) -> None:
    """Delete the files that kubelet and CNI write to fixed paths outside the cluster's folder."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and os.readlink(link).startswith(f"{paths.root}/"):
            link.unlink(missing_ok=True)
    for note in Path("/var/lib/cni/results").glob(f"{network.namespace_of(name)}-*"):
        note.unlink(missing_ok=True)
