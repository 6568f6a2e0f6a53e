"""The condition BackupVolumeRetained on a real API server, and the commands in its messages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.operator.conftest import IMAGE
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.rbac import (
    apply_backup_account,
    create_role_only_account,
    grant_gateway_role,
    kubeconfig_for_account,
)
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.volumes import bound_backup_claim
from tests.operator.support.workloads import GatewayDeployment, Kube, wait_for

pytestmark = pytest.mark.cluster
CONDITION = "BackupVolumeRetained"


def run(kube: Kube, commands: str) -> None:
    """Run the commands of a message in a shell, twice: a person may repeat them."""
    for _ in range(2):
        subprocess.run(["bash", "-euo", "pipefail", "-c", commands], check=True, env=kube.cluster.environment)


def test_messages_lead_a_role_only_operator_to_a_retained_volume(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, tmp_path: Path
) -> None:
    account = create_role_only_account(kube)
    grant_gateway_role(kube, account)
    apply_backup_account(kube)
    operator = OperatorProcess(
        kube.cluster, tmp_path / "log", kube.namespace, kubeconfig=kubeconfig_for_account(kube, account, tmp_path),
        environment={"GATEWAY_OPERATOR_IMAGE": IMAGE}, flags=["--pass-seconds=0.5"],
    )  # fmt: skip
    with operator, bound_backup_claim(kube, "Delete") as volume:
        kube.apply_schedule("nightly")
        condition = kube.wait_condition("gwbs", "nightly", CONDITION, "NotAuthorized")
        assert condition["status"] == "Unknown"
        commands = condition["message"].partition("by hand: ")[2]
        role = f"gateway-backup-volumes:{kube.namespace}:{account}"
        try:
            run(kube, commands.replace("NAMESPACE:SERVICEACCOUNT", f"{kube.namespace}:{account}"))
            # A new backup has the volume listed at once; otherwise it is listed every ten minutes.
            kube.complete_backup("after-the-grant")
            condition = kube.wait_condition("gwbs", "nightly", CONDITION, "BackupVolumeDeletedWithClaim")
            assert condition["status"] == "False"
            kube.wait_event("nightly", "Warning", "BackupVolumeDeletedWithClaim")
            run(kube, condition["message"].partition("To keep them: ")[2])
            kube.complete_backup("after-the-patch")
            condition = kube.wait_condition("gwbs", "nightly", CONDITION, "BackupVolumeRetained")
            assert condition["status"] == "True"
            assert volume in condition["message"]
            series = f'gateway_backup_volume_retained{{gateway="gw",namespace="{kube.namespace}"}} 1.0'
            wait_for("the metric", lambda: series in operator.metrics())
        finally:
            # Operators of later tests watch all namespaces, and would make requests for it without a permission.
            kube.kubectl("delete", "gwbs", "nightly")
            for kind in ("clusterrolebinding", "clusterrole"):
                kube.kubectl("delete", kind, role)
