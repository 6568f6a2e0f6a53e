"""The definition of GatewayBackup is deleted, and every object with it: no file goes, and nothing hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operator.operator_process import OperatorProcess
from tests.operator.real_gateway import real_gateway
from tests.operator.workloads import Kube, resource

pytestmark = pytest.mark.cluster
CRD = "gatewaybackups.mcpgateway.dev"
ROOT = Path(__file__).resolve().parents[2]


def test_no_file_goes_with_the_definition_and_all_come_back(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        try:
            with OperatorProcess(kube.cluster, tmp_path / "operator.log") as operator:
                for name in ("one", "two"):
                    kube.backup(name, deletionPolicy="Delete")
                    kube.wait_phase("gwb", name, "Completed")
                kube.cluster.kubectl("delete", "crd", CRD, "--timeout=60s")
                assert len(gw.files()) == 2
                operator.kill()
        finally:
            kube.cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
            kube.cluster.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
        with OperatorProcess(kube.cluster, tmp_path / "operator.log", kube.namespace):
            kube.apply(resource("GatewayBackupImport", "back", {"gatewayRef": {"name": "gw"}}))
            assert kube.wait_phase("gwbi", "back", "Completed", "Failed", timeout=60)["adopted"] == 2
