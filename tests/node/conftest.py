"""One operator and one gateway for the whole session, built from the Dockerfiles and installed with the charts.

All operators and gateways of these tests are installed with their NetworkPolicies, and the node enforces them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import Cluster, ClusterError, images
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import CONFIG_FILE, GatewayPod
from tests.demo.kube import Kube
from tests.demo.mcp_client import Identity
from tests.demo.terminal_report import Report
from tests.operator.support.namespaces import create_restricted_namespace

ROOT = Path(__file__).resolve().parents[2]
ADMIN_TAG = "localhost/gateway-admin-api:0.1.0"
OPERATOR_TAG = "localhost/gateway-backup-operator:0.1.0"


@dataclass(frozen=True)
class InstalledGateway:
    """Names of the installed operator and gateway. A test that uninstalls one of them must install it again."""

    cluster: Cluster
    operator_namespace: str = "gateway-backup-operator"
    operator: str = "gateway-backup-operator"
    namespace: str = "team-a"
    name: str = "my-gateway"

    def install_operator(self, *values: str, release: str | None = None, namespace: str | None = None) -> None:
        """Install or upgrade an operator, and wait until it is ready."""
        own = [*_image("image", OPERATOR_TAG), *self._policies()]
        own += _json("networkPolicy.metricsFrom", [self._machine])
        self._helm(release or self.operator, "operator", namespace or self.operator_namespace, *own, *values)

    def install_gateway(self, *values: str, release: str | None = None, namespace: str | None = None) -> None:
        """Install or upgrade a gateway, and wait until it is ready."""
        own = [
            *_image("operator.image", OPERATOR_TAG),
            *_image("admin.image", ADMIN_TAG),
            *_image("gateway.image", images.GATEWAY_TAG),
            *self._policies(),
            *_json("metrics.allowedFrom", [self._machine]),
            *_json("networkPolicy.extraIngress", [{"from": [self._machine], "ports": [{"port": 8443}]}]),
        ]
        self._helm(release or self.name, "gateway", namespace or self.namespace, *own, *values)

    def _policies(self) -> list[str]:
        """The values of both charts for NetworkPolicies that allow only this API server."""
        api_server = _json("networkPolicy.apiServerAddresses", [f"{self.cluster.node_address}/32"])
        return ["--set", "networkPolicy.enabled=true", *api_server]

    @property
    def _machine(self) -> dict[str, Any]:
        """This machine as a peer of a NetworkPolicy. The tests connect from it."""
        return {"ipBlock": {"cidr": f"{self.cluster.state.addresses.host}/32"}}

    def kubectl(self, *arguments: str, namespace: str | None = None, **options: Any) -> str:
        """Run kubectl in the gateway's namespace, unless another one is given, and return its output."""
        return self.cluster.kubectl("-n", namespace or self.namespace, *arguments, **options)

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """The object. It is a ClusterError if it does not exist."""
        body = self.cluster.rest.get(kind, namespace or self.namespace, name)
        if body is None:
            raise ClusterError(f"there is no {kind} {name}")
        return body

    def pod(self, release: str | None = None, namespace: str | None = None) -> dict[str, Any]:
        """The gateway's only pod that is not being deleted."""
        selector = f"app.kubernetes.io/name=secure-mcp-gateway,app.kubernetes.io/instance={release or self.name}"
        pods = self.cluster.rest.items("pods", namespace or self.namespace, labels=selector)
        (pod,) = [item for item in pods if "deletionTimestamp" not in item["metadata"]]
        return dict(pod)

    def run(self, container: str, *command: str, release: str | None = None, namespace: str | None = None) -> str:
        """Run a command in a container of the gateway and return its output."""
        name = self.pod(release, namespace)["metadata"]["name"]
        return self.kubectl("exec", name, "-c", container, "--", *command, namespace=namespace)

    def _helm(self, release: str, chart: str, namespace: str, *values: str) -> None:
        arguments = ["--namespace", namespace, "--wait", "--timeout", "150s", *values]
        self.cluster.helm("upgrade", "--install", release, str(ROOT / "helm" / chart), *arguments, timeout=180)


@pytest.fixture(scope="session")
def built_images() -> tuple[str, ...]:
    """The tags of the three images, built from the project's Dockerfiles."""
    builds = [
        lambda: images.build(ROOT / "api" / "Dockerfile", ROOT, ADMIN_TAG),
        lambda: images.build(ROOT / "operator" / "Dockerfile", ROOT, OPERATOR_TAG),
        images.gateway_image,
    ]
    with ThreadPoolExecutor(len(builds)) as pool:
        return tuple(image.tag for image in pool.map(lambda build: build(), builds))


def load_with_short_names(cluster: Cluster, tags: Sequence[str]) -> None:
    """Load the images, under the names that the charts use by default as well."""
    for tag in tags:
        images.load(cluster, tag)
        cluster.tag_image(tag, tag.removeprefix("localhost/"))


@pytest.fixture(scope="session")
def installed_gateway(node_cluster: Cluster, built_images: tuple[str, ...]) -> InstalledGateway:
    """The operator and a gateway with all containers, in namespaces that enforce the restricted standard."""
    load_with_short_names(node_cluster, built_images)
    installed = InstalledGateway(node_cluster)
    for namespace in (installed.operator_namespace, installed.namespace):
        create_restricted_namespace(node_cluster, namespace)
    installed.install_operator()
    installed.install_gateway("--set", "managementApi.enabled=true")
    return installed


@dataclass(frozen=True)
class Population:
    """The users of the installed gateway with their keys, and the config that contains them."""

    identities: list[Identity]
    config: str

    def copy_to(self, pod: GatewayPod) -> None:
        """Replace the config of another gateway, which then has the same projects, users and keys."""
        script = f"umask 077; cat > {CONFIG_FILE}.new && mv {CONFIG_FILE}.new {CONFIG_FILE}"
        target = f"deployment/{pod.workload}"
        arguments = ["-n", pod.namespace, "exec", "-i", target, "-c", "gateway", "--", "sh", "-c", script]
        pod.kube.kubectl(*arguments, input=self.config)


@pytest.fixture(scope="session")
def population(installed_gateway: InstalledGateway) -> Population:
    """The projects, users and keys of the installed gateway. Its own API creates them, once for all tests."""
    pod = gateway_pod(installed_gateway.cluster, installed_gateway.namespace, installed_gateway.name)
    return Population(pod.populate(PROJECTS), installed_gateway.run("admin", "cat", CONFIG_FILE))


def gateway_pod(cluster: Cluster, namespace: str, name: str) -> GatewayPod:
    """The pod of a gateway, for commands that print no report."""
    return GatewayPod(Kube(Report(io.StringIO()), cluster.environment), namespace, name)


def _json(path: str, value: Any) -> list[str]:
    """The arguments that set a value of a chart to an object or a list."""
    return ["--set-json", f"{path}={json.dumps(value)}"]


def _image(path: str, tag: str) -> list[str]:
    repository, _, version = tag.rpartition(":")
    return ["--set", f"{path}.repository={repository}", "--set-string", f"{path}.tag={version}"]
