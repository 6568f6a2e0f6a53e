"""The interface of a running cluster for tests and the demo: commands, addresses, faults and diagnostics."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import binaries, diagnostics
from tests.cluster.audit import AuditedRequest, read_requests
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
    """A handle of a running cluster. Its lifetime is independent of that of the cluster."""

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
        """URL of the API server, with scheme and port."""
        return self.state.server

    @property
    def has_node(self) -> bool:
        """Whether the cluster has a node, so that pods can run."""
        return self.state.node

    @property
    def node_name(self) -> str:
        """The name of the node."""
        return node_name(self.name)

    @property
    def node_address(self) -> str:
        """Address of the node. This machine has routes to the node, to pods and to services."""
        self._needs_node()
        return self.state.addresses.node

    @property
    def environment(self) -> dict[str, str]:
        """Environment for programs that use this cluster, with KUBECONFIG, and kubectl and helm on the PATH."""
        folders = [str(path.parent) for name, path in self.programs.items() if name in ("kubectl", "helm")]
        path = os.pathsep.join([*dict.fromkeys(folders), os.environ.get("PATH", "")])
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    @cached_property
    def rest(self) -> "Rest":
        """Client of the API server as cluster-admin, for frequent requests such as polling."""
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
        """A bearer token of a service account, to send requests with its permissions only."""
        return self.kubectl("create", "token", service_account, "-n", namespace, "--duration", duration).strip()

    def requests_by(self, user_or_agent: str) -> Iterator[AuditedRequest]:
        """The requests in the audit log whose user or user agent begins with this text, oldest first."""
        for one in read_requests(self.paths, having=user_or_agent):
            if one.user.startswith(user_or_agent) or one.agent.startswith(user_or_agent):
                yield one

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the API server is ready."""
        self._control_plane().wait_ready(timeout)

    def is_healthy(self) -> bool:
        """Whether all programs are running and the API server answers."""
        if not self._control_plane().is_healthy():
            return False
        return not self.has_node or self._node().is_healthy()

    def restart_api_server(self) -> None:
        """Kill the API server and restart it at the same address. Watches end, data is kept."""
        with self.api_server_down():
            pass

    def forget_history(self) -> None:
        """Compact etcd and restart the API server: a watch from an older resourceVersion gets 410 Gone."""
        with self.api_server_down():
            self._control_plane().compact_etcd()

    @contextmanager
    def api_server_down(self) -> Iterator[None]:
        """Stop the API server during the block, then start it and wait until it is ready."""
        control_plane = self._control_plane()
        control_plane.stop_api_server()
        try:
            yield
        finally:
            control_plane.start_api_server()
            control_plane.wait_ready()

    @contextmanager
    def policies_off(self) -> Iterator[None]:
        """Enforce no NetworkPolicies during the block, as with a network plugin that does not support them."""
        self._needs_node()
        node = self._node()
        node.stop_policy_engine()
        try:
            yield
        finally:
            node.start_policy_engine()

    def add_volume(self, name: str, size: str = "1Gi", *, tmpfs: bool = False) -> "Volume":
        """Create a persistent volume with its own storage class. Only on a tmpfs is its size enforced."""
        from tests.cluster.volumes import add_volume

        self._needs_node()
        return add_volume(self, name, size, tmpfs=tmpfs)

    def load_image(self, archive: Path, tag: str) -> None:
        """Import an image from an OCI archive into the node's container runtime."""
        self._needs_node()
        self._node().import_image(archive, tag)

    def tag_image(self, tag: str, name: str) -> None:
        """Let pods use a loaded image by a short name without a registry, as after `kind load docker-image`."""
        self._needs_node()
        self._node().tag_image(tag, f"docker.io/library/{name}")

    def dump(self, namespace: str | None = None) -> str:
        """Diagnostics after a failed test: events, pods, logs and backup objects of one namespace or all."""
        return diagnostics.dump(self, namespace)

    def control_plane_logs(self, lines: int = 40) -> str:
        """The last lines of the logs of all programs of the cluster."""
        names = self._processes.names()
        return "\n".join(f"--- {name}\n{self._processes.log_tail(name, lines)}" for name in names)

    def _control_plane(self) -> ControlPlane:
        return ControlPlane(self.state, self.programs, self._node().entering if self.has_node else ())

    def _node(self) -> "Node":
        from tests.cluster.node import Node

        return Node(self.state, self.programs)

    def _needs_node(self) -> None:
        if not self.has_node:
            raise ClusterError(f"the cluster {self.name} has only a control plane and no node")


def programs_of(node: bool) -> dict[str, Path]:
    """Paths of the existing programs of a cluster with or without a node; builds none."""
    return binaries.find(binaries.NODE_PROGRAMS if node else binaries.CONTROL_PLANE_PROGRAMS)
