"""Shared fixtures of the operator's tests on a real API server.

The CRDs are applied once a session. One operator process serves all tests of a module; each test has its own namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.operator.support.audit import undocumented_requests
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube, random_loopback_address

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "gateway-backup-operator:test"
"""The image that the operator puts into its CronJobs. No container runs here."""


@pytest.fixture(scope="session")
def cluster_with_crds(control_plane: Cluster) -> Iterator[Cluster]:
    """A control plane on which the CRDs are established.

    At the end of the session, no request of an operator may have needed a permission that docs/permissions.md lacks.
    Most tests run the operator as cluster-admin, so nothing else would notice such a request.
    """
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    for path in (ROOT / "crds").glob("*.yaml"):
        group, _, plural = path.stem.partition("_")
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=60s")
    yield control_plane
    assert undocumented_requests(control_plane) == {}


@pytest.fixture(scope="module")
def operator(cluster_with_crds: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator of this module. It watches all namespaces."""
    environment = {"GATEWAY_OPERATOR_IMAGE": IMAGE}
    with OperatorProcess(
        cluster_with_crds, tmp_path_factory.mktemp("operator") / "log", environment=environment
    ) as process:
        yield process


@pytest.fixture
def kube(cluster_with_crds: Cluster, namespace: str) -> Kube:
    """A new namespace for this test."""
    return Kube(cluster_with_crds, namespace)


@pytest.fixture
def namespace_operator(kube: Kube, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator for this test alone. It watches only the test's namespace."""
    with OperatorProcess(kube.cluster, tmp_path / "operator.log", kube.namespace) as process:
        yield process


@pytest.fixture
def kubeconfig_env(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBECONFIG for operator code that runs inside the test process."""
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))


@pytest.fixture
def admin() -> Iterator[ScriptedAdminApi]:
    """An admin API whose faults the test controls."""
    with ScriptedAdminApi(random_loopback_address()) as server:
        yield server


@pytest.fixture
def gateway(kube: Kube, admin: ScriptedAdminApi) -> GatewayDeployment:
    """A gateway whose pod is ready and has the address of `admin`."""
    return GatewayDeployment(kube, admin.host, admin.key).create()


@pytest.fixture
def gw(kube: Kube, tmp_path: Path) -> Iterator[RealGateway]:
    """A gateway with the real admin API. It reloads its config by itself. Its config has two users."""
    with real_gateway(kube, tmp_path) as gateway:
        yield gateway
