"""Drills of a schedule on a real API server, with the real CronJob, Job and garbage collection controllers.

The pod's command runs as a process with the permissions of its ServiceAccount. The result of a drill is written by the
test: the node tests make real drills.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from gateway_operator.domain.model.names import SCHEDULE_LABEL, job_backup_name
from tests.operator.schedule.test_jobs import ROLE, create_backup_account, first_pod, pods, report_exit, run_pod
from tests.operator.support.kubectl_gateway import KubectlGateway, wait_for_exit
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.workloads import GatewayDeployment, Kube, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
DRILL = {"schedule": "0 5 1 1 *", "timeoutSeconds": 60}
TIME = "2026-01-01T05:02:00Z"


@pytest.fixture
def pod_cli(kube: Kube, gateway: GatewayDeployment, tmp_path: Path) -> KubectlGateway:
    """``kubectl-gateway`` with the permissions of the Jobs' ServiceAccount, including drills."""
    create_backup_account(kube)
    verbs = {"apiGroups": ["mcpgateway.dev"], "resources": ["gatewayrestores"], "verbs": ["create", "get", "watch"]}
    kube.apply({**ROLE, "rules": [*ROLE["rules"], verbs]})
    return KubectlGateway.as_account(kube, "gw-backup", tmp_path)


def create_schedule(kube: Kube) -> None:
    """Create a schedule with drills, neither of which is due, and wait for both CronJobs."""
    kube.apply_schedule("nightly", drill=DRILL)
    kube.wait_schedule_ready("nightly", "Scheduled")
    wait_for("the CronJob of the drills", lambda: kube.get("cronjob", "nightly-drill"))


def start_drill(kube: Kube, job: str) -> tuple[dict[str, Any], str]:
    """Start a Job of the drills. Returns its pod and the name of its drill."""
    kube.kubectl("create", "job", "--from=cronjob/nightly-drill", job)
    return first_pod(kube, job), job_backup_name(job, kube.require("job", job)["metadata"]["uid"])


def finish(kube: Kube, drill: str, phase: str, reason: str) -> None:
    """Write the result of a drill into its status, as the operator does."""
    ends = [("Finished", True), ("Completed", phase == "Completed"), ("Failed", phase == "Failed")]
    conditions = [
        {"type": kind, "status": str(holds), "reason": reason, "message": "m", "lastTransitionTime": TIME}
        for kind, holds in ends
    ]
    status = {"phase": phase, "reason": reason, "message": "m", "completionTime": TIME, "conditions": conditions}
    kube.patch_status("gwr", drill, {**status, "source": {"backupName": "b"}})


def owner(kube: Kube, drill: str) -> dict[str, Any] | None:
    """The owner of a drill; None without one."""
    owners: list[dict[str, Any]] = kube.require("gwr", drill)["metadata"].get("ownerReferences", [])
    return owners[0] if owners else None


def test_job_creates_one_drill_that_ends_with_its_job(
    kube: Kube, pod_cli: KubectlGateway, operator: OperatorProcess
) -> None:
    create_schedule(kube)
    # Without the operator the test can write the result. It is read after the start, also after a crash.
    operator.kill()
    pod, drill = start_drill(kube, "by-hand")
    for stop_signal in (signal.SIGKILL, signal.SIGTERM):
        process = pod_cli.start_as_pod(pod)
        wait_for("the drill", lambda: kube.get("gwr", drill))
        process.send_signal(stop_signal)
        assert wait_for_exit(process)[0] != 0
    body = kube.require("gwr", drill)
    assert body["metadata"]["labels"] == {SCHEDULE_LABEL: "nightly"}
    spec = body["spec"]
    assert (spec["mode"], spec["latest"], spec["timeoutSeconds"]) == ("Drill", {"group": "nightly"}, 60)
    assert spec["job"] == {"name": "by-hand", "uid": kube.require("job", "by-hand")["metadata"]["uid"]}

    finish(kube, drill, "Completed", "Drilled")
    assert f"{drill} completed" in run_pod(pod_cli, pod)
    assert [one["metadata"]["name"] for one in kube.items("gwr")] == [drill]
    operator.start()
    condition = kube.wait_condition("gwbs", "nightly", "Drilled", "Drilled")
    assert condition["status"] == "True"
    status = kube.status("gwbs", "nightly")["drill"]
    assert (status["lastName"], status["lastSuccessfulTime"], status["lastSuccessfulBackup"]) == (drill, TIME, "b")
    assert status["nextTime"].endswith("-01-01T05:00:00Z")
    wait_for("the drill is owned by its Job", lambda: (owner(kube, drill) or {}).get("name") == "by-hand")

    kube.kubectl("delete", "job", "by-hand")
    wait_for("the drill is deleted with its Job", lambda: kube.get("gwr", drill) is None)
    kube.wait_condition("gwbs", "nightly", "Drilled", "Drilled")
    assert kube.status("gwbs", "nightly")["drill"]["lastName"] == drill


