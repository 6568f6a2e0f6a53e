"""Runs containerd with its own folders and socket, separate from a containerd of the machine."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.cluster import network
from tests.cluster.output import run, wait_until
from tests.cluster.paths import ClusterError, ClusterPaths
from tests.cluster.processes import Processes
from tests.cluster.slots import State

PAUSE_TAG = "localhost/gateway-test-pause:1"


class Runtime:
    """The container runtime of one node."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._paths = ClusterPaths.of(state.name)
        self._processes = Processes(self._paths)

    def start(self) -> None:
        """Start containerd and wait until it answers."""
        paths = self._paths
        for folder in (self._run, self._config, self._config / "cni", paths.containerd):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        (self._config / "containerd.toml").write_text(self._containerd_config())
        (self._config / "cni" / "10-bridge.conflist").write_text(self._cni_config())
        command = ["containerd", "--config", str(self._config / "containerd.toml")]
        self._processes.spawn("containerd", [*network.entering(self._state.name), *command])

        def answers() -> bool:
            self._processes.must_live(["containerd"])
            return self._ctr("version", check=False).returncode == 0

        wait_until(answers, "containerd to answer", timeout=60)

    def import_image(self, archive: Path, tag: str) -> bool:
        """Import an image from an OCI archive; False if the same content was imported before."""
        note = self._paths.containerd / "imported" / re.sub(r"[^a-zA-Z0-9.-]", "_", tag)
        content = f"{archive.name} {archive.stat().st_size} {archive.stat().st_mtime_ns}"
        if note.exists() and note.read_text() == content and tag in self.images():
            return False
        self._ctr("images", "import", str(archive), timeout=300)
        if tag not in self.images():
            raise ClusterError(f"{archive} contains no image {tag}")
        note.parent.mkdir(exist_ok=True)
        note.write_text(content)
        return True

    def tag_image(self, tag: str, reference: str) -> None:
        """Give an imported image another full reference, registry included."""
        self._ctr("images", "tag", "--force", tag, reference)

    def images(self) -> list[str]:
        """The images that pods can use."""
        return self._ctr("images", "ls", "-q").stdout.split()

    def remove_containers(self) -> bool:
        """Remove all containers, for a clean next start; False if containerd does not run or fails."""
        if self._processes.pid("containerd") is None:
            return False
        try:
            if tasks := self._ctr("tasks", "ls", "-q", timeout=10).stdout.split():
                self._ctr("tasks", "rm", "--force", *tasks, check=False, timeout=20)
            if containers := self._ctr("containers", "ls", "-q", timeout=10).stdout.split():
                self._ctr("containers", "rm", *containers, timeout=20)
        except ClusterError:
            return False
        return True

    def forget_containers(self) -> None:
        """Delete containerd's CRI records of containers; containerd must be stopped."""
        for folder in ("sandboxes", "containers"):
            shutil.rmtree(self._paths.containerd / "io.containerd.grpc.v1.cri" / folder, ignore_errors=True)

    @property
    def _run(self) -> Path:
        return self._paths.root / "run"

    @property
    def _config(self) -> Path:
        return self._paths.root / "config"

    def _ctr(self, *arguments: str, check: bool = True, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        command = ["ctr", "--address", str(self._paths.containerd_socket), "--namespace", "k8s.io", *arguments]
        return run(command, check=check, timeout=timeout)

    def _containerd_config(self) -> str:
        # restrict_oom_score_adj: without CAP_SYS_RESOURCE, as in some containers, runc fails when it lowers the
        # sandbox's OOM score.
        return f"""
version = 2
root = "{self._paths.containerd}"
state = "{self._run}"
[grpc]
  address = "{self._paths.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self._paths.containerd}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_TAG}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  enable_unprivileged_ports = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{self._snapshotter()}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self._config}/cni"
"""

    def _snapshotter(self) -> str:
        """`native`, which copies files, if the disk itself is an overlay, because overlays do not nest."""
        kind = run(["stat", "-f", "-c", "%T", str(self._paths.root)]).stdout.strip()
        return "native" if kind == "overlayfs" else "overlayfs"

    def _cni_config(self) -> str:
        addresses = self._state.addresses
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self._paths.root / "run" / "addresses"),
                "ranges": [[{"subnet": addresses.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        name = network.namespace_of(self._state.name)
        return json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [bridge, portmap]})
