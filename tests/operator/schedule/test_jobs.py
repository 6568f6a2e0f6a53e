"""The Jobs of a schedule: the real CronJob and Job controllers make pods, and the test runs what is in them.

Nothing runs pods here; each program is started as a process with the arguments, the environment and the rights that its
pod would give it, and dies as its pod would.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gateway_api.contract import ErrorCode
from gateway_operator.domain.model.names import JOB_UID, SCHEDULE_LABEL
from tests.operator.schedule.test_schedule import ready_is
from tests.operator.support.kubectl_gateway import Plugin, ended
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import ScriptedAdmin
from tests.operator.support.workloads import Gateway, Kube, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "gw-backup"},
    "rules": [{"apiGroups": ["mcpgateway.dev"], "resources": ["gatewaybackups"], "verbs": ["create", "get", "watch"]}],
}


def account(kube: Kube) -> None:
    """The ServiceAccount of the gateway's schedules, as the chart makes it."""
    kube.run("create", "serviceaccount", "gw-backup")
    kube.apply(ROLE)
    kube.run("create", "rolebinding", "gw-backup", "--role=gw-backup", f"--serviceaccount={kube.namespace}:gw-backup")


@pytest.fixture
def pod_of(kube: Kube, gateway: Gateway, tmp_path: Path) -> Plugin:
    """The program under the account of the schedules' pods."""
    account(kube)
    return Plugin.of(kube, "gw-backup", tmp_path)


def pods(kube: Kube, job: str) -> list[dict[str, Any]]:
    """The pods that the Job controller has made of a Job."""
    return kube.items("pods", labels=f"batch.kubernetes.io/job-name={job}")


def first_pod(kube: Kube, job: str) -> dict[str, Any]:
    """Its first pod."""
    found: list[dict[str, Any]] = until(f"a pod of {job}", lambda: pods(kube, job))
    return found[0]


def phase(kube: Kube, pod: dict[str, Any], code: int) -> None:
    """Report the end of a pod's container, as the kubelet does."""
    state = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}}
    container = {"name": "backup", "ready": False, "restartCount": 0, "image": "x", "imageID": "x", "state": state}
    status = {"phase": "Succeeded" if code == 0 else "Failed", "containerStatuses": [container]}
    kube.patch_status("pod", pod["metadata"]["name"], status)


def condition(kube: Kube, job: str, kind: str) -> Any:
    """A condition of a Job."""
    found = (kube.get("job", job) or {}).get("status", {}).get("conditions", [])
    return next((one for one in found if one["type"] == kind and one["status"] == "True"), None)


def scheduled(kube: Kube, name: str = "nightly", **spec: Any) -> None:
    """A schedule that is far from due."""
    kube.schedule(name, **spec)
    ready_is(kube, name, "Scheduled")


def test_a_job_by_hand_makes_the_backup_of_its_own_name(kube: Kube, pod_of: Plugin) -> None:
    scheduled(kube, backupTemplate={"ttl": "30d", "description": "of $(HOME)", "verification": {"level": "Verified"}})
    kube.run("create", "job", "--from=cronjob/nightly", "by-hand")
    pod = first_pod(kube, "by-hand")
    code, said = ended(pod_of.as_pod(pod))
    assert code == 0, said
    backup = kube.get("gwb", "by-hand")
    assert backup is not None
    assert backup["metadata"]["annotations"][JOB_UID] == (kube.get("job", "by-hand") or {})["metadata"]["uid"]
    assert backup["metadata"]["labels"][SCHEDULE_LABEL] == "nightly"
    assert "ownerReferences" not in backup["metadata"]
    assert backup["spec"]["group"] == "nightly"
    assert (backup["spec"]["ttl"], backup["spec"]["description"]) == ("30d", "of $(HOME)")
    phase(kube, pod, code)
    until("the Job is done", lambda: condition(kube, "by-hand", "Complete"))
    status = kube.wait_status("gwbs", "nightly", lambda status: status.get("lastSuccessfulBackup") == "by-hand")
    assert status["backups"]["completed"] == 1
    kube.run("delete", "job", "by-hand")
    assert kube.get("gwb", "by-hand") is not None


