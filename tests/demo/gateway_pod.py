"""Access to an installed gateway with kubectl: commands in its pod, and its own API through a port-forward."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.demo.gateway_api import GatewayApi, Project, populate
from tests.demo.kube import Kube
from tests.demo.mcp_client import Identity

CONFIG_FILE = "/app/.enkrypt/docker/enkrypt_mcp_config.json"
BACKUP_DIRECTORY = "/backups"
MANAGEMENT_PORT = 8003


class GatewayPod:
    """A gateway that the chart installed with this name and with the management API enabled."""

    def __init__(self, kube: Kube, namespace: str, workload: str) -> None:
        self.kube = kube
        self.namespace = namespace
        self.workload = workload

    def exec_arguments(self, container: str, *command: str) -> list[str]:
        """Arguments of kubectl that run a command in a container of the pod."""
        return ["-n", self.namespace, "exec", f"deployment/{self.workload}", "-c", container, "--", *command]

    def populate(self, projects: Sequence[Project]) -> list[Identity]:
        """Create projects, users and keys; returns the identities of the members."""
        with self.management_api() as api:
            return populate(api, self._join, projects)

    def truncate(self, show: bool = False) -> None:
        """Truncate the config file to half of its size."""
        size = int(self.kube.kubectl(*self.exec_arguments("gateway", "stat", "-c", "%s", CONFIG_FILE)))
        command = self.exec_arguments("gateway", "truncate", f"--size={size // 2}", CONFIG_FILE)
        if show:
            self.kube.show(*command)
        else:
            self.kube.kubectl(*command)

    @contextmanager
    def management_api(self) -> Iterator[GatewayApi]:
        """Client of the gateway's own API, with the admin key from its config."""
        config = json.loads(self.kube.kubectl(*self.exec_arguments("gateway", "cat", CONFIG_FILE)))
        target = f"deployment/{self.workload}"
        with (
            self.kube.port_forward(self.namespace, target, MANAGEMENT_PORT) as forward,
            GatewayApi(f"http://127.0.0.1:{forward.port}", config["admin_apikey"]) as api,
        ):
            yield api

    def _join(self, project: str, email: str) -> None:
        """Add a member with the gateway's command line in the pod, because its API cannot (500 in 2.2.4)."""
        command = ["python", "-m", "secure_mcp_gateway.cli", "project", "add-user", "--project-name", project]
        self.kube.kubectl(*self.exec_arguments("gateway", *command, "--email", email))
