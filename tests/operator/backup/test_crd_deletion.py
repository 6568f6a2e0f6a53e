"""The definition of GatewayBackup is deleted, and every object with it: no file goes, and nothing hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operator.charts.test_rbac import grant, kubeconfig_of, role_only
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import real_gateway
from tests.operator.support.workloads import Kube, resource, until

pytestmark = pytest.mark.cluster
CRD = "gatewaybackups.mcpgateway.dev"
ROOT = Path(__file__).resolve().parents[3]


def test_role_only_files_are_deleted_by_retention_and_by_a_person(kube: Kube, tmp_path: Path) -> None:
    account = role_only(kube)
    grant(kube, account)
    config = kubeconfig_of(kube, account, tmp_path)
    with (
        real_gateway(kube, tmp_path) as gw,
        OperatorProcess(
            kube.cluster, tmp_path / "operator.log", kube.namespace, kubeconfig=config, flags=["--sweep-seconds=0.5"]
        ),
    ):
        kube.backup("kept")
        kube.backup("brief")
        for name in ("b1", "b2", "b3"):
            kube.backup(name, group="byhand", retention={"keepLast": 2})
            kube.wait_phase("gwb", name, "Completed")
        until("retention has done its work", lambda: kube.get("gwb", "b1") is None, timeout=60)
        assert len(gw.files()) == 4
        kube.delete_with_file("brief", "--timeout=60s")
        kube.run("delete", "gwb/kept", "--timeout=60s")
        assert sorted(file.name.split("-")[1] for file in gw.files()) == ["b2", "b3", "kept"]


def test_no_file_goes_with_the_definition_and_all_come_back(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        try:
            with OperatorProcess(kube.cluster, tmp_path / "operator.log", kube.namespace) as operator:
                for name in ("one", "two"):
                    kube.backup(name)
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
