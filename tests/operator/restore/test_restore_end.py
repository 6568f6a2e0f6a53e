"""A restore ended from outside on the real admin API: by a deletion, by the commands, and with another admin key."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.api.support.admin_process import admin_key, gateway_config
from tests.operator.support.kubectl_gateway import KubectlGateway
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import QUICK_HEALTH_CHECK, Kube, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
SLOW = {"timeoutSeconds": 120, "consecutive": 20}
SHORT = {"timeoutSeconds": 5, "consecutive": 2}
FINALIZER = "mcpgateway.dev/restore"


def hold(kube: Kube, name: str, **spec: Any) -> dict[str, Any]:
    """A restore that stays in HealthCheck for about 20 s."""
    kube.apply_restore(name, backupName="good", healthCheck=SLOW, restart="Never", **spec)
    return kube.wait_phase("gwr", name, "HealthCheck")


def state(gw: RealGateway, status: dict[str, Any]) -> str:
    return str(gw.get_restore(status["requestID"])["data"]["state"])


def wait_no_finalizer(kube: Kube, name: str) -> None:
    # The operator removes the finalizer after it has written the last status.
    wait_for("no finalizer", lambda: "finalizers" not in kube.require("gwr", name)["metadata"])


def test_deleted_restore_is_rolled_back_while_others_wait(kube: Kube, backed_up: RealGateway) -> None:
    before = backed_up.config.read_bytes()
    status = hold(kube, "first")
    assert kube.require("gwr", "first")["metadata"]["finalizers"] == [FINALIZER]
    kube.apply_restore("second", backupName="good", healthCheck=QUICK_HEALTH_CHECK)
    kube.apply_backup("meanwhile")
    for kind, name in (("gwr", "second"), ("gwb", "meanwhile")):
        waiting = kube.wait_status(kind, name, lambda one: one.get("reason") == "RestoreInProgress")
        assert "GatewayRestore first" in waiting["message"]
    assert backed_up.config.read_bytes() != before
    kube.kubectl("delete", "gwr/first", "--timeout=60s")
    assert state(backed_up, status) == "rolled_back"
    # Both continue. The second restore replaced the config that the first one had put back.
    done = kube.wait_phase("gwr", "second", "Completed", "Failed")
    assert done["phase"] == "Completed", done
    assert kube.status("gwb", done["safetyBackup"]["backupName"])["counts"]["users"] == 5
    kube.wait_phase("gwb", "meanwhile", "Completed")
    wait_no_finalizer(kube, "second")


def test_commands_end_a_restore_in_each_open_state(kube: Kube, backed_up: RealGateway) -> None:
    cli = KubectlGateway.as_admin(kube)
    # Running: the commit does not wait for the rest of the health check.
    running = hold(kube, "running")
    assert "Pass --yes" in cli.run("restore", "commit", "running", code=2).stderr
    done = cli.run("restore", "commit", "running", "--yes", "--wait")
    assert done.stdout == "gatewayrestore.mcpgateway.dev/running committed\n"
    assert (state(backed_up, running), backed_up.count_users()) == ("committed", 2)
    assert "already" not in cli.run("restore", "commit", "running").stderr
    assert "safety backup running-safety-" in cli.run("restore", "rollback", "running", "--yes", code=1).stderr

    # Left open by onFailure: the previous config comes back byte for byte.
    backed_up.write_config(users=5)
    before = backed_up.config.read_bytes()
    backed_up.gateway.set_pod_ready(gateway=False)
    kube.apply_restore("left", backupName="good", healthCheck=SHORT, restart="Never", onFailure="Leave")
    left = kube.wait_phase("gwr", "left", "Failed")
    done = cli.run("restore", "rollback", "left", "--yes", "--wait")
    assert done.stdout == "gatewayrestore.mcpgateway.dev/left rolled back\n"
    assert (state(backed_up, left), backed_up.config.read_bytes()) == ("rolled_back", before)
    status = kube.status("gwr", "left")
    assert (status["phase"], status["reason"], status["end"]["action"]) == (
        "RolledBack",
        "RollbackRequested",
        "Rollback",
    )
    wait_no_finalizer(kube, "left")
    assert "has spec.end Rollback already" in cli.run("restore", "commit", "left", "--yes", code=1).stderr

    # After a rollback that would have discarded a change: only a person discards it, and it is kept in a backup.
    kube.apply_restore("raced", backupName="good", healthCheck=SHORT, restart="Never")
    kube.wait_phase("gwr", "raced", "HealthCheck")
    backed_up.write_config(users=7)
    failed = kube.wait_phase("gwr", "raced", "RollbackFailed")
    assert (failed["reason"], backed_up.count_users()) == ("ConfigOverwritten", 7)
    assert f"kubectl gateway restore rollback -n {kube.namespace} raced" in failed["message"]
    cli.run("restore", "rollback", "raced", "--yes", "--wait")
    assert backed_up.config.read_bytes() == before
    backed_up.gateway.set_pod_ready()


def test_rollback_without_any_previous_config_says_what_to_do(kube: Kube, backed_up: RealGateway) -> None:
    """The kept file and the safety backup are gone: nothing is changed, and the commit is possible."""
    status = hold(kube, "lost")
    for kept in (backed_up.config.parent / ".gateway").glob("previous-*"):
        kept.unlink()
    shutil.rmtree(backed_up.backups / "safety")
    restored = backed_up.config.read_bytes()
    backed_up.gateway.set_pod_ready(gateway=False)
    kube.patch_spec("gwr", "lost", {"end": "Rollback"})
    failed = kube.wait_phase("gwr", "lost", "RollbackFailed")
    assert "spec.supersede: true" in failed["message"], failed
    assert (state(backed_up, status), backed_up.config.read_bytes()) == ("applied", restored)
    kube.kubectl("delete", "gwr/lost", "--timeout=60s")
    assert (state(backed_up, status), backed_up.config.read_bytes()) == ("committed", restored)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_restored_config_with_another_admin_key(kube: Kube, tmp_path: Path, end: str) -> None:
    """Only the keys in the config count here, so the operator's key is not in the restored config."""
    with real_gateway(kube, tmp_path, admin_admin_key_file=None) as gw:
        before, other = gw.config.read_bytes(), admin_key()
        (gw.backups / "other.json").write_text(json.dumps(gateway_config(other, users=4)))
        if end == "rollback":
            gw.gateway.set_pod_ready(gateway=False)
        kube.apply_restore("other", path="other.json", healthCheck=SHORT, restart="Never")
        status = kube.wait_phase("gwr", "other", "Completed", "Failed", "RolledBack", "RollbackFailed")
        if end == "rollback":
            assert (status["phase"], gw.config.read_bytes()) == ("RolledBack", before), status
            return
        assert (status["phase"], gw.count_users()) == ("Completed", 4), status
        assert "add the key of the restored config to the Secret" in status["message"]
        kube.apply_backup("locked-out")
        kube.wait_status("gwb", "locked-out", lambda one: one.get("reason") == "Unauthorized")
        gw.gateway.key = f"{gw.gateway.key}\n{other}"
        gw.gateway.apply_secret()
        kube.wait_phase("gwb", "locked-out", "Completed")


