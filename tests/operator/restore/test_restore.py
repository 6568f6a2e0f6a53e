"""GatewayRestore on a real API server with the real admin API: a transaction, on the well and on the sick."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operator.support.real_gateway import RealGateway, config_with, real_gateway
from tests.operator.support.workloads import Kube, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

QUICK = {"timeoutSeconds": 8, "consecutive": 2}


@pytest.fixture
def gw(kube: Kube, tmp_path: Path) -> Iterator[RealGateway]:
    """A gateway that reloads its config by itself, with two users."""
    with real_gateway(kube, tmp_path) as found:
        yield found


@pytest.fixture
def backed_up(kube: Kube, gw: RealGateway) -> RealGateway:
    """With a backup of the two users; then there are five."""
    kube.backup("good")
    kube.wait_phase("gwb", "good", "Completed")
    gw.write(users=5)
    return gw


def test_a_backup_comes_back(kube: Kube, backed_up: RealGateway) -> None:
    kube.restore("back", backupName="good", healthCheck=QUICK)
    kube.run("wait", "--for=condition=Finished", "gwr/back", "--timeout=60s")
    status = kube.status("gwr", "back")
    assert (status["phase"], status["reason"]) == ("Completed", "Restored"), status
    assert backed_up.users() == 2
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
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "Finished": "True",
        "Completed": "True",
        "Failed": "False",
    }
    assert backed_up.journal(status["requestID"])["data"]["state"] == "committed"
    # What was replaced is kept, as a backup like any other.
    safety = kube.get("gwb", status["safetyBackup"]["backupName"])
    assert safety is not None
    assert safety["spec"]["group"] == "safety"
    assert safety["status"]["counts"]["users"] == 5
    assert safety["metadata"]["labels"]["mcpgateway.dev/restore"] == "back"


@pytest.mark.parametrize("damage", ["truncated", "missing", "nonsense"])
def test_the_cure_works_on_the_sick(kube: Kube, gw: RealGateway, damage: str) -> None:
    kube.backup("good")
    kube.wait_phase("gwb", "good", "Completed")
    whole = gw.config.read_bytes()
    if damage == "missing":
        gw.config.unlink()
    else:
        gw.config.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b'{"config": "projects users"}')
    # The gateway's own container crashes on such a config, and so its pod is not Ready.
    gw.gateway.ready(gateway=False)
    kube.backup("of-the-sick")
    assert kube.wait_phase("gwb", "of-the-sick", "Failed")["reason"] in ("ConfigInvalid", "ConfigMissing")
    kube.restore("cure", latest={}, healthCheck={"timeoutSeconds": 30, "consecutive": 2}, restart="Never")
    until("the config is back", lambda: gw.config.exists() and gw.config.read_bytes() == whole, 30)
    gw.gateway.ready()
    status = kube.wait_phase("gwr", "cure", "Completed", timeout=40)
    assert status["safetyBackup"]["kind"] == ("missing" if damage == "missing" else "raw")


def test_the_pods_are_restarted_where_the_gateway_does_not_reload(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path, reload="Restart") as gw:
        kube.backup("good")
        kube.wait_phase("gwb", "good", "Completed")
        gw.write(users=5)
        before = gw.gateway.pod()
        with gw.gateway.kubelet():
            kube.restore("back", backupName="good", healthCheck={"timeoutSeconds": 40, "consecutive": 2})
            status = kube.wait_phase("gwr", "back", "Completed", timeout=60)
        assert status["restarted"] is True
        assert gw.gateway.pod() != before
        workload = kube.get("deployment", "gw")
        body = kube.get("gwr", "back")
        assert workload is not None
        assert body is not None
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        assert annotations["mcpgateway.dev/restored"] == body["metadata"]["uid"]


def test_an_unhealthy_gateway_is_rolled_back(kube: Kube, backed_up: RealGateway) -> None:
    backed_up.gateway.ready(gateway=False)
    kube.restore("sick", backupName="good", healthCheck={"timeoutSeconds": 5, "consecutive": 2}, restart="Never")
    status = kube.wait_phase("gwr", "sick", "RolledBack", timeout=60)
    assert status["reason"] == "HealthCheckFailed"
    assert "is not Ready" in status["message"]
    assert "The previous config is live again." in status["message"]
    assert backed_up.users() == 5
    assert backed_up.journal(status["requestID"])["data"]["state"] == "rolled_back"
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "Finished": "True",
        "Completed": "False",
        "Failed": "True",
    }


def test_an_unhealthy_gateway_is_left_where_that_is_asked(kube: Kube, backed_up: RealGateway) -> None:
    backed_up.gateway.ready(gateway=False)
    quick = {"timeoutSeconds": 5, "consecutive": 2}
    kube.restore("left", backupName="good", healthCheck=quick, restart="Never", onFailure="Leave")
    status = kube.wait_phase("gwr", "left", "Failed", timeout=60)
    assert "onFailure is Leave" in status["message"]
    assert backed_up.users() == 2
    # The next one is told what is in its way.
    kube.restore("next", backupName="good", healthCheck=quick)
    other = kube.wait_phase("gwr", "next", "Failed")
    assert other["reason"] == "RestorePending"
    assert "GatewayRestore left" in other["message"]
    assert f"restores/{status['requestID']}/commit" in other["message"]
    kube.run("delete", "gwr/left")
    kube.restore("third", backupName="good", healthCheck=quick)
    assert "no longer exists" in kube.wait_phase("gwr", "third", "Failed")["message"]


def test_a_config_that_is_overwritten_is_not_lost(kube: Kube, backed_up: RealGateway) -> None:
    """Somebody writes another config after the restore: neither committed nor rolled back over it."""
    kube.restore("raced", backupName="good", healthCheck={"timeoutSeconds": 8, "consecutive": 20}, restart="Never")
    kube.wait_phase("gwr", "raced", "HealthCheck")
    backed_up.write(users=7)
    status = kube.wait_phase("gwr", "raced", "RollbackFailed", timeout=60)
    assert status["reason"] == "ConfigOverwritten"
    assert '{"force": true}' in status["message"]
    assert backed_up.users() == 7


def test_a_gateway_that_only_rewrites_the_file_is_healthy(kube: Kube, backed_up: RealGateway) -> None:
    kube.restore("pretty", backupName="good", healthCheck={"timeoutSeconds": 30, "consecutive": 5}, restart="Never")
    kube.wait_phase("gwr", "pretty", "HealthCheck")
    config = json.loads(backed_up.config.read_text())
    backed_up.config.write_text(json.dumps(config, indent=3))
    kube.wait_phase("gwr", "pretty", "Completed", timeout=60)


def test_a_finished_restore_never_runs_again(kube: Kube, backed_up: RealGateway) -> None:
    kube.restore("once", backupName="good", healthCheck=QUICK)
    kube.wait_phase("gwr", "once", "Completed", timeout=60)
    kube.run("delete", "gwr/once")
    backed_up.write(users=6)
    kube.restore("once", backupName="good", healthCheck=QUICK)
    status = kube.wait_phase("gwr", "once", "Completed")
    assert status["reason"] == "AlreadyApplied"
    assert "another name" in status["message"] or "Nothing was changed" in status["message"]
    assert backed_up.users() == 6


def test_latest_and_before(kube: Kube, gw: RealGateway) -> None:
    kube.backup("one")
    kube.wait_phase("gwb", "one", "Completed")
    time.sleep(1.1)
    between = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    gw.write(users=3)
    kube.backup("two")
    kube.wait_phase("gwb", "two", "Completed")
    gw.write(users=4)
    kube.backup("kept", group="safety")
    kube.wait_phase("gwb", "kept", "Completed")
    kube.restore("newest", latest={}, healthCheck=QUICK, safetyBackup="Skip")
    assert kube.wait_phase("gwr", "newest", "Completed", timeout=60)["source"]["backupName"] == "two"
    kube.restore("older", before=between, healthCheck=QUICK, safetyBackup="Skip")
    assert kube.wait_phase("gwr", "older", "Completed", timeout=60)["source"]["backupName"] == "one"
    assert gw.users() == 2
    kube.restore("by-path", path=kube.status("gwb", "kept")["path"], healthCheck=QUICK, safetyBackup="Skip")
    kube.wait_phase("gwr", "by-path", "Completed", timeout=60)
    assert gw.users() == 4


def test_refusals_change_nothing(kube: Kube, backed_up: RealGateway) -> None:
    kube.restore("absent", backupName="nothing")
    assert kube.wait_phase("gwr", "absent", "Failed")["reason"] == "NoSuchBackup"
    kube.restore("wrong-digest", backupName="good", expectedSha256="0" * 64)
    assert kube.wait_phase("gwr", "wrong-digest", "Failed")["reason"] == "DigestMismatch"
    kube.restore("no-file", path="manual/absent.json")
    assert kube.wait_phase("gwr", "no-file", "Failed")["reason"] == "BackupNotFound"
    kube.restore("outside", path="../config/config.json")
    assert kube.wait_phase("gwr", "outside", "Failed")["reason"] == "PathNotAllowed"
    kube.run("annotate", "gwb/good", "x=y")
    volume = kube.status("gwb", "good")["volumeID"]
    kube.patch_status("gwb", "good", {"volumeID": "0" * 32})
    kube.restore("elsewhere", backupName="good")
    status = kube.wait_phase("gwr", "elsewhere", "Failed")
    assert status["reason"] == "WrongVolume"
    assert volume in status["message"]
    assert backed_up.users() == 5


def test_a_config_on_no_persistent_volume(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path, volumes=[{"name": "config", "emptyDir": {}}]) as gw:
        kube.backup("good")
        kube.wait_phase("gwb", "good", "Completed")
        gw.write(users=5)
        kube.restore("back", backupName="good")
        assert kube.wait_phase("gwr", "back", "Failed")["reason"] == "ConfigNotPersistent"
        assert gw.users() == 5


def test_a_safety_backup_that_is_required_and_fails(kube: Kube, backed_up: RealGateway) -> None:
    """A stray file where the group's folder would be: the safety backup cannot be written."""
    (backed_up.backups / "safety").write_text("in the way")
    kube.restore("strict", backupName="good", safetyBackup="Required", healthCheck=QUICK)
    status = kube.wait_phase("gwr", "strict", "Failed", timeout=60)
    assert status["reason"] == "SafetyBackupFailed"
    assert backed_up.users() == 5
    kube.restore("lenient", backupName="good", healthCheck=QUICK)
    status = kube.wait_phase("gwr", "lenient", "Completed", timeout=60)
    assert status["safetyBackup"]["kind"] == "kept"
    assert backed_up.users() == 2


def test_config_with_is_whole() -> None:
    assert len(config_with("k" * 40, 3)["users"]) == 3
