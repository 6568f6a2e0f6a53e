"""GatewayBackupSchedule and its CronJob on a real API server, with the real CronJob and Job controllers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway_operator.domain.model.names import BACKUP_TEMPLATE
from tests.operator.conftest import IMAGE
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import ScriptedAdmin
from tests.operator.support.workloads import ClusterError, Gateway, Kube, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


@pytest.fixture
def ready(kube: Kube) -> Kube:
    """A namespace with the ServiceAccount of the gateway ``gw``'s schedules."""
    kube.run("create", "serviceaccount", "gw-backup")
    return kube


def cron_job(kube: Kube, name: str) -> dict[str, Any]:
    """A CronJob that is there."""
    found = kube.get("cronjob", name)
    assert found is not None
    return found


def ready_is(kube: Kube, name: str, reason: str, **options: Any) -> dict[str, Any]:
    """Wait for the condition Ready of a schedule."""
    return kube.wait_condition("gwbs", name, "Ready", reason, **options)


def test_a_schedule_owns_a_cron_job_that_does_what_it_says(ready: Kube) -> None:
    ready.schedule(
        "nightly",
        schedule="0 2 * * *",
        timeZone="Europe/Berlin",
        concurrencyPolicy="Replace",
        startingDeadlineSeconds=120,
        successfulJobsHistoryLimit=2,
        failedJobsHistoryLimit=4,
        backupTemplate={"ttl": "30d", "timeoutSeconds": 900, "description": "a $(HOME) of 1$", "retryLimit": 0},
    )
    ready_is(ready, "nightly", "Scheduled")
    body = cron_job(ready, "nightly")
    spec = body["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("0 2 * * *", "Europe/Berlin", "Replace")
    assert (spec["startingDeadlineSeconds"], spec["suspend"]) == (120, False)
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (2, 4)
    (owner,) = body["metadata"]["ownerReferences"]
    schedule = ready.get("gwbs", "nightly")
    assert schedule is not None
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
    assert ready.events("nightly")[0] == ("Normal", "CronJobCreated")
    assert "finalizers" not in schedule["metadata"]


def test_its_pods_are_restricted(ready: Kube) -> None:
    """The API server itself judges: it warns of a template that its namespace would not run."""
    ready.cluster.kubectl("label", "namespace", ready.namespace, "pod-security.kubernetes.io/enforce=restricted")
    ready.schedule("strict")
    ready_is(ready, "strict", "Scheduled")
    ready.run("create", "job", "--from=cronjob/strict", "by-hand")
    pods = until("its pod", lambda: ready.items("pods", labels="batch.kubernetes.io/job-name=by-hand"))
    assert pods[0]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_change_of_the_schedule_is_followed_and_is_no_drift(ready: Kube) -> None:
    ready.schedule("moves")
    ready_is(ready, "moves", "Scheduled")
    ready.schedule("moves", schedule="30 4 * * *", suspend=True)
    ready_is(ready, "moves", "Suspended")
    spec = cron_job(ready, "moves")["spec"]
    assert (spec["schedule"], spec["suspend"]) == ("30 4 * * *", True)
    assert "nextScheduleTime" not in ready.status("gwbs", "moves")
    ready.run("patch", "gwbs", "moves", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    ready_is(ready, "moves", "Scheduled")
    assert cron_job(ready, "moves")["spec"]["suspend"] is False
    assert {kind for kind, _ in ready.events("moves")} == {"Normal"}


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
def test_an_edit_of_the_cron_job_is_put_right_and_told(ready: Kube, patch: dict[str, Any]) -> None:
    ready.schedule("drifts")
    ready_is(ready, "drifts", "Scheduled")
    before = cron_job(ready, "drifts")["spec"]
    ready.run("patch", "cronjob", "drifts", "--type=merge", "-p", json.dumps({"spec": patch}))
    until("the spec as it was", lambda: cron_job(ready, "drifts")["spec"] == before)
    until("the event", lambda: ("Warning", "CronJobRestored") in ready.events("drifts"))


def test_a_deleted_cron_job_is_made_again_and_told(ready: Kube) -> None:
    ready.schedule("returns")
    ready_is(ready, "returns", "Scheduled")
    uid = cron_job(ready, "returns")["metadata"]["uid"]
    ready.run("delete", "cronjob", "returns", "--wait=false")
    until(
        "another one", lambda: (ready.get("cronjob", "returns") or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid
    )
    until("the event", lambda: ("Warning", "CronJobRestored") in ready.events("returns"))


def test_what_happened_while_the_operator_was_down_is_put_right(ready: Kube, operator: OperatorProcess) -> None:
    for name in ("edited", "deleted", "going"):
        ready.schedule(name)
        ready_is(ready, name, "Scheduled")
    before = cron_job(ready, "edited")["spec"]
    operator.kill()
    ready.run("patch", "cronjob", "edited", "--type=merge", "-p", '{"spec":{"schedule":"* * 1 1 *"}}')
    ready.run("delete", "cronjob", "deleted")
    ready.run("delete", "gwbs", "going")
    ready.schedule("new")
    operator.start()
    until("the edit is undone", lambda: cron_job(ready, "edited")["spec"] == before)
    until("it is there again", lambda: ready.get("cronjob", "deleted"))
    ready_is(ready, "new", "Scheduled")
    until("its CronJob goes", lambda: ready.get("cronjob", "going") is None)
    assert ("Warning", "CronJobRestored") in ready.events("edited")


def test_what_others_add_beside_is_left_alone(ready: Kube) -> None:
    """Labels and annotations of other people's tools are no drift."""
    ready.schedule("shared")
    ready_is(ready, "shared", "Scheduled")
    ready.run("label", "cronjob", "shared", "team=a")
    ready.run("annotate", "cronjob", "shared", "note=b")
    version = cron_job(ready, "shared")["metadata"]["resourceVersion"]
    ready.run("patch", "gwbs", "shared", "--type=merge", "-p", '{"spec":{"objective":{"maxAge":"26h"}}}')
    ready_is(ready, "shared", "Scheduled")
    assert cron_job(ready, "shared")["metadata"]["resourceVersion"] == version


def test_a_namesake_is_never_taken_over(ready: Kube) -> None:
    ready.run("create", "cronjob", "taken", "--image=x:1", "--schedule=0 0 1 1 *")
    before = cron_job(ready, "taken")
    ready.schedule("taken")
    said = ready_is(ready, "taken", "NameConflict")
    assert said["status"] == "False"
    assert "give the schedule another name" in said["message"]
    assert cron_job(ready, "taken") == before
    assert ("Warning", "NameConflict") in ready.events("taken")
    ready.run("delete", "gwbs", "taken")
    assert cron_job(ready, "taken") == before
    ready.run("delete", "cronjob", "taken")
    ready.schedule("taken")
    ready_is(ready, "taken", "Scheduled")


def test_a_namesake_that_goes_makes_room(ready: Kube) -> None:
    ready.run("create", "cronjob", "later", "--image=x:1", "--schedule=0 0 1 1 *")
    ready.schedule("later")
    ready_is(ready, "later", "NameConflict")
    ready.run("delete", "cronjob", "later")
    ready_is(ready, "later", "Scheduled", timeout=60)


def test_without_its_service_account_it_says_which_command_makes_it(kube: Kube) -> None:
    kube.schedule("homeless")
    said = ready_is(kube, "homeless", "ServiceAccountMissing")
    assert said["status"] == "False"
    assert kube.get("cronjob", "homeless") is None
    line = said["message"].partition("by hand: ")[2]
    for command in line.split(" && "):
        program, *arguments = command.split()
        assert program == "kubectl"
        kube.cluster.kubectl(*arguments)
    ready_is(kube, "homeless", "Scheduled", timeout=60)
    who = f"--as=system:serviceaccount:{kube.namespace}:gw-backup"
    for verb, answer in (("create", "yes"), ("get", "yes"), ("watch", "yes"), ("list", "no"), ("delete", "no")):
        assert kube.run("auth", "can-i", verb, "gatewaybackups.mcpgateway.dev", who, check=False).strip() == answer


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("schedule", "61 2 * * *", "end of range (61) above maximum (59)"),
        ("timeZone", "Mars/Olympus", "unknown time zone"),
    ],
    ids=["schedule", "timeZone"],
)
def test_what_the_api_server_refuses_is_told_in_its_words_and_not_tried_for_ever(
    ready: Kube, operator: OperatorProcess, field: str, value: str, sentence: str
) -> None:
    ready.schedule("odd", **{field: value})
    said = ready_is(ready, "odd", "ScheduleRefused")
    assert sentence in said["message"]
    body = ready.get("gwbs", "odd")
    ready.schedule("witness")
    ready_is(ready, "witness", "Scheduled")
    assert ready.get("gwbs", "odd") == body
    ready.schedule("odd")
    ready_is(ready, "odd", "Scheduled")


def test_a_refused_change_leaves_the_cron_job_as_it_was(ready: Kube) -> None:
    ready.schedule("steady")
    ready_is(ready, "steady", "Scheduled")
    before = cron_job(ready, "steady")["spec"]
    ready.schedule("steady", schedule="0 25 * * *")
    ready_is(ready, "steady", "ScheduleRefused")
    assert cron_job(ready, "steady")["spec"] == before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("x" * 47, "at most 46 characters"), ("manual", "are reserved"), ("a.b", "must be a DNS label")],
)
def test_a_name_that_cannot_be_is_refused(ready: Kube, name: str, sentence: str) -> None:
    with pytest.raises(ClusterError, match=sentence):
        ready.schedule(name)