def test_failed_drill_fails_its_job_and_the_condition(
    kube: Kube, pod_cli: KubectlGateway, operator: OperatorProcess
) -> None:
    create_schedule(kube)
    operator.kill()
    pod, drill = start_drill(kube, "fails")
    process = pod_cli.start_as_pod(pod)
    wait_for("the drill", lambda: kube.get("gwr", drill))
    finish(kube, drill, "Failed", "CountsDiffer")
    code, output = wait_for_exit(process)
    assert code == 1, output
    assert "CountsDiffer" in output
    report_exit(kube, pod, 1)
    operator.start()
    condition = kube.wait_condition("gwbs", "nightly", "Drilled", "CountsDiffer")
    assert condition["status"] == "False"
    assert kube.wait_condition("gwbs", "nightly", "Ready", "Scheduled")["status"] == "True"
    assert len(pods(kube, "fails")) == 1


def test_drill_of_another_creator_is_not_counted(kube: Kube, pod_cli: KubectlGateway) -> None:
    """Its creator names a Job that the CronJob of the drills does not control."""
    create_schedule(kube)
    kube.kubectl("create", "job", "--from=cronjob/nightly", "other")
    uid = kube.require("job", "other")["metadata"]["uid"]
    name = job_backup_name("other", uid)
    spec = {"mode": "Drill", "backupName": "none", "job": {"name": "other", "uid": uid}}
    kube.apply_restore(name, **spec)
    kube.wait_phase("gwr", name, "Failed")
    kube.patch_spec("gwbs", "nightly", {"objective": {"maxAge": "1d"}})
    kube.wait_schedule_ready("nightly", "Scheduled")
    assert owner(kube, name) is None
    assert "lastName" not in kube.status("gwbs", "nightly")["drill"]


def test_removed_drill_removes_its_cron_job(kube: Kube, pod_cli: KubectlGateway) -> None:
    create_schedule(kube)
    kube.patch_spec("cronjob", "nightly-drill", {"suspend": True})
    wait_for("the edit is undone", lambda: not kube.require("cronjob", "nightly-drill")["spec"]["suspend"])
    kube.patch_spec("gwbs", "nightly", {"suspend": True})
    wait_for("it is suspended", lambda: kube.require("cronjob", "nightly-drill")["spec"]["suspend"])
    kube.patch_spec("gwbs", "nightly", {"drill": None})
    wait_for("it is deleted", lambda: kube.get("cronjob", "nightly-drill") is None)
    kube.wait_event("nightly", "Normal", "CronJobDeleted")
    assert kube.get("cronjob", "nightly") is not None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"mode": "Apply", "job": {"name": "j", "uid": "12345"}}, "job is for mode Drill"),
        ({"job": {"name": "j", "uid": "12345"}}, "job is for mode Drill"),
    ],
    ids=str,
)
def test_api_server_refuses_a_job_outside_of_drills(kube: Kube, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        kube.apply_restore("x", latest={}, **spec)
