"""GatewayBackupSchedule on a real API server: its CronJob, drift, name conflicts, refusals and status."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from gateway_api.contract import ErrorCode
from gateway_operator.domain.model.names import BACKUP_TEMPLATE
from tests.operator.conftest import IMAGE
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import ClusterError, GatewayDeployment, Kube, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


@pytest.fixture
def backup_account(kube: Kube) -> None:
    """The ServiceAccount for the Jobs of the schedules of the gateway `gw`."""
    kube.kubectl("create", "serviceaccount", "gw-backup")


def test_schedule_owns_a_cron_job_with_its_settings(kube: Kube, backup_account: None) -> None:
    kube.apply_schedule(
        "nightly",
        schedule="0 2 * * *",
        timeZone="Europe/Berlin",
        concurrencyPolicy="Replace",
        startingDeadlineSeconds=120,
        successfulJobsHistoryLimit=2,
        failedJobsHistoryLimit=4,
        backupTemplate={"ttl": "30d", "timeoutSeconds": 900, "description": "a $(HOME) of 1$", "retryLimit": 0},
    )
    kube.wait_schedule_ready("nightly", "Scheduled")
    body = kube.require("cronjob", "nightly")
    spec = body["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("0 2 * * *", "Europe/Berlin", "Replace")
    assert (spec["startingDeadlineSeconds"], spec["suspend"]) == (120, False)
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (2, 4)
    (owner,) = body["metadata"]["ownerReferences"]
    schedule = kube.require("gwbs", "nightly")
    assert owner["uid"] == schedule["metadata"]["uid"]
    assert owner["controller"] is True
    assert owner["blockOwnerDeletion"] is True
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "gw-backup"
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    template = json.loads(spec["jobTemplate"]["spec"]["template"]["metadata"]["annotations"][BACKUP_TEMPLATE])["spec"]
    assert (template["ttl"], template["timeoutSeconds"], template["retryLimit"]) == ("30d", 900, 0)
    assert template["description"] == "a $(HOME) of 1$"
    assert "secret" not in json.dumps(body).lower()
    status = schedule["status"]
    assert status["cronJob"] == "nightly"
    assert status["backups"] == {"completed": 0, "failed": 0, "suspicious": 0, "pinned": 0, "total": 0}
    assert status["nextScheduleTime"]
    kube.wait_event("nightly", "Normal", "CronJobCreated")
    assert "finalizers" not in schedule["metadata"]


def test_pods_of_a_schedule_meet_the_restricted_standard(kube: Kube, backup_account: None) -> None:
    """Admission in the namespace rejects pods that are not restricted."""
    kube.cluster.kubectl("label", "namespace", kube.namespace, "pod-security.kubernetes.io/enforce=restricted")
    kube.apply_schedule("strict")
    kube.wait_schedule_ready("strict", "Scheduled")
    kube.kubectl("create", "job", "--from=cronjob/strict", "by-hand")
    pods = wait_for("its pod", lambda: kube.items("pods", labels="batch.kubernetes.io/job-name=by-hand"))
    assert pods[0]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_schedule_change_updates_the_cron_job_without_warning(kube: Kube, backup_account: None) -> None:
    kube.apply_schedule("moves")
    kube.wait_schedule_ready("moves", "Scheduled")
    kube.apply_schedule("moves", schedule="30 4 * * *", suspend=True)
    kube.wait_schedule_ready("moves", "Suspended")
    spec = kube.require("cronjob", "moves")["spec"]
    assert (spec["schedule"], spec["suspend"]) == ("30 4 * * *", True)
    assert "nextScheduleTime" not in kube.status("gwbs", "moves")
    kube.patch_spec("gwbs", "moves", {"suspend": False})
    kube.wait_schedule_ready("moves", "Scheduled")
    assert kube.require("cronjob", "moves")["spec"]["suspend"] is False
    # The namespace has no gateway, which a retention pass may report.
    assert {reason for kind, reason in kube.events("moves") if kind == "Warning"} <= {"GatewayNotFound"}


@pytest.mark.parametrize(
    "patch",
    [
        {"schedule": "* * * * *"},
        {"suspend": True},
        {"timeZone": None},
        {"concurrencyPolicy": "Allow"},
        {"jobTemplate": {"spec": {"template": {"spec": {"serviceAccountName": "default"}}}}},
        {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "backup", "image": "evil:1"}]}}}}},
    ],
    ids=["schedule", "suspend", "timeZone", "concurrencyPolicy", "account", "containers"],
)
def test_edited_cron_job_is_restored_with_an_event(kube: Kube, backup_account: None, patch: dict[str, Any]) -> None:
    kube.apply_schedule("drifts")
    kube.wait_schedule_ready("drifts", "Scheduled")
    before = kube.require("cronjob", "drifts")["spec"]
    kube.kubectl("patch", "cronjob", "drifts", "--type=merge", "-p", json.dumps({"spec": patch}))
    wait_for("the spec as it was", lambda: kube.require("cronjob", "drifts")["spec"] == before)
    kube.wait_event("drifts", "Warning", "CronJobRestored")


def test_deleted_cron_job_is_recreated_with_an_event(kube: Kube, backup_account: None) -> None:
    kube.apply_schedule("returns")
    kube.wait_schedule_ready("returns", "Scheduled")
    uid = kube.require("cronjob", "returns")["metadata"]["uid"]
    kube.kubectl("delete", "cronjob", "returns", "--wait=false")
    wait_for(
        "a new CronJob",
        lambda: (kube.get("cronjob", "returns") or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid,
    )
    kube.wait_event("returns", "Warning", "CronJobRestored")


def test_changes_during_downtime_are_corrected_after_the_start(
    kube: Kube, backup_account: None, operator: OperatorProcess
) -> None:
    for name in ("edited", "deleted", "going"):
        kube.apply_schedule(name)
        kube.wait_schedule_ready(name, "Scheduled")
    before = kube.require("cronjob", "edited")["spec"]
    operator.kill()
    kube.patch_spec("cronjob", "edited", {"schedule": "* * 1 1 *"})
    kube.kubectl("delete", "cronjob", "deleted")
    kube.kubectl("delete", "gwbs", "going")
    kube.apply_schedule("new")
    operator.start()
    wait_for("the edit is undone", lambda: kube.require("cronjob", "edited")["spec"] == before)
    wait_for("the CronJob is recreated", lambda: kube.get("cronjob", "deleted"))
    kube.wait_schedule_ready("new", "Scheduled")
    wait_for("the CronJob of a deleted schedule is deleted", lambda: kube.get("cronjob", "going") is None)
    kube.wait_event("edited", "Warning", "CronJobRestored")


def test_labels_and_annotations_of_others_are_kept(kube: Kube, backup_account: None) -> None:
    kube.apply_schedule("shared")
    kube.wait_schedule_ready("shared", "Scheduled")
    kube.kubectl("label", "cronjob", "shared", "team=a")
    kube.kubectl("annotate", "cronjob", "shared", "note=b")
    version = kube.require("cronjob", "shared")["metadata"]["resourceVersion"]
    kube.patch_spec("gwbs", "shared", {"objective": {"maxAge": "26h"}})
    kube.wait_schedule_ready("shared", "Scheduled")
    assert kube.require("cronjob", "shared")["metadata"]["resourceVersion"] == version


def test_cron_job_of_another_owner_is_never_taken_over(kube: Kube, backup_account: None) -> None:
    kube.kubectl("create", "cronjob", "taken", "--image=x:1", "--schedule=0 0 1 1 *")
    before = kube.require("cronjob", "taken")
    kube.apply_schedule("taken")
    ready = kube.wait_schedule_ready("taken", "NameConflict")
    assert ready["status"] == "False"
    assert "give the schedule another name" in ready["message"]
    assert kube.require("cronjob", "taken") == before
    kube.wait_event("taken", "Warning", "NameConflict")
    kube.kubectl("delete", "gwbs", "taken")
    assert kube.require("cronjob", "taken") == before
    kube.kubectl("delete", "cronjob", "taken")
    kube.apply_schedule("taken")
    kube.wait_schedule_ready("taken", "Scheduled")


def test_schedule_continues_after_the_conflicting_cron_job_is_deleted(kube: Kube, backup_account: None) -> None:
    kube.kubectl("create", "cronjob", "later", "--image=x:1", "--schedule=0 0 1 1 *")
    kube.apply_schedule("later")
    kube.wait_schedule_ready("later", "NameConflict")
    kube.kubectl("delete", "cronjob", "later")
    kube.wait_schedule_ready("later", "Scheduled")


def test_missing_service_account_names_the_command_that_creates_it(kube: Kube) -> None:
    kube.apply_schedule("homeless")
    ready = kube.wait_schedule_ready("homeless", "ServiceAccountMissing")
    assert ready["status"] == "False"
    assert kube.get("cronjob", "homeless") is None
    commands = ready["message"].partition("by hand: ")[2]
    script = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(script, env=kube.cluster.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    kube.wait_schedule_ready("homeless", "Scheduled")
    user = f"--as=system:serviceaccount:{kube.namespace}:gw-backup"
    for verb, answer in (("create", "yes"), ("get", "yes"), ("watch", "yes"), ("list", "no"), ("delete", "no")):
        assert kube.kubectl("auth", "can-i", verb, "gatewaybackups.mcpgateway.dev", user, check=False).strip() == answer


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schedule", "61 2 * * *", "end of range (61) above maximum (59)"),
        ("timeZone", "Mars/Olympus", "unknown time zone"),
    ],
    ids=["schedule", "timeZone"],
)
def test_rejected_schedule_shows_the_api_server_message_and_stops(
    kube: Kube, backup_account: None, operator: OperatorProcess, field: str, value: str, message: str
) -> None:
    kube.apply_schedule("odd", **{field: value})
    ready = kube.wait_schedule_ready("odd", "ScheduleRefused")
    assert message in ready["message"]
    body = kube.get("gwbs", "odd")
    kube.apply_schedule("witness")
    kube.wait_schedule_ready("witness", "Scheduled")
    assert kube.get("gwbs", "odd") == body
    kube.apply_schedule("odd")
    kube.wait_schedule_ready("odd", "Scheduled")


def test_rejected_change_leaves_the_cron_job_unchanged(kube: Kube, backup_account: None) -> None:
    kube.apply_schedule("steady")
    kube.wait_schedule_ready("steady", "Scheduled")
    before = kube.require("cronjob", "steady")["spec"]
    kube.apply_schedule("steady", schedule="0 25 * * *")
    kube.wait_schedule_ready("steady", "ScheduleRefused")
    assert kube.require("cronjob", "steady")["spec"] == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("x" * 47, "at most 46 characters"), ("manual", "are reserved"), ("a.b", "must be a DNS label")],
)
def test_invalid_names_are_rejected_with_a_message(kube: Kube, backup_account: None, name: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        kube.apply_schedule(name)


def test_longest_name_is_accepted(kube: Kube, backup_account: None) -> None:
    name = "n" * 46
    kube.apply_schedule(name)
    kube.wait_schedule_ready(name, "Scheduled")
    assert kube.require("cronjob", name)["spec"]["schedule"] == "0 3 1 1 *"


def test_backups_of_its_jobs_are_counted_and_kept_without_the_schedule(
    kube: Kube, backup_account: None, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    kube.apply_schedule("counts")
    kube.wait_schedule_ready("counts", "Scheduled")
    names = [kube.apply_scheduled_backup("counts", job) for job in ("one", "two", "bad")]
    kube.patch_spec("gwb", names[1], {"pinned": True})
    kube.apply_backup("other", group="counts")
    expected = {"completed": 3, "failed": 0, "suspicious": 0, "pinned": 1, "total": 3}
    status = kube.wait_status("gwbs", "counts", lambda status: status.get("backups") == expected)
    assert status["lastBackup"] in names
    assert "active" not in status
    newest = max((kube.status("gwb", name)["snapshotTime"], name) for name in names)
    assert (status["lastSuccessfulTime"], status["lastSuccessfulBackup"]) == newest
    kube.kubectl("delete", f"gwb/{names[2]}")
    kube.wait_status("gwbs", "counts", lambda status: status["backups"]["total"] == 2)
    kube.kubectl("delete", "gwbs/counts")
    wait_for("the CronJob is deleted", lambda: kube.get("cronjob", "counts") is None)
    assert len(kube.items("gwb")) == 3


def test_failed_backup_is_reported_in_the_status(
    kube: Kube, backup_account: None, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    kube.apply_schedule("fails")
    kube.wait_schedule_ready("fails", "Scheduled")
    admin.backup_errors = [ErrorCode.ConfigInvalid]
    name = kube.apply_scheduled_backup("fails", "broken")
    status = kube.wait_status("gwbs", "fails", lambda status: (status.get("backups") or {}).get("failed") == 1)
    assert status["lastFailure"] == f"{name}: ConfigInvalid"
    assert status["lastFailedTime"] == kube.status("gwb", name)["completionTime"]
    assert "lastSuccessfulBackup" not in status


def test_conditions_of_other_writers_are_kept(kube: Kube, backup_account: None) -> None:
    """Retention writes conditions into the same status at any time. The test uses a type that it does not know."""
    kube.apply_schedule("both")
    kube.wait_schedule_ready("both", "Scheduled")
    status = kube.status("gwbs", "both")
    foreign = {
        "type": "Inspected",
        "status": "True",
        "reason": "ByTest",
        "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    kube.patch_status(
        "gwbs", "both", {"conditions": [*status["conditions"], foreign], "retention": {"deletedTotal": 3}}
    )
    kube.patch_spec("gwbs", "both", {"suspend": True})
    kube.wait_schedule_ready("both", "Suspended")
    status = kube.status("gwbs", "both")
    assert foreign in status["conditions"]
    assert status["retention"]["deletedTotal"] == 3
