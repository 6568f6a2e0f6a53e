"""GatewayBackup on a real API server with a scripted admin API: success, waiting, retries and every failure."""

from __future__ import annotations

import pytest

from gateway_api import contract
from gateway_api.contract import ErrorCode
from tests.operator.support.scripted_admin_api import VOLUME_ID, ScriptedAdminApi
from tests.operator.support.workloads import (
    GatewayDeployment,
    Kube,
    condition_states,
    custom_resource,
    running_pod_status,
)

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


def test_backup_completes_and_records_the_file_in_its_status(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    kube.apply_backup("first", group="nightly", description="before the upgrade")
    kube.kubectl("wait", "--for=condition=Completed", "gwb/first", "--timeout=60s")
    body = kube.require("gwb", "first")
    status, uid = body["status"], body["metadata"]["uid"]
    record = admin.backups[contract.backup_id_for(VOLUME_ID, uid)]
    assert status["phase"] == "Completed"
    assert status["reason"] == "BackedUp"
    assert status["path"] == record.path
    assert record.path.startswith("nightly/2")
    assert record.path.endswith(f"-first-{uid[:8]}.json.zst")
    assert status["sha256"] == record.stored_sha256
    assert status["contentDigest"] == record.content_sha256
    assert status["volumeID"] == VOLUME_ID
    assert status["backupID"] == record.backup_id
    assert status["verification"]["level"] == "Verified"
    assert status["counts"] == {"configs": 1, "projects": 1, "users": 1, "apiKeys": 1, "disabledApiKeys": 0}
    assert status["attempt"] == 1
    assert condition_states(status) == {
        "Finished": "True",
        "Completed": "True",
        "Failed": "False",
        "Ready": "True",
    }
    assert record.metadata == {
        "namespace": kube.namespace,
        "name": "first",
        "uid": uid,
        "group": "nightly",
        "gateway": "Deployment gw",
        "description": "before the upgrade",
        "origin": "Manual",
    }
    assert "finalizers" not in body["metadata"]
    kube.wait_event("first", "Normal", "BackedUp")
    assert kube.events("first") == [("Normal", "BackedUp")]


def test_finished_backup_never_runs_again(kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi) -> None:
    kube.complete_backup("once")
    before = kube.status("gwb", "once")
    admin.backups.clear()
    kube.kubectl("annotate", "gwb/once", "note=1")
    kube.patch_spec("gwb", "once", {"description": "other"})
    kube.complete_backup("another")
    status = kube.wait_status("gwb", "once", lambda status: status["observedGeneration"] == 2)
    conditions = [{**condition, "observedGeneration": 2} for condition in before["conditions"]]
    assert status == {**before, "observedGeneration": 2, "conditions": conditions}
    kube.kubectl("wait", "--for=condition=Completed", "gwb/once", "--timeout=60s")
    assert len(admin.backup_requests) == 2


def test_backup_waits_for_a_gateway_that_is_created_later(kube: Kube, admin: ScriptedAdminApi) -> None:
    kube.apply_backup("early")
    status = kube.wait_phase("gwb", "early", "Pending")
    assert status["reason"] == "GatewayNotFound"
    assert "There is no Deployment gw in namespace" in status["message"]
    GatewayDeployment(kube, admin.host, admin.key).create()
    kube.wait_phase("gwb", "early", "Completed")


def test_missing_gateway_fails_after_the_starting_deadline(kube: Kube) -> None:
    kube.apply_backup("never", startingDeadlineSeconds=3)
    kube.kubectl("wait", "--for=condition=Finished", "gwb/never", "--timeout=60s")
    status = kube.status("gwb", "never")
    assert (status["phase"], status["reason"]) == ("Failed", "GatewayNotFound")
    assert "within 3 s (startingDeadlineSeconds)" in status["message"]


def test_backup_waits_until_the_workload_is_annotated_as_gateway(kube: Kube, admin: ScriptedAdminApi) -> None:
    gateway = GatewayDeployment(kube, admin.host, admin.key, annotated=False).create()
    kube.apply_backup("plain")
    status = kube.wait_phase("gwb", "plain", "Pending")
    assert status["reason"] == "GatewayNotConfigured"
    assert "kubectl annotate deployment gw mcpgateway.dev/admin-key-secret=NAME" in status["message"]
    gateway.annotated = True
    gateway.apply_deployment()
    kube.wait_phase("gwb", "plain", "Completed")


def test_backup_waits_for_the_admin_container_only(kube: Kube, admin: ScriptedAdminApi) -> None:
    gateway = GatewayDeployment(kube, admin.host, admin.key)
    gateway.apply_secret()
    gateway.apply_deployment()
    gateway.set_pod_ready(admin=False)
    kube.apply_backup("waits")
    status = kube.wait_phase("gwb", "waits", "Pending")
    assert status["reason"] == "NoReadyPod"
    assert "container admin of pod" in status["message"]
    # A backup needs only the admin container: the gateway container may be crashing.
    gateway.set_pod_ready(gateway=False)
    kube.wait_phase("gwb", "waits", "Completed")


def test_pod_with_matching_labels_but_another_owner_gets_no_admin_key(kube: Kube, admin: ScriptedAdminApi) -> None:
    """Anyone with create permission on pods must not be able to receive the admin key."""
    gateway = GatewayDeployment(kube, "127.255.255.1", admin.key, replicas=0)
    gateway.apply_secret()
    gateway.apply_deployment()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "impostor", "labels": {"other": "gw"}},
        "spec": {"containers": [{"name": "admin", "image": "x", "ports": [{"name": "admin", "containerPort": 8001}]}]},
    }
    kube.apply(pod)
    status = running_pod_status(admin.host)
    status["containerStatuses"] = status["containerStatuses"][:1]
    kube.patch_status("pod", "impostor", status)
    kube.kubectl("label", "pod/impostor", "app=gw")
    kube.apply_backup("spoofed", startingDeadlineSeconds=4)
    result = kube.wait_phase("gwb", "spoofed", "Failed")
    assert result["reason"] == "NoReadyPod"
    assert admin.calls == []


