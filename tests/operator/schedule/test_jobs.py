"""The Jobs of a schedule: the real CronJob and Job controllers create pods, and the test runs their command.

No node runs pods here. The command of a pod is started as a process with the pod's arguments, environment and
permissions. The test reports the end of the pod as a kubelet would. The schedules that are due each minute start with
the module, so that the other tests run while these wait.
"""

from __future__ import annotations

import json
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway_api.contract import ErrorCode
from gateway_operator.domain.model.names import SCHEDULE_LABEL, job_backup_name
from tests.cluster import Cluster
from tests.cluster.fixtures import create_namespace
from tests.operator.support.kubectl_gateway import KubectlGateway, wait_for_exit
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube, random_loopback_address, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "gw-backup"},
    "rules": [{"apiGroups": ["mcpgateway.dev"], "resources": ["gatewaybackups"], "verbs": ["create", "get", "watch"]}],
}


def create_backup_account(kube: Kube) -> None:
    """Create the ServiceAccount for the Jobs of the gateway's schedules, with the Role of the chart."""
    kube.kubectl("create", "serviceaccount", "gw-backup")
    kube.apply(ROLE)
    kube.kubectl(
        "create", "rolebinding", "gw-backup", "--role=gw-backup", f"--serviceaccount={kube.namespace}:gw-backup"
    )


@pytest.fixture
def pod_cli(kube: Kube, gateway: GatewayDeployment, tmp_path: Path) -> KubectlGateway:
    """``kubectl-gateway`` with the permissions of the Jobs' ServiceAccount."""
    create_backup_account(kube)
    return KubectlGateway.as_account(kube, "gw-backup", tmp_path)


@dataclass(frozen=True)
class EachMinute:
    """A namespace with schedules that are due each minute, and the command of their pods."""

    kube: Kube
    pod_cli: KubectlGateway


@pytest.fixture(scope="module", autouse=True)
def each_minute(
    cluster_with_crds: Cluster, operator: OperatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EachMinute]:
    """Schedules with each concurrency policy, a suspended one, and one whose Job ends without a backup."""
    name = f"each-minute-{secrets.token_hex(3)}"
    create_namespace(cluster_with_crds, name)
    kube = Kube(cluster_with_crds, name)
    with ScriptedAdminApi(random_loopback_address()) as server:
        GatewayDeployment(kube, server.host, server.key).create()
        create_backup_account(kube)
        for title, spec in (
            ("allow", {"concurrencyPolicy": "Allow"}),
            ("forbid", {"concurrencyPolicy": "Forbid"}),
            ("replace", {"concurrencyPolicy": "Replace"}),
            ("broken", {"concurrencyPolicy": "Forbid"}),
            ("suspended", {"suspend": True}),
        ):
            kube.apply_schedule(title, schedule="* * * * *", **spec)
        yield EachMinute(kube, KubectlGateway.as_account(kube, "gw-backup", tmp_path_factory.mktemp("pods")))
    cluster_with_crds.rest.delete("namespace", "", name)


def pods(kube: Kube, job: str) -> list[dict[str, Any]]:
    """The pods of a Job."""
    return kube.items("pods", labels=f"batch.kubernetes.io/job-name={job}")


def first_pod(kube: Kube, job: str) -> dict[str, Any]:
    """Wait for a pod of the Job."""
    job_pods: list[dict[str, Any]] = wait_for(f"a pod of {job}", lambda: pods(kube, job))
    return job_pods[0]


def backup_of(kube: Kube, job: str) -> str:
    """The name of the GatewayBackup of a Job."""
    return job_backup_name(job, kube.require("job", job)["metadata"]["uid"])


def report_exit(kube: Kube, pod: dict[str, Any], code: int) -> None:
    """Write the exit code of the pod's container into its status, as the kubelet does."""
    state = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}}
    container = {"name": "backup", "ready": False, "restartCount": 0, "image": "x", "imageID": "x", "state": state}
    status = {"phase": "Succeeded" if code == 0 else "Failed", "containerStatuses": [container]}
    kube.patch_status("pod", pod["metadata"]["name"], status)


