"""Drills on a real API server with two real admin APIs: the gateway's, and that of the drill pod."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.operator.support.drill_kubelet import DRILL_LABEL, drill_kubelet
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import AgeKey, RealGateway, encrypted_gateway
from tests.operator.support.workloads import Kube, condition_states, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


def digests(gw: RealGateway) -> dict[str, str]:
    """The digests of all files on both volumes of the gateway, without the state of the server itself."""
    files = [gw.config, *(path for path in gw.backups.rglob("*") if path.is_file())]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in ("lock", "probe.lock", "audit.jsonl") and not path.name.endswith(".tmp")
    }


def leftovers(kube: Kube) -> list[str]:
    return [
        one["metadata"]["name"] for kind in ("pods", "networkpolicies") for one in kube.items(kind, labels=DRILL_LABEL)
    ]


def test_drill_proves_the_backup_and_leaves_the_gateway_alone(
    kube: Kube, backed_up: RealGateway, tmp_path: Path
) -> None:
    before = digests(backed_up)
    with drill_kubelet(kube, backed_up, tmp_path) as kubelet:
        kube.apply_restore("weekly", mode="Drill", latest={})
        status = kube.wait_phase("gwr", "weekly", "Completed", "Failed")
    assert (status["phase"], status["reason"]) == ("Completed", "Drilled"), status
    assert status["source"]["backupName"] == "good"
    assert status["drill"]["counts"]["users"] == 2
    assert status["drill"]["isolated"] is True
    assert status["drill"]["totalSeconds"] >= status["drill"]["readySeconds"]
    assert condition_states(status) == {"Finished": "True", "Completed": "True", "Failed": "False", "Ready": "True"}
    good = kube.status("gwb", "good")
    assert good["verification"]["level"] == "Drilled"
    assert status["restoredDigest"] == good["contentDigest"]
    assert digests(backed_up) == before
    assert leftovers(kube) == []
    (pod,) = kubelet.pods
    assert "app" not in pod["metadata"]["labels"]
    assert not [one for one in pod["spec"]["volumes"] if "emptyDir" not in one]
    kube.apply_restore("again", backupName="good", mode="Apply", healthCheck={"timeoutSeconds": 8, "consecutive": 1})
    kube.wait_phase("gwr", "again", "Completed")


@pytest.mark.parametrize(
    ("exit_code", "ready", "reason", "text"),
    [
        (3, True, "NotIsolated", "The pod reached 10.0.0.1"),
        (0, False, "DrillTimedOut", "container gateway is not ready"),
    ],
)
def test_failed_drill_leaves_nothing_and_the_level_unchanged(
    kube: Kube, backed_up: RealGateway, tmp_path: Path, exit_code: int, ready: bool, reason: str, text: str
) -> None:
    with drill_kubelet(kube, backed_up, tmp_path) as kubelet:
        kubelet.exit_code, kubelet.message, kubelet.ready = exit_code, "The pod reached 10.0.0.1 port 8001.", ready
        kube.apply_restore("weekly", mode="Drill", backupName="good", timeoutSeconds=12)
        status = kube.wait_phase("gwr", "weekly", "Completed", "Failed")
    assert (status["phase"], status["reason"]) == ("Failed", reason), status
    assert text in status["message"]
    assert kube.status("gwb", "good")["verification"]["level"] == "Verified"
    assert leftovers(kube) == []


def test_deleted_drill_takes_its_pod_and_policy_with_it(kube: Kube, backed_up: RealGateway, tmp_path: Path) -> None:
    with drill_kubelet(kube, backed_up, tmp_path) as kubelet:
        kubelet.ready = False
        kube.apply_restore("abandoned", mode="Drill", backupName="good")
        kube.wait_status("gwr", "abandoned", lambda status: (status.get("drill") or {}).get("restoredTime"))
        assert len(leftovers(kube)) == 2
        kube.kubectl("delete", "gwr", "abandoned", "--wait=false")
        wait_for("pod and policy are deleted", lambda: not leftovers(kube))


def test_encrypted_backup_is_drilled_with_the_identity_of_its_secret(
    kube: Kube, tmp_path: Path, operator: OperatorProcess
) -> None:
    key = AgeKey.generate(tmp_path / "key.txt")
    with encrypted_gateway(kube, tmp_path, key) as gw:
        kube.complete_backup("good")
        kube.kubectl("create", "secret", "generic", "restore-key", f"--from-file=identity={key.file}")
        kube.kubectl("label", "secret", "restore-key", "mcpgateway.dev/gateway=gw")
        tls = {"tls_cert": tmp_path / "tls.crt", "tls_key": tmp_path / "tls.key", "tls_port": 8443}
        same = {"age_recipients_file": tmp_path / "recipients", "signature_policy": "require"}
        signing = {"signing_key_file": gw.config.parent / ".gateway" / "signing_key.pem"}
        with drill_kubelet(kube, gw, tmp_path, **tls, **same, **signing):
            kube.apply_restore("weekly", mode="Drill", backupName="good", identitySecretRef={"name": "restore-key"})
            status = kube.wait_phase("gwr", "weekly", "Completed", "Failed")
    assert status["reason"] == "Drilled", status
    assert kube.status("gwb", "good")["verification"]["level"] == "Drilled"
    assert leftovers(kube) == []
