"""Taking a node down, whatever state it is in: also one whose run was killed in the middle of anything."""

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
    """Stop all that belongs to the node and remove its traces; the images stay, as a cache."""
    paths, state = ClusterPaths.of(name), State.load(ClusterPaths.of(name))
    processes = Processes(paths)
    # The kubelet first: it would start again what is stopped below.
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
        # Nobody knows what containerd's database says about containers that were never removed in order.
        shutil.rmtree(paths.containerd, ignore_errors=True)
    _remove_notes_elsewhere(name, paths)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    ours = [mount for mount in mounts if mount.startswith(f"{folder}/")]
    for mount in reversed(ours):
        if subprocess.run(["umount", mount], capture_output=True, check=False).returncode != 0:
            # It is busy: lazily then, gone from here at once and wholly with its last user.
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


def _remove_notes_elsewhere(name: str, paths: ClusterPaths) -> None:
    """Kubelet and CNI write a few things to fixed places, whatever they are told."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and os.readlink(link).startswith(f"{paths.root}/"):
            link.unlink(missing_ok=True)
    for note in Path("/var/lib/cni/results").glob(f"{network.namespace_of(name)}-*"):
        note.unlink(missing_ok=True)
