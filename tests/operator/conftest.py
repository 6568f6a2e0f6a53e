"""What the operator's tests on a real API server share: definitions applied once, one operator a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import ScriptedAdmin
from tests.operator.support.workloads import Gateway, Kube, loopback

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "gateway-backup-operator:test"
"""What the operator takes for its own image. Nothing runs it here."""


@pytest.fixture(scope="session")
def defined(control_plane: Cluster) -> Cluster:
    """A control plane that knows our definitions."""
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    for path in (ROOT / "crds").glob("*.yaml"):
        group, _, plural = path.stem.partition("_")
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=30s")
    return control_plane


@pytest.fixture(scope="module")
def operator(defined: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator, watching every namespace."""
    environment = {"GATEWAY_OPERATOR_IMAGE": IMAGE}
    with OperatorProcess(defined, tmp_path_factory.mktemp("operator") / "log", environment=environment) as process:
        yield process


@pytest.fixture
def kube(defined: Cluster, namespace: str) -> Kube:
    """A namespace of one's own."""
    return Kube(defined, namespace)


@pytest.fixture
def admin() -> Iterator[ScriptedAdmin]:
    """An admin API that does what the test says."""
    with ScriptedAdmin(loopback()) as server:
        yield server


@pytest.fixture
def gateway(kube: Kube, admin: ScriptedAdmin) -> Gateway:
    """A gateway whose pod is ready and has that admin API."""
    return Gateway(kube, admin.host, admin.key).create()
