"""A running cluster as tests and the demo see it: commands, addresses, faults and what to look at on a failure."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import binaries, diagnostics
from tests.cluster.control_plane import ControlPlane, node_name
from tests.cluster.output import run
from tests.cluster.paths import ClusterError, ClusterPaths
from tests.cluster.processes import Processes
from tests.cluster.slots import State

if TYPE_CHECKING:
    from tests.cluster.node import Node
    from tests.cluster.rest import Rest
    from tests.cluster.volumes import Volume


class Cluster:
    """A handle on a running cluster. Holding it keeps nothing alive; losing it stops nothing."""

    def __init__(self, state: State, programs: dict[str, Path]) -> None:
        self.state = state
        self.paths = ClusterPaths.of(state.name)
        self.programs = programs
        self._processes = Processes(self.paths)

    @property
    def name(self) -> str:
        """The cluster's name, which is also the name of its kubeconfig context."""
        return self.state.name

    @property
    def kubeconfig(self) -> Path:
        """The path of a kubeconfig for a cluster-admin."""
        return self.paths.kubeconfig

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self.state.server

    @property
    def has_node(self) -> bool:
        """Whether pods can run."""
        return self.state.node

    @property
    def node_name(self) -> str:
        """The name of the node."""
        return node_name(self.name)

    @property
    def node_address(self) -> str:
        """The node's address; the machine reaches it, pods and services directly."""
        self._needs_node()
        return self.state.addresses.node

    @property
    def environment(self) -> dict[str, str]:
        """The environment for programs that shall talk to this cluster; kubectl and helm are on its PATH."""
        folders = [str(path.parent) for name, path in self.programs.items() if name in ("kubectl", "helm")]
        path = os.pathsep.join([*dict.fromkeys(folders), os.environ.get("PATH", "")])
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    @cached_property
    def rest(self) -> "Rest":
        """Requests to the API server as cluster-admin, for what a test asks again and again."""
        from tests.cluster.rest import Rest

        return Rest(self.server, self.paths.pki / "ca.crt", self.state.tokens["admin"])

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - the name that subprocess.run gave it
        check: bool = True,
        timeout: float = 120,
    ) -> str:
        """Run kubectl as cluster-admin and return what it wrote to standard output."""
        command = [str(self.programs["kubectl"]), *arguments]
        return run(command, input=input, check=check, timeout=timeout, env=self.environment).stdout

    def helm(self, *arguments: str, check: bool = True, timeout: float = 300) -> str:
        """Run helm as cluster-admin and return what it wrote to standard output."""
        command = [str(self.programs["helm"]), *arguments]
        return run(command, check=check, timeout=timeout, env=self.environment).stdout

    def token_for(self, service_account: str, namespace: str = "default", duration: str = "1h") -> str:
        """A bearer token of a service account, to act with its rights and no others."""
        return self.kubectl("create", "token", service_account, "-n", namespace, "--duration", duration).strip()

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the API server is ready."""
        self._control_plane().wait_ready(timeout)

    def is_healthy(self) -> bool:
        """Whether every program lives and the API server answers."""
        if not self._control_plane().is_healthy():
            return False
        return not self.has_node or self._node().is_healthy()

    def restart_api_server(self) -> None:
        """Kill the API server and start it again at the same address; watches break, data stays."""
        with self.api_server_down():
            pass

    def forget_history(self) -> None:
        """Compact etcd and restart the API server: a watch that goes on from before gets 410 Gone."""
        with self.api_server_down():
            self._control_plane().compact_etcd()

    @contextmanager
    def api_server_down(self) -> Iterator[None]:
        """Have no API server for the length of a block; afterwards it is there again, and ready."""
        control_plane = self._control_plane()
        control_plane.stop_api_server()
        try:
            yield
        finally:
            control_plane.start_api_server()
            control_plane.wait_ready()

    def add_volume(self, name: str, size: str = "1Gi", *, tmpfs: bool = False) -> "Volume":
        """Make a persistent volume of its own storage class; on a tmpfs it really ends at its size."""
        from tests.cluster.volumes import add_volume

        self._needs_node()
        return add_volume(self, name, size, tmpfs=tmpfs)

    def load_image(self, archive: Path, tag: str) -> None:
        """Give the node an image out of an OCI archive."""
        self._needs_node()
        self._node().import_image(archive, tag)

    def dump(self, namespace: str | None = None) -> str:
        """All that one wants to read when a test has failed: events, pods, logs, our objects."""
        return diagnostics.dump(self, namespace)

    def control_plane_logs(self, lines: int = 40) -> str:
        """The last lines of every program of the cluster."""
        names = self._processes.names()
        return "\n".join(f"--- {name}\n{self._processes.log_tail(name, lines)}" for name in names)

    def _control_plane(self) -> ControlPlane:
        return ControlPlane(self.state, self.programs, self._node().entering if self.has_node else ())

    def _node(self) -> "Node":
        from tests.cluster.node import Node

        return Node(self.state, self.programs)

    def _needs_node(self) -> None:
        if not self.has_node:
            raise ClusterError(f"the cluster {self.name} is a control plane alone: it has no node")


def programs_of(node: bool) -> dict[str, Path]:
    """The programs that such a cluster is made of, none of them built for it."""
    return binaries.find(binaries.NODE_PROGRAMS if node else binaries.CONTROL_PLANE_PROGRAMS)