def test_the_longest_name_works(ready: Kube) -> None:
    name = "n" * 46
    ready.schedule(name)
    ready_is(ready, name, "Scheduled")
    assert cron_job(ready, name)["spec"]["schedule"] == "0 3 1 1 *"


def test_its_backups_are_counted_by_group_and_stay_when_it_goes(
    ready: Kube, gateway: Gateway, admin: ScriptedAdmin
) -> None:
    ready.schedule("counts")
    ready_is(ready, "counts", "Scheduled")
    ready.backup("one", group="counts")
    ready.backup("two", group="counts", pinned=True)
    ready.backup("other", group="elsewhere")
    ready.backup("bad", group="counts", gatewayRef={"name": "gw"}, startingDeadlineSeconds=300)
    wanted = {"completed": 3, "failed": 0, "suspicious": 0, "pinned": 1, "total": 3}
    status = ready.wait_status("gwbs", "counts", lambda status: status.get("backups") == wanted)
    assert status["lastBackup"] in ("one", "two", "bad")
    assert "active" not in status
    newest = max((ready.status("gwb", name)["snapshotTime"], name) for name in ("one", "two", "bad"))
    assert (status["lastSuccessfulTime"], status["lastSuccessfulBackup"]) == newest
    ready.run("delete", "gwb/bad")
    ready.wait_status("gwbs", "counts", lambda status: status["backups"]["total"] == 2)
    ready.run("delete", "gwbs/counts")
    until("the CronJob is gone", lambda: ready.get("cronjob", "counts") is None)
    assert len(ready.items("gwb")) == 3


