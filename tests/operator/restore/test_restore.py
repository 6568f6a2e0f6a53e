"""GatewayRestore on a real API server with the real admin API: commit, rollback, refusals, and damaged configs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.operator.support.real_gateway import RealGateway, config_with_users, real_gateway
from tests.operator.support.workloads import QUICK_HEALTH_CHECK, Kube, condition_states, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


def test_restore_replaces_the_config_and_keeps_a_safety_backup(kube: Kube, backed_up: RealGateway) -> None:
    kube.apply_restore("back", backupName="good", healthCheck=QUICK_HEALTH_CHECK)
    kube.kubectl("wait", "--for=condition=Finished", "gwr/back", "--timeout=60s")
    status = kube.status("gwr", "back")
    assert (status["phase"], status["reason"]) == ("Completed", "Restored"), status
    assert backed_up.count_users() == 2
    good = kube.status("gwb", "good")
    assert status["source"] == {
        "backupName": "good",
        "backupID": good["backupID"],
        "path": good["path"],
        "sha256": good["sha256"],
    }
    assert status["restoredDigest"] == good["contentDigest"]
    assert status["restarted"] is False
    assert [one["name"] for one in status["steps"]] == [
        "Validating",
        "SafetyBackup",
        "Restoring",
        "Restarting",
        "HealthCheck",
    ]
    assert all(one["completionTime"] for one in status["steps"])
    assert condition_states(status) == {
        "Finished": "True",
        "Completed": "True",
        "Failed": "False",
        "Ready": "True",
    }
    assert backed_up.get_restore(status["requestID"])["data"]["state"] == "committed"
    # The replaced config is kept as a backup.
    safety = kube.require("gwb", status["safetyBackup"]["backupName"])
    assert safety["spec"]["group"] == "safety"
    assert safety["status"]["counts"]["users"] == 5
    assert safety["metadata"]["labels"]["mcpgateway.dev/restore"] == "back"


@pytest.mark.parametrize("damage", ["truncated", "missing", "nonsense"])
def test_restore_works_when_the_live_config_is_missing_or_invalid(kube: Kube, gw: RealGateway, damage: str) -> None:
    kube.complete_backup("good")
    original = gw.config.read_bytes()
    if damage == "missing":
        gw.config.unlink()
    else:
        gw.config.write_bytes(
            original[: len(original) // 2] if damage == "truncated" else b'{"config": "projects users"}'
        )
    # The gateway container crashes on such a config, so its pod is not Ready.
    gw.gateway.set_pod_ready(gateway=False)
    kube.apply_backup("of-broken-config")
    assert kube.wait_phase("gwb", "of-broken-config", "Failed")["reason"] in ("ConfigInvalid", "ConfigMissing")
    kube.apply_restore("repair", latest={}, healthCheck={"timeoutSeconds": 30, "consecutive": 2}, restart="Never")
    wait_for("the config is back", lambda: gw.config.exists() and gw.config.read_bytes() == original, 30)
    gw.gateway.set_pod_ready()
    status = kube.wait_phase("gwr", "repair", "Completed")
    assert status["safetyBackup"]["kind"] == ("missing" if damage == "missing" else "raw")


def test_restore_restarts_a_gateway_that_does_not_reload(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path, reload="Restart") as gw:
        kube.complete_backup("good")
        gw.write_config(users=5)
        before = gw.gateway.pod_name()
        with gw.gateway.simulated_kubelet():
            kube.apply_restore("back", backupName="good", healthCheck={"timeoutSeconds": 40, "consecutive": 2})
            status = kube.wait_phase("gwr", "back", "Completed")
        assert status["restarted"] is True
        assert gw.gateway.pod_name() != before
        annotations = kube.require("deployment", "gw")["spec"]["template"]["metadata"]["annotations"]
        assert annotations["mcpgateway.dev/restored"] == kube.require("gwr", "back")["metadata"]["uid"]


def test_unhealthy_gateway_is_rolled_back(kube: Kube, backed_up: RealGateway) -> None:
    backed_up.gateway.set_pod_ready(gateway=False)
    before = backed_up.config.read_bytes()
    kube.apply_restore(
        "unhealthy", backupName="good", healthCheck={"timeoutSeconds": 5, "consecutive": 2}, restart="Never"
    )
    status = kube.wait_phase("gwr", "unhealthy", "RolledBack")
    assert status["reason"] == "HealthCheckFailed"
    assert "is not Ready" in status["message"]
    assert "The previous config is live again." in status["message"]
    assert backed_up.config.read_bytes() == before
    assert backed_up.get_restore(status["requestID"])["data"]["state"] == "rolled_back"
    assert condition_states(status) == {
        "Finished": "True",
        "Completed": "False",
        "Failed": "True",
        "Ready": "False",
        "Stalled": "True",
    }


def test_on_failure_leave_keeps_the_new_config_and_blocks_others(kube: Kube, backed_up: RealGateway) -> None:
    backed_up.gateway.set_pod_ready(gateway=False)
    quick = {"timeoutSeconds": 5, "consecutive": 2}
    kube.apply_restore("left", backupName="good", healthCheck=quick, restart="Never", onFailure="Leave")
    status = kube.wait_phase("gwr", "left", "Failed")
    assert "onFailure is Leave" in status["message"]
    assert backed_up.count_users() == 2
    # The message of the next restore names the pending one and the commands that end it.
    kube.apply_restore("next", backupName="good", healthCheck=quick)
    other = kube.wait_phase("gwr", "next", "Failed")
    assert other["reason"] == "RestorePending"
    for verb in ("commit", "rollback"):
        assert f"kubectl gateway restore {verb} -n {kube.namespace} left" in other["message"]
    # Its deletion commits it, so it blocks no other.
    kube.kubectl("delete", "gwr/left", "--timeout=60s")
    assert backed_up.get_restore(status["requestID"])["data"]["state"] == "committed"
    backed_up.gateway.set_pod_ready()
    kube.apply_restore("third", backupName="good", healthCheck=quick)
    kube.wait_phase("gwr", "third", "Completed")


def test_config_written_during_a_restore_is_kept(kube: Kube, backed_up: RealGateway) -> None:
    """Another config is written after the restore: it is neither committed nor rolled back."""
    kube.apply_restore(
        "raced", backupName="good", healthCheck={"timeoutSeconds": 8, "consecutive": 20}, restart="Never"
    )
    kube.wait_phase("gwr", "raced", "HealthCheck")
    backed_up.write_config(users=7)
    status = kube.wait_phase("gwr", "raced", "RollbackFailed")
    assert status["reason"] == "ConfigOverwritten"
    assert f"kubectl gateway restore rollback -n {kube.namespace} raced" in status["message"]
    assert backed_up.count_users() == 7


def test_rewritten_file_with_equal_content_is_healthy(kube: Kube, backed_up: RealGateway) -> None:
    kube.apply_restore(
        "pretty", backupName="good", healthCheck={"timeoutSeconds": 30, "consecutive": 5}, restart="Never"
    )
    kube.wait_phase("gwr", "pretty", "HealthCheck")
    config = json.loads(backed_up.config.read_text())
    backed_up.config.write_text(json.dumps(config, indent=3))
    kube.wait_phase("gwr", "pretty", "Completed")


def test_finished_restore_never_runs_again(kube: Kube, backed_up: RealGateway) -> None:
    kube.apply_restore("once", backupName="good", healthCheck=QUICK_HEALTH_CHECK)
    kube.wait_phase("gwr", "once", "Completed")
    kube.kubectl("delete", "gwr/once")
    backed_up.write_config(users=6)
    kube.apply_restore("once", backupName="good", healthCheck=QUICK_HEALTH_CHECK)
    status = kube.wait_phase("gwr", "once", "Completed")
    assert status["reason"] == "AlreadyApplied"
    assert "another name" in status["message"] or "Nothing was changed" in status["message"]
    assert backed_up.count_users() == 6


def test_latest_before_and_path_select_the_right_backup(kube: Kube, gw: RealGateway) -> None:
    kube.complete_backup("one")
    time.sleep(1.1)
    between = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    gw.write_config(users=3)
    kube.complete_backup("two")
    gw.write_config(users=4)
    kube.complete_backup("kept", group="safety")
    kube.apply_restore("newest", latest={}, healthCheck=QUICK_HEALTH_CHECK, safetyBackup="Skip")
    assert kube.wait_phase("gwr", "newest", "Completed")["source"]["backupName"] == "two"
    kube.apply_restore("older", before=between, healthCheck=QUICK_HEALTH_CHECK, safetyBackup="Skip")
    assert kube.wait_phase("gwr", "older", "Completed")["source"]["backupName"] == "one"
    assert gw.count_users() == 2
    kube.apply_restore(
        "by-path", path=kube.status("gwb", "kept")["path"], healthCheck=QUICK_HEALTH_CHECK, safetyBackup="Skip"
    )
    kube.wait_phase("gwr", "by-path", "Completed")
    assert gw.count_users() == 4


def test_refused_restores_change_nothing(kube: Kube, backed_up: RealGateway) -> None:
    kube.apply_restore("absent", backupName="nothing")
    assert kube.wait_phase("gwr", "absent", "Failed")["reason"] == "NoSuchBackup"
    kube.apply_restore("wrong-digest", backupName="good", expectedSha256="0" * 64)
    assert kube.wait_phase("gwr", "wrong-digest", "Failed")["reason"] == "DigestMismatch"
    kube.apply_restore("no-file", path="manual/absent.json")
    assert kube.wait_phase("gwr", "no-file", "Failed")["reason"] == "BackupNotFound"
    kube.apply_restore("outside", path="../config/config.json")
    assert kube.wait_phase("gwr", "outside", "Failed")["reason"] == "PathNotAllowed"
    kube.kubectl("annotate", "gwb/good", "x=y")
    volume = kube.status("gwb", "good")["volumeID"]
    kube.patch_status("gwb", "good", {"volumeID": "0" * 32})
    kube.apply_restore("elsewhere", backupName="good")
    status = kube.wait_phase("gwr", "elsewhere", "Failed")
    assert status["reason"] == "WrongVolume"
    assert volume in status["message"]
    assert backed_up.count_users() == 5


def test_config_without_persistent_volume_is_refused(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path, volumes=[{"name": "config", "emptyDir": {}}]) as gw:
        kube.complete_backup("good")
        gw.write_config(users=5)
        kube.apply_restore("back", backupName="good")
        assert kube.wait_phase("gwr", "back", "Failed")["reason"] == "ConfigNotPersistent"
        assert gw.count_users() == 5


def test_required_safety_backup_that_fails_stops_the_restore(kube: Kube, backed_up: RealGateway) -> None:
    """The safety backup cannot be written, because a file has the name of its group's folder."""
    (backed_up.backups / "safety").write_text("in the way")
    kube.apply_restore("strict", backupName="good", safetyBackup="Required", healthCheck=QUICK_HEALTH_CHECK)
    status = kube.wait_phase("gwr", "strict", "Failed")
    assert status["reason"] == "SafetyBackupFailed"
    assert backed_up.count_users() == 5
    kube.apply_restore("lenient", backupName="good", healthCheck=QUICK_HEALTH_CHECK)
    status = kube.wait_phase("gwr", "lenient", "Completed")
    assert status["safetyBackup"]["kind"] == "kept"
    assert backed_up.count_users() == 2


def test_config_with_users_has_that_many_users() -> None:
    assert len(config_with_users("k" * 40, 3)["users"]) == 3
