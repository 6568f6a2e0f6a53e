"""GatewayBackup on a real API server: the good path and every bad one."""

from __future__ import annotations

import pytest

from gateway_api import contract
from gateway_api.contract import ErrorCode
from tests.operator.support.scripted_admin_api import VOLUME, ScriptedAdmin
from tests.operator.support.workloads import Gateway, Kube, resource

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


def test_a_backup_is_made_and_recorded(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    kube.backup("first", group="nightly", description="before the upgrade")
    kube.run("wait", "--for=condition=Completed", "gwb/first", "--timeout=30s")
    body = kube.get("gwb", "first")
    assert body is not None
    status, uid = body["status"], body["metadata"]["uid"]
    record = admin.backups[contract.backup_id_for(VOLUME, uid)]
    assert status["phase"] == "Completed"
    assert status["reason"] == "BackedUp"
    assert status["path"] == record.path
    assert record.path.startswith("nightly/2")
    assert record.path.endswith(f"-first-{uid[:8]}.json.zst")
    assert status["sha256"] == record.stored_sha256
    assert status["contentDigest"] == record.content_sha256
    assert status["volumeID"] == VOLUME
    assert status["backupID"] == record.backup_id
    assert status["verification"]["level"] == "Verified"
    assert status["counts"] == {"configs": 1, "projects": 1, "users": 1, "apiKeys": 1, "disabledApiKeys": 0}
    assert status["attempt"] == 1
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "Finished": "True",
        "Completed": "True",
        "Failed": "False",
    }
    assert record.metadata == {
        "namespace": kube.namespace,
        "name": "first",
        "uid": uid,
        "group": "nightly",
        "gateway": "Deployment gw",
        "description": "before the upgrade",
    }
    assert "finalizers" not in body["metadata"]
    assert kube.events("first") == [("Normal", "BackedUp")]


def test_one_that_is_finished_is_never_done_again(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    kube.backup("once")
    kube.wait_phase("gwb", "once", "Completed")
    before = kube.status("gwb", "once")
    admin.backups.clear()
    kube.run("annotate", "gwb/once", "note=1")
    kube.run("patch", "gwb/once", "--type=merge", "-p", '{"spec":{"description":"other"}}')
    kube.backup("another")
    kube.wait_phase("gwb", "another", "Completed")
    assert kube.status("gwb", "once") == before
    assert len(admin.bodies) == 2


def test_a_gateway_that_comes_later_is_waited_for(kube: Kube, admin: ScriptedAdmin) -> None:
    kube.backup("early")
    status = kube.wait_phase("gwb", "early", "Pending")
    assert status["reason"] == "GatewayNotFound"
    assert "There is no Deployment gw in namespace" in status["message"]
    Gateway(kube, admin.host, admin.key).create()
    kube.wait_phase("gwb", "early", "Completed")


def test_a_gateway_that_never_comes_is_a_failure_with_its_cause(kube: Kube) -> None:
    kube.backup("never", startingDeadlineSeconds=3)
    kube.run("wait", "--for=condition=Finished", "gwb/never", "--timeout=30s")
    status = kube.status("gwb", "never")
    assert (status["phase"], status["reason"]) == ("Failed", "GatewayNotFound")
    assert "within 3 s (startingDeadlineSeconds)" in status["message"]


def test_a_workload_that_is_no_gateway(kube: Kube, admin: ScriptedAdmin) -> None:
    gateway = Gateway(kube, admin.host, admin.key, annotated=False).create()
    kube.backup("plain")
    status = kube.wait_phase("gwb", "plain", "Pending")
    assert status["reason"] == "GatewayNotConfigured"
    assert "kubectl annotate deployment gw mcpgateway.dev/admin-key-secret=NAME" in status["message"]
    gateway.annotated = True
    gateway.deployment()
    kube.wait_phase("gwb", "plain", "Completed")


def test_no_ready_pod(kube: Kube, admin: ScriptedAdmin) -> None:
    gateway = Gateway(kube, admin.host, admin.key)
    gateway.secret()
    gateway.deployment()
    gateway.ready(admin=False)
    kube.backup("waits")
    status = kube.wait_phase("gwb", "waits", "Pending")
    assert status["reason"] == "NoReadyPod"
    assert "container admin of pod" in status["message"]
    # The gateway's own container may crash as it likes: the admin API beside it is what counts.
    gateway.ready(gateway=False)
    kube.wait_phase("gwb", "waits", "Completed")


def test_a_pod_that_only_looks_like_the_gateways_gets_no_key(kube: Kube, admin: ScriptedAdmin) -> None:
    """Whoever may create pods with the right labels must not be sent the admin key."""
    gateway = Gateway(kube, "127.255.255.1", admin.key, replicas=0)
    gateway.secret()
    gateway.deployment()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "impostor", "labels": {"other": "gw"}},
        "spec": {"containers": [{"name": "admin", "image": "x", "ports": [{"name": "admin", "containerPort": 8001}]}]},
    }
    kube.apply(pod)
    from tests.operator.support.workloads import pod_status

    status = pod_status(admin.host)
    status["containerStatuses"] = status["containerStatuses"][:1]
    kube.patch_status("pod", "impostor", status)
    kube.run("label", "pod/impostor", "app=gw")
    kube.backup("spoofed", startingDeadlineSeconds=4)
    result = kube.wait_phase("gwb", "spoofed", "Failed")
    assert result["reason"] == "NoReadyPod"
    assert admin.calls == []