def true_condition(kube: Kube, job: str, kind: str) -> Any:
    """The condition of a Job if its status is True, otherwise None."""
    conditions = (kube.get("job", job) or {}).get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), None)


def start_job(kube: Kube, job: str) -> dict[str, Any]:
    """Start a Job of the schedule `nightly` as `kubectl create job` does. Returns its pod."""
    kube.kubectl("create", "job", "--from=cronjob/nightly", job)
    return first_pod(kube, job)


def run_pod(pod_cli: KubectlGateway, pod: dict[str, Any], code: int = 0) -> str:
    """Run the command of a pod to its end and check its exit code. Returns its output."""
    exit_code, output = wait_for_exit(pod_cli.start_as_pod(pod))
    assert exit_code == code, output
    return output


def create_schedule(kube: Kube, name: str = "nightly", **spec: Any) -> None:
    """Create a schedule that is not due during the test, and wait until it is ready."""
    kube.apply_schedule(name, **spec)
    kube.wait_schedule_ready(name, "Scheduled")


def test_manual_job_of_the_cron_job_creates_a_scheduled_backup(kube: Kube, pod_cli: KubectlGateway) -> None:
    create_schedule(
        kube, backupTemplate={"ttl": "30d", "description": "of $(HOME)", "verification": {"level": "Verified"}}
    )
    pod = start_job(kube, "by-hand")
    run_pod(pod_cli, pod)
    name = backup_of(kube, "by-hand")
    backup = kube.require("gwb", name)
    assert backup["spec"]["job"] == {"name": "by-hand", "uid": kube.require("job", "by-hand")["metadata"]["uid"]}
    assert (backup["status"]["origin"], backup["status"]["schedule"]) == ("Schedule", "nightly")
    cron_job = kube.require("cronjob", "nightly")["metadata"]["uid"]
    assert kube.status("gwbs", "nightly")["cronJobUID"] == cron_job
    assert backup["metadata"]["labels"][SCHEDULE_LABEL] == "nightly"
    assert "ownerReferences" not in backup["metadata"]
    assert backup["spec"]["group"] == "nightly"
    assert (backup["spec"]["ttl"], backup["spec"]["description"]) == ("30d", "of $(HOME)")
    report_exit(kube, pod, 0)
    wait_for("the Job is complete", lambda: true_condition(kube, "by-hand", "Complete"))
    status = kube.wait_status("gwbs", "nightly", lambda status: status.get("lastSuccessfulBackup") == name)
    assert status["backups"]["completed"] == 1
    kube.kubectl("delete", "job", "by-hand")
    assert kube.get("gwb", name) is not None


def test_schedule_run_starts_a_job_and_waits(kube: Kube, pod_cli: KubectlGateway) -> None:
    create_schedule(kube)
    admin_cli = KubectlGateway.as_admin(kube)
    process = admin_cli.start("schedule", "run", "nightly", "--wait", "-n", kube.namespace)
    (job,) = wait_for("a Job", lambda: kube.items("jobs"))
    assert job["metadata"]["ownerReferences"][0]["name"] == "nightly"
    run_pod(pod_cli, first_pod(kube, job["metadata"]["name"]))
    code, output = wait_for_exit(process)
    assert code == 0, output
    assert f"{backup_of(kube, job['metadata']['name'])} completed" in output