def test_backup_waits_for_a_missing_admin_key_secret(kube: Kube, admin: ScriptedAdminApi) -> None:
    gateway = GatewayDeployment(kube, admin.host, admin.key)
    gateway.apply_deployment()
    gateway.set_pod_ready()
    kube.apply_backup("keyless")
    status = kube.wait_phase("gwb", "keyless", "Pending")
    assert status["reason"] == "AdminKeyMissing"
    assert "Secret gw-admin" in status["message"]
    gateway.apply_secret()
    kube.wait_phase("gwb", "keyless", "Completed")


def test_wrong_admin_key_fails_after_the_retry_limit(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    admin.key = "another-key-that-the-secret-does-not-hold"
    kube.apply_backup("locked", retryLimit=1)
    status = kube.wait_phase("gwb", "locked", "Failed")
    assert status["reason"] == "Unauthorized"
    assert "Given up after 2 attempts" in status["message"]
    assert len(status["lastErrors"]) == 2


def test_backup_succeeds_on_retry_after_the_admin_key_is_fixed(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    correct_key, admin.key = admin.key, "another-key-that-the-secret-does-not-hold"
    kube.apply_backup("rotating")
    kube.wait_status("gwb", "rotating", lambda status: status.get("reason") == "Unauthorized")
    admin.key = correct_key
    status = kube.wait_phase("gwb", "rotating", "Completed")
    assert status["attempt"] == 2


def test_permanent_error_is_not_retried(kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi) -> None:
    admin.backup_errors = [ErrorCode.ConfigInvalid]
    kube.apply_backup("broken")
    status = kube.wait_phase("gwb", "broken", "Failed")
    assert status["reason"] == "ConfigInvalid"
    assert contract.ERRORS[ErrorCode.ConfigInvalid].remedy in status["message"]
    assert len(admin.backup_requests) == 1
    kube.wait_event("broken", "Warning", "ConfigInvalid")


def test_transient_error_is_retried_with_the_same_request_id(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    admin.backup_errors = [ErrorCode.InternalError]
    status = kube.complete_backup("shaky")
    assert status["attempt"] == 2
    assert [one["reason"] for one in status["lastErrors"]] == ["InternalError"]
    assert len({body["request_id"] for body in admin.backup_requests}) == 1
    assert len(admin.backups) == 1


def test_busy_admin_api_uses_no_attempt(kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi) -> None:
    admin.backup_errors = [ErrorCode.Busy, ErrorCode.Busy]
    status = kube.complete_backup("patient", retryLimit=0)
    assert status["attempt"] == 1
    assert "lastErrors" not in status


def test_full_volume_is_reported_with_a_remedy(kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi) -> None:
    admin.permanent_error = ErrorCode.VolumeFull
    kube.apply_backup("full", retryLimit=0)
    status = kube.wait_phase("gwb", "full", "Failed")
    assert status["reason"] == "VolumeFull"
    assert "Free space on the volume" in status["message"]


def test_refused_connection_is_reported_as_unreachable(kube: Kube) -> None:
    GatewayDeployment(kube, "127.199.199.199", "k" * 40).create()
    kube.apply_backup("refused", retryLimit=0)
    status = kube.wait_phase("gwb", "refused", "Failed")
    assert status["reason"] == "Unreachable"
    assert "127.199.199.199:8001" in status["message"]


def test_hanging_admin_api_ends_in_call_timed_out(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    admin.hang = True
    kube.apply_backup("hung", retryLimit=0)
    status = kube.wait_phase("gwb", "hung", "Failed")
    assert status["reason"] == "CallTimedOut"


def test_lost_response_creates_no_second_backup(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    admin.drop_responses = 1
    kube.complete_backup("lost")
    assert len(admin.backups) == 1
    assert len({body["request_id"] for body in admin.backup_requests}) == 1


def test_backup_whose_responses_are_always_lost_is_found_by_id(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    admin.drop_responses = 99
    kube.complete_backup("deaf", retryLimit=0)
    assert len(admin.backups) == 1


def test_thirty_backups_at_once_all_complete(kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi) -> None:
    kube.kubectl("apply", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": [
        custom_resource("GatewayBackup", f"many-{n}", {"gatewayRef": {"name": "gw"}}) for n in range(30)
    ]})  # fmt: skip
    kube.kubectl("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=60s")
    assert len(admin.backups) == 30