def test_deleted_gateway_does_not_hold_its_restore(kube: Kube, backed_up: RealGateway) -> None:
    hold(kube, "alone")
    kube.kubectl("delete", "deployment/gw", "--timeout=60s")
    kube.kubectl("delete", "gwr/alone", "--timeout=60s")
    kube.wait_event("alone", "Warning", "RestoreReleased")


def test_namespace_with_an_open_restore_can_be_deleted(kube: Kube, backed_up: RealGateway) -> None:
    hold(kube, "open")
    kube.kubectl("delete", "namespace", kube.namespace, "--timeout=60s")


def test_status_lost_after_the_end_changes_nothing(
    kube: Kube, backed_up: RealGateway, operator: OperatorProcess
) -> None:
    """As after a restore of the objects by Velero, which drops the status."""
    kube.apply_restore("once", backupName="good", healthCheck=QUICK_HEALTH_CHECK)
    kube.wait_phase("gwr", "once", "Completed")
    body = kube.require("gwr", "once")
    backed_up.write_config(users=6)
    kube.kubectl("delete", "gwr/once", "--timeout=60s")
    metadata = {"name": "once", "finalizers": [FINALIZER]}
    kube.apply({"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata, "spec": body["spec"]})
    status = kube.wait_phase("gwr", "once", "Completed")
    assert (status["reason"], backed_up.count_users()) == ("AlreadyApplied", 6)
    wait_no_finalizer(kube, "once")