@pytest.mark.parametrize("stop_signal", [signal.SIGKILL, signal.SIGTERM])
def test_retried_pod_continues_the_backup_of_its_job(
    kube: Kube, pod_cli: KubectlGateway, admin: ScriptedAdminApi, stop_signal: signal.Signals
) -> None:
    create_schedule(kube)
    pod = start_job(kube, "retried")
    admin.backup_seconds = 4
    process = pod_cli.start_as_pod(pod)
    wait_for("the backup call", lambda: admin.backup_requests)
    process.send_signal(stop_signal)
    code, output = wait_for_exit(process)
    assert code != 0, output
    report_exit(kube, pod, 137)
    second = wait_for(
        "another pod",
        lambda: [one for one in pods(kube, "retried") if one["metadata"]["uid"] != pod["metadata"]["uid"]],
    )
    run_pod(pod_cli, second[0])
    assert [one["metadata"]["name"] for one in kube.items("gwb")] == [backup_of(kube, "retried")]
    assert len(admin.backups) == 1


def test_pod_killed_at_any_moment_creates_no_second_backup(
    kube: Kube, pod_cli: KubectlGateway, admin: ScriptedAdminApi
) -> None:
    """The process is killed at different moments of its start, then runs once to its end."""
    create_schedule(kube)
    pod = start_job(kube, "unlucky")
    for delay in (0.3, 0.6, 0.9, 1.2, 1.5, 2.0):
        process = pod_cli.start_as_pod(pod)
        time.sleep(delay)
        process.kill()
        wait_for_exit(process)
    run_pod(pod_cli, pod)
    assert [one["metadata"]["name"] for one in kube.items("gwb")] == [backup_of(kube, "unlucky")]
    assert len(admin.backups) == 1


def test_concurrent_pods_of_one_job_create_one_backup(
    kube: Kube, pod_cli: KubectlGateway, admin: ScriptedAdminApi
) -> None:
    create_schedule(kube)
    pod = start_job(kube, "twice")
    for process in [pod_cli.start_as_pod(pod) for _ in range(3)]:
        code, output = wait_for_exit(process)
        assert code == 0, output
    assert len(kube.items("gwb")) == 1
    assert len(admin.backups) == 1


def test_new_job_of_a_used_name_makes_a_backup_of_its_own(
    kube: Kube, pod_cli: KubectlGateway, admin: ScriptedAdminApi
) -> None:
    create_schedule(kube)
    pod = start_job(kube, "again")
    run_pod(pod_cli, pod)
    first = backup_of(kube, "again")
    kube.kubectl("delete", "job", "again")
    kube.kubectl("create", "job", "--from=cronjob/nightly", "again")
    uid = kube.require("job", "again")["metadata"]["uid"]
    pod = wait_for(
        "its pod", lambda: [one for one in pods(kube, "again") if one["metadata"]["labels"]["controller-uid"] == uid]
    )[0]
    run_pod(pod_cli, pod)
    assert {one["metadata"]["name"] for one in kube.items("gwb")} == {first, backup_of(kube, "again")}
    assert len(admin.backups) == 2


def test_job_of_a_failed_backup_fails_without_retry(
    kube: Kube, pod_cli: KubectlGateway, admin: ScriptedAdminApi
) -> None:
    create_schedule(kube)
    admin.backup_errors = [ErrorCode.ConfigInvalid]
    pod = start_job(kube, "fails")
    output = run_pod(pod_cli, pod, code=1)
    assert "ConfigInvalid" in output
    report_exit(kube, pod, 1)
    wait_for("the Job has failed", lambda: true_condition(kube, "fails", "Failed"))
    assert len(pods(kube, "fails")) == 1


def test_operator_killed_during_a_job_creates_no_second_backup(
    kube: Kube, pod_cli: KubectlGateway, admin: ScriptedAdminApi, operator: OperatorProcess
) -> None:
    create_schedule(kube)
    pod = start_job(kube, "crash")
    admin.backup_seconds = 3
    process = pod_cli.start_as_pod(pod)
    wait_for("the backup call", lambda: admin.backup_requests)
    operator.kill()
    operator.start()
    code, output = wait_for_exit(process)
    assert code == 0, output
    assert len(kube.items("gwb")) == 1
    assert len(admin.backups) == 1


