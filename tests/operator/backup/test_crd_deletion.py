"""Deletion of the GatewayBackup CRD deletes all objects but no file, and does not hang. Also: Role-only mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.rbac import create_role_only_account, grant_gateway_role, kubeconfig_for_account
from tests.operator.support.real_gateway import real_gateway
from tests.operator.support.workloads import Kube, custom_resource, wait_for

pytestmark = pytest.mark.cluster
CRD = "gatewaybackups.mcpgateway.dev"
ROOT = Path(__file__).resolve().parents[3]


def test_role_only_mode_permits_retention_and_deletion_with_file(kube: Kube, tmp_path: Path) -> None:
    account = create_role_only_account(kube)
    grant_gateway_role(kube, account)
    kubeconfig = kubeconfig_for_account(kube, account, tmp_path)
    with (
        real_gateway(kube, tmp_path) as gw,
        OperatorProcess(
            kube.cluster,
            tmp_path / "operator.log",
            kube.namespace,
            kubeconfig=kubeconfig,
            flags=["--pass-seconds=0.5"],
        ),
    ):
        kube.apply_backup("kept")
        kube.apply_backup("brief")
        for name in ("b1", "b2"):
            kube.complete_backup(name, group="byhand", ttl="1s")
        kube.complete_backup("b3", group="byhand")
        wait_for("their ttl has deleted two", lambda: len(kube.items("gwb")) == 3)
        wait_for("their files are deleted", lambda: len(gw.backup_files()) == 3)
        kube.delete_with_file("brief", "--timeout=60s")
        kube.kubectl("delete", "gwb/kept", "--timeout=60s")
        assert sorted(file.name.split("-")[1] for file in gw.backup_files()) == ["b3", "kept"]


def test_crd_deletion_keeps_files_and_import_recreates_the_objects(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        try:
            with OperatorProcess(kube.cluster, tmp_path / "operator.log", kube.namespace) as operator:
                for name in ("one", "two"):
                    kube.complete_backup(name)
                kube.cluster.kubectl("delete", "crd", CRD, "--timeout=60s")
                assert len(gw.backup_files()) == 2
                operator.kill()
        finally:
            kube.cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
            kube.cluster.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=60s")
        with OperatorProcess(kube.cluster, tmp_path / "operator.log", kube.namespace):
            kube.apply(custom_resource("GatewayBackupImport", "back", {"gatewayRef": {"name": "gw"}}))
            assert kube.wait_phase("gwbi", "back", "Completed", "Failed")["adopted"] == 2