def test_the_secret_is_missing(kube: Kube, admin: ScriptedAdmin) -> None:
    gateway = Gateway(kube, admin.host, admin.key)
    gateway.deployment()
    gateway.ready()
    kube.backup("keyless")
    status = kube.wait_phase("gwb", "keyless", "Pending")
    assert status["reason"] == "AdminKeyMissing"
    assert "Secret gw-admin" in status["message"]
    gateway.secret()
    kube.wait_phase("gwb", "keyless", "Completed")


def test_a_wrong_key_is_tried_again_and_then_given_up(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    admin.key = "another-key-that-the-secret-does-not-hold"
    kube.backup("locked", retryLimit=1)
    status = kube.wait_phase("gwb", "locked", "Failed")
    assert status["reason"] == "Unauthorized"
    assert "Given up after 2 attempts" in status["message"]
    assert len(status["lastErrors"]) == 2


def test_a_key_that_is_put_right_in_time(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    right, admin.key = admin.key, "another-key-that-the-secret-does-not-hold"
    kube.backup("rotating")
    kube.wait_status("gwb", "rotating", lambda status: status.get("reason") == "Unauthorized")
    admin.key = right
    status = kube.wait_phase("gwb", "rotating", "Completed")
    assert status["attempt"] == 2


def test_a_refusal_for_good_is_not_repeated(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    admin.refuse_backups = [ErrorCode.ConfigInvalid]
    kube.backup("broken")
    status = kube.wait_phase("gwb", "broken", "Failed")
    assert status["reason"] == "ConfigInvalid"
    assert contract.ERRORS[ErrorCode.ConfigInvalid].remedy in status["message"]
    assert len(admin.bodies) == 1
    assert ("Warning", "ConfigInvalid") in kube.events("broken")


def test_errors_that_pass_are_tried_again(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    admin.refuse_backups = [ErrorCode.InternalError]
    kube.backup("shaky")
    status = kube.wait_phase("gwb", "shaky", "Completed")
    assert status["attempt"] == 2
    assert [one["reason"] for one in status["lastErrors"]] == ["InternalError"]
    assert len({body["request_id"] for body in admin.bodies}) == 1
    assert len(admin.backups) == 1


def test_waiting_for_a_turn_uses_up_no_attempt(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    admin.refuse_backups = [ErrorCode.Busy, ErrorCode.Busy]
    kube.backup("patient", retryLimit=0)
    status = kube.wait_phase("gwb", "patient", "Completed")
    assert status["attempt"] == 1
    assert "lastErrors" not in status


def test_a_full_volume_is_said_so(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    admin.refuse_always = ErrorCode.VolumeFull
    kube.backup("full", retryLimit=0)
    status = kube.wait_phase("gwb", "full", "Failed")
    assert status["reason"] == "VolumeFull"
    assert "Free space on the volume" in status["message"]


def test_nobody_listens(kube: Kube) -> None:
    Gateway(kube, "127.199.199.199", "k" * 40).create()
    kube.backup("refused", retryLimit=0)
    status = kube.wait_phase("gwb", "refused", "Failed")
    assert status["reason"] == "Unreachable"
    assert "127.199.199.199:8001" in status["message"]


def test_a_server_that_hangs(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    admin.hang = True
    kube.backup("hung", retryLimit=0)
    status = kube.wait_phase("gwb", "hung", "Failed", timeout=40)
    assert status["reason"] == "CallTimedOut"


def test_an_answer_that_is_lost_makes_no_second_backup(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    admin.cut_answers = 1
    kube.backup("lost")
    kube.wait_phase("gwb", "lost", "Completed")
    assert len(admin.backups) == 1
    assert len({body["request_id"] for body in admin.bodies}) == 1


def test_an_answer_that_is_always_lost_is_looked_up(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    admin.cut_answers = 99
    kube.backup("deaf", retryLimit=0)
    kube.wait_phase("gwb", "deaf", "Completed")
    assert len(admin.backups) == 1


def test_many_at_once(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    kube.run("apply", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": [
        resource("GatewayBackup", f"many-{n}", {"gatewayRef": {"name": "gw"}}) for n in range(30)
    ]})  # fmt: skip
    kube.run("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=60s")
    assert len(admin.backups) == 30