def test_deleting_a_schedule_keeps_its_running_backup(
    kube: Kube, pod_cli: KubectlGateway, admin: ScriptedAdminApi
) -> None:
    create_schedule(kube)
    pod = start_job(kube, "flight")
    admin.backup_seconds = 4
    process = pod_cli.start_as_pod(pod)
    wait_for("the backup call", lambda: admin.backup_requests)
    name = backup_of(kube, "flight")
    kube.kubectl("delete", "gwbs", "nightly")
    wait_for("the Job goes", lambda: kube.get("job", "flight") is None)
    process.kill()
    wait_for_exit(process)
    kube.wait_phase("gwb", name, "Completed")
    assert len(admin.backups) == 1


def test_account_of_the_pods_has_no_other_permission(kube: Kube, pod_cli: KubectlGateway) -> None:
    for words in (("backup", "list"), ("schedule", "list"), ("backup", "pin", "x"), ("restore", "list")):
        assert "forbidden" in pod_cli.run(*words, code=1).stderr


def scheduled_jobs(kube: Kube, name: str) -> list[dict[str, Any]]:
    """The Jobs of a schedule that the CronJob controller has started, without those started by users."""
    jobs = kube.items("jobs", labels=f"{SCHEDULE_LABEL}={name}")
    return [one for one in jobs if "cronjob.kubernetes.io/instantiate" not in one["metadata"].get("annotations", {})]


def newest_run(kube: Kube, name: str) -> str:
    """The time in the name of the newest Job of a schedule, which the CronJob controller appends; empty without one."""
    return max((one["metadata"]["name"].rpartition("-")[2] for one in scheduled_jobs(kube, name)), default="")


def test_job_that_ends_without_a_backup_makes_the_schedule_not_ready(each_minute: EachMinute) -> None:
    kube = each_minute.kube

    def fail_and_look() -> Any:
        # A run that was due meanwhile starts as soon as the last one has failed.
        for job in scheduled_jobs(kube, "broken"):
            for pod in pods(kube, job["metadata"]["name"]):
                if pod["status"].get("phase") == "Pending":
                    report_exit(kube, pod, 2)
        conditions = kube.status("gwbs", "broken").get("conditions", [])
        return next((one for one in conditions if (one["type"], one["reason"]) == ("Ready", "JobFailed")), None)

    condition = wait_for("the schedule reports it", fail_and_look, timeout=120)
    assert condition["status"] == "False"
    assert "PodFailurePolicy" in condition["message"]
    assert "exit code 2" in condition["message"]


def test_cron_job_controller_obeys_suspend_and_concurrency_policy(each_minute: EachMinute) -> None:
    """No pod ends, so each run overlaps the previous one."""
    kube = each_minute.kube
    kube.wait_schedule_ready("suspended", "Suspended")
    wait_for("two Jobs", lambda: len(scheduled_jobs(kube, "allow")) >= 2, timeout=190)
    assert len(scheduled_jobs(kube, "forbid")) == 1
    assert scheduled_jobs(kube, "suspended") == []
    wait_for("the older one is replaced", lambda: newest_run(kube, "replace") == newest_run(kube, "allow"))
    assert len(scheduled_jobs(kube, "replace")) == 1
    job = scheduled_jobs(kube, "forbid")[0]["metadata"]["name"]
    assert job.startswith("forbid-")
    status = kube.wait_status("gwbs", "forbid", lambda status: status.get("lastScheduleTime"))
    assert status["nextScheduleTime"] > status["lastScheduleTime"]
    run_pod(each_minute.pod_cli, first_pod(kube, job))
    assert kube.require("gwb", backup_of(kube, job))["spec"]["group"] == "forbid"
    assert json.loads(kube.kubectl("get", "gwbs", "forbid", "-o", "json"))["status"]["backups"]["total"] in (0, 1)