def test_run_starts_a_job_of_the_schedule(kube: Kube, pod_of: Plugin) -> None:
    scheduled(kube)
    person = Plugin.of(kube)
    process = person.start("schedule", "run", "nightly", "--wait", "-n", kube.namespace)
    (job,) = until("a Job", lambda: kube.items("jobs"))
    assert job["metadata"]["ownerReferences"][0]["name"] == "nightly"
    code, said = ended(pod_of.as_pod(first_pod(kube, job["metadata"]["name"])))
    assert code == 0, said
    code, said = ended(process)
    assert code == 0, said
    assert f"{job['metadata']['name']} completed" in said


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_pod_that_is_retried_finds_the_backup_of_its_job(
    kube: Kube, pod_of: Plugin, admin: ScriptedAdmin, sign: signal.Signals
) -> None:
    scheduled(kube)
    kube.run("create", "job", "--from=cronjob/nightly", "retried")
    admin.slow = 4
    pod = first_pod(kube, "retried")
    process = pod_of.as_pod(pod)
    until("the call", lambda: admin.bodies)
    process.send_signal(sign)
    code, said = ended(process)
    assert code != 0, said
    phase(kube, pod, 137)
    second = until(
        "another pod",
        lambda: [one for one in pods(kube, "retried") if one["metadata"]["uid"] != pod["metadata"]["uid"]],
    )
    code, said = ended(pod_of.as_pod(second[0]))
    assert code == 0, said
    assert [one["metadata"]["name"] for one in kube.items("gwb")] == ["retried"]
    assert len(admin.backups) == 1


def test_a_pod_that_dies_right_after_its_create_makes_no_second(
    kube: Kube, pod_of: Plugin, admin: ScriptedAdmin
) -> None:
    """Killed at different moments of its start, a pod a time, until one lives."""
    scheduled(kube)
    kube.run("create", "job", "--from=cronjob/nightly", "unlucky")
    pod = first_pod(kube, "unlucky")
    for delay in (0.3, 0.6, 0.9, 1.2, 1.5, 2.0):
        process = pod_of.as_pod(pod)
        time.sleep(delay)
        process.kill()
        ended(process)
    code, said = ended(pod_of.as_pod(pod))
    assert code == 0, said
    assert [one["metadata"]["name"] for one in kube.items("gwb")] == ["unlucky"]
    assert len(admin.backups) == 1


def test_two_pods_of_one_job_at_once_make_one_backup(kube: Kube, pod_of: Plugin, admin: ScriptedAdmin) -> None:
    scheduled(kube)
    kube.run("create", "job", "--from=cronjob/nightly", "twice")
    pod = first_pod(kube, "twice")
    for process in [pod_of.as_pod(pod) for _ in range(3)]:
        code, said = ended(process)
        assert code == 0, said
    assert len(kube.items("gwb")) == 1
    assert len(admin.backups) == 1


def test_another_job_of_the_same_name_is_an_error(kube: Kube, pod_of: Plugin, admin: ScriptedAdmin) -> None:
    scheduled(kube)
    kube.run("create", "job", "--from=cronjob/nightly", "again")
    code, said = ended(pod_of.as_pod(first_pod(kube, "again")))
    assert code == 0, said
    kube.run("delete", "job", "again")
    kube.run("create", "job", "--from=cronjob/nightly", "again")
    uid = (kube.get("job", "again") or {})["metadata"]["uid"]
    pod = until(
        "its pod", lambda: [one for one in pods(kube, "again") if one["metadata"]["labels"]["controller-uid"] == uid]
    )[0]
    code, said = ended(pod_of.as_pod(pod))
    assert code == 1
    assert "another Job of this name" in said
    assert len(admin.backups) == 1
    kube.backup("plain")
    kube.run("create", "job", "--from=cronjob/nightly", "plain")
    code, said = ended(pod_of.as_pod(first_pod(kube, "plain")))
    assert code == 1
    assert "was created by another user or controller" in said