def test_a_failure_is_told(ready: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    from gateway_api.contract import ErrorCode

    ready.schedule("fails")
    ready_is(ready, "fails", "Scheduled")
    admin.refuse_backups = [ErrorCode.ConfigInvalid]
    ready.backup("broken", group="fails")
    status = ready.wait_status("gwbs", "fails", lambda status: (status.get("backups") or {}).get("failed") == 1)
    assert status["lastFailure"] == "broken: ConfigInvalid"
    assert status["lastFailedTime"] == ready.status("gwb", "broken")["completionTime"]
    assert "lastSuccessfulBackup" not in status


def test_other_peoples_conditions_are_kept(ready: Kube) -> None:
    """Retention writes conditions of the same status, at any moment: hence one of which it knows nothing."""
    ready.schedule("both")
    ready_is(ready, "both", "Scheduled")
    status = ready.status("gwbs", "both")
    mine = {
        "type": "LookedAt",
        "status": "True",
        "reason": "BySomebody",
        "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    ready.patch_status("gwbs", "both", {"conditions": [*status["conditions"], mine], "retention": {"deletedTotal": 3}})
    ready.run("patch", "gwbs", "both", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    ready_is(ready, "both", "Suspended")
    status = ready.status("gwbs", "both")
    assert mine in status["conditions"]
    assert status["retention"]["deletedTotal"] == 3