def test_a_job_fails_when_its_backup_fails_and_is_not_retried(kube: Kube, pod_of: Plugin, admin: ScriptedAdmin) -> None:
    scheduled(kube)
    admin.refuse_backups = [ErrorCode.ConfigInvalid]
    kube.run("create", "job", "--from=cronjob/nightly", "fails")
    pod = first_pod(kube, "fails")
    code, said = ended(pod_of.as_pod(pod))
    assert code == 1
    assert "ConfigInvalid" in said
    phase(kube, pod, code)
    until("the Job has failed", lambda: condition(kube, "fails", "Failed"))
    assert len(pods(kube, "fails")) == 1


def test_an_operator_that_is_killed_meanwhile_makes_no_second(
    kube: Kube, pod_of: Plugin, admin: ScriptedAdmin, operator: OperatorProcess
) -> None:
    scheduled(kube)
    kube.run("create", "job", "--from=cronjob/nightly", "crash")
    admin.slow = 3
    process = pod_of.as_pod(first_pod(kube, "crash"))
    until("the call", lambda: admin.bodies)
    operator.kill()
    operator.start()
    code, said = ended(process)
    assert code == 0, said
    assert len(kube.items("gwb")) == 1
    assert len(admin.backups) == 1


def test_a_schedule_deleted_in_the_middle_of_a_backup_keeps_it(
    kube: Kube, pod_of: Plugin, admin: ScriptedAdmin
) -> None:
    scheduled(kube)
    kube.run("create", "job", "--from=cronjob/nightly", "flight")
    admin.slow = 4
    process = pod_of.as_pod(first_pod(kube, "flight"))
    until("the call", lambda: admin.bodies)
    kube.run("delete", "gwbs", "nightly")
    until("the Job goes", lambda: kube.get("job", "flight") is None, timeout=40)
    process.kill()
    ended(process)
    kube.wait_phase("gwb", "flight", "Completed")
    assert len(admin.backups) == 1


def test_the_account_of_the_pods_may_do_nothing_else(kube: Kube, pod_of: Plugin) -> None:
    for words in (("backup", "list"), ("schedule", "list"), ("backup", "pin", "x"), ("restore", "list")):
        assert "forbidden" in pod_of.run(*words, code=1).stderr


def due(kube: Kube, name: str) -> list[dict[str, Any]]:
    """The Jobs that the CronJob controller has started of a schedule."""
    found = kube.items("jobs", labels=f"{SCHEDULE_LABEL}={name}")
    return [one for one in found if "cronjob.kubernetes.io/instantiate" not in one["metadata"].get("annotations", {})]


def test_the_controller_fires_each_minute_but_not_what_is_suspended_and_forbid_waits(
    kube: Kube, pod_of: Plugin
) -> None:
    """Four schedules and two minutes of the real CronJob controller. None of the pods ever ends."""
    for name, spec in (
        ("allow", {"concurrencyPolicy": "Allow"}),
        ("forbid", {"concurrencyPolicy": "Forbid"}),
        ("replace", {"concurrencyPolicy": "Replace"}),
        ("still", {"suspend": True}),
    ):
        kube.schedule(name, schedule="* * * * *", **spec)
    ready_is(kube, "still", "Suspended")
    until("two Jobs", lambda: len(due(kube, "allow")) >= 2, timeout=190)
    assert len(due(kube, "forbid")) == 1
    assert due(kube, "still") == []
    newest = max(one["metadata"]["name"].rpartition("-")[2] for one in due(kube, "allow"))
    until(
        "the older one is replaced",
        lambda: [one["metadata"]["name"] for one in due(kube, "replace")] == [f"replace-{newest}"],
    )
    job = due(kube, "forbid")[0]["metadata"]["name"]
    assert job.startswith("forbid-")
    status = kube.wait_status("gwbs", "forbid", lambda status: status.get("lastScheduleTime"))
    assert status["nextScheduleTime"] > status["lastScheduleTime"]
    code, said = ended(pod_of.as_pod(first_pod(kube, job)))
    assert code == 0, said
    assert (kube.get("gwb", job) or {})["spec"]["group"] == "forbid"
    assert json.loads(kube.run("get", "gwbs", "forbid", "-o", "json"))["status"]["backups"]["total"] in (0, 1)
