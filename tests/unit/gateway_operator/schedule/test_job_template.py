"""The fields of ``spec.jobTemplate`` reach the CronJob, and the newest Job's problem reaches the schedule."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from gateway_operator.domain.schedule.cronjob import desired_cron_job
from gateway_operator.domain.schedule.drift import correction, differences
from gateway_operator.domain.schedule.job_template import same_quantity
from gateway_operator.domain.schedule.jobs import JobObservation, needs_jobs, newest_job
from tests.unit.gateway_operator.schedule.test_decide import observation, ready, schedule, stored, written_status
from tests.unit.gateway_operator.schedule.world import IMAGE, merged
from tests.unit.gateway_operator.simulation.fake_cluster import START
from tests.unit.gateway_operator.summaries import summary

FULL: dict[str, Any] = {
    "labels": {"team": "a", "mcpgateway.dev/schedule": "other"},
    "annotations": {"sidecar.istio.io/inject": "false", "mcpgateway.dev/backup-template": "other"},
    "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}, "limits": {"cpu": 1}},
    "nodeSelector": {"pool": "tools"},
    "tolerations": [{"key": "tools", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    "priorityClassName": "cheap",
    "securityContext": {"runAsUser": 1000650000, "fsGroup": 1000650000},
}


def pod_template(cron_job: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = cron_job["spec"]["jobTemplate"]["spec"]["template"]
    return template


def test_each_field_is_in_the_pod_template() -> None:
    template = pod_template(desired_cron_job(schedule(jobTemplate=FULL), IMAGE))
    pod, metadata = template["spec"], template["metadata"]
    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert pod[field] == FULL[field]
    assert (metadata["labels"]["team"], metadata["labels"]["mcpgateway.dev/schedule"]) == ("a", "nightly")
    assert metadata["annotations"]["sidecar.istio.io/inject"] == "false"
    assert metadata["annotations"]["mcpgateway.dev/backup-template"].startswith("{")
    expected = {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"cpu": "1"}}
    assert pod["containers"][0]["resources"] == expected
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (1000650000, True)


def test_user_id_is_left_to_the_image_or_the_cluster() -> None:
    pod = pod_template(desired_cron_job(schedule(), IMAGE))["spec"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"])
    assert not {"runAsUser", "runAsGroup"} & set(pod["containers"][0]["securityContext"])


def test_canonical_quantities_of_the_api_server_are_no_drift() -> None:
    one = schedule(jobTemplate=FULL)
    have = stored(one)
    pod_template(have)["spec"]["containers"][0]["resources"] = {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"cpu": "1"},
    }
    assert differences(desired_cron_job(one, IMAGE), have) == []
    pod_template(have)["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "501m"
    assert len(differences(desired_cron_job(one, IMAGE), have)) == 1


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1", 1, True), ("1000m", "1", True), ("1e3", "1k", True), ("1Ki", "1024", True), ("2Gi", "2048Mi", True),
        ("1500u", "1.5m", True), ("1M", "1Mi", False), ("x", "x", False), ("", "", False), (None, None, False),
    ],
)  # fmt: skip
def test_quantities_are_compared_as_numbers(one: object, other: object, equal: bool) -> None:
    assert same_quantity(one, other) is equal


@pytest.mark.parametrize("field", FULL)
def test_field_that_the_user_removes_disappears(field: str) -> None:
    before = stored(schedule(jobTemplate=FULL))
    want = desired_cron_job(schedule(jobTemplate={key: value for key, value in FULL.items() if key != field}), IMAGE)
    assert differences(want, before)
    after = without_nulls(merged(copy.deepcopy(before), correction(want, before)))
    assert differences(want, after) == []
    text = {"labels": "'team'", "annotations": "istio", "resources": "1024Mi", "nodeSelector": "pool",
            "tolerations": "Exists", "affinity": "nodeAffinity", "priorityClassName": "cheap",
            "securityContext": "1000650000"}[field]  # fmt: skip
    assert text not in str(pod_template(after))


def without_nulls(value: Any) -> Any:
    """The value as the API server stores it after a merge patch."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def test_selector_that_someone_adds_to_the_cronjob_is_removed() -> None:
    one = schedule()
    have = stored(one)
    pod_template(have)["spec"]["nodeSelector"] = {"pool": "gone"}
    want = desired_cron_job(one, IMAGE)
    assert differences(want, have) == ["spec.jobTemplate.spec.template.spec.nodeSelector.pool"]
    assert without_nulls(merged(have, correction(want, have))["spec"])["jobTemplate"]["spec"]["template"]["spec"].get(
        "nodeSelector"
    ) in (None, {})


def job(name: str = "nightly-1", seconds: float = 120, status: Any = None) -> dict[str, Any]:
    """A Job of the CronJob, created that number of seconds ago."""
    created = (START - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    owner = {"controller": True, "uid": "c-1"}
    return {
        "metadata": {"name": name, "uid": "j", "creationTimestamp": created, "ownerReferences": [owner]},
        "status": status or {},
    }


FAILED = {
    "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "4 failures"}]
}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
QUOTA = {
    "type": "Warning",
    "reason": "FailedCreate",
    "message": 'pods "nightly-1-x" is forbidden: failed quota: q: must specify limits.cpu',
    "lastTimestamp": "2026-01-01T11:59:00Z",
}
TAINT = {
    "status": {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 node(s) had untolerated taint {tools: }.",
            }
        ],
    }
}


def waiting(reason: str) -> dict[str, Any]:
    """A pod whose container waits for this reason."""
    state = {"waiting": {"reason": reason, "message": "as Kubernetes says"}}
    return {"status": {"phase": "Pending", "containerStatuses": [{"name": "backup", "state": state}]}}


JOBS: dict[str, tuple[JobObservation, str, str]] = {
    "young": (JobObservation(job(seconds=30)), "Scheduled", ""),
    "complete": (JobObservation(job(status=COMPLETE)), "Scheduled", ""),
    "running": (JobObservation(job(), [{"status": {"phase": "Running"}}], [QUOTA]), "Scheduled", ""),
    "being started": (JobObservation(job(), [waiting("ContainerCreating")]), "Scheduled", ""),
    "quota": (JobObservation(job(), (), [QUOTA]), "JobWithoutPod", "must specify limits.cpu"),
    "no pod and no event": (JobObservation(job()), "JobWithoutPod", "kubectl describe job nightly-1"),
    "taint": (JobObservation(job(), [TAINT]), "JobWithoutPod", "untolerated taint"),
    "image": (JobObservation(job(), [waiting("ImagePullBackOff")]), "JobWithoutPod", "ImagePullBackOff: as Kubernetes"),
    "user id": (JobObservation(job(), [waiting("CreateContainerConfigError")]), "JobWithoutPod", "ConfigError"),
    "failed": (JobObservation(job(status=FAILED)), "JobFailed", "BackoffLimitExceeded: 4 failures"),
    "failed, evicted pod": (
        JobObservation(
            job(status=FAILED), [{"status": {"phase": "Failed", "reason": "Evicted", "message": "low on disk"}}]
        ),
        "JobFailed",
        "Evicted: low on disk",
    ),
}


@pytest.mark.parametrize("case", JOBS)
def test_ready_repeats_what_kubernetes_says_about_the_newest_job(case: str) -> None:
    newest, reason, text = JOBS[case]
    one = schedule()
    status = written_status(observation(one, stored(one), newest_job=newest))
    assert ready(status) == (reason == "Scheduled", reason)
    (condition,) = [one for one in status["conditions"] if one["type"] == "Ready"]
    assert text in condition["message"]


def test_failed_job_with_a_backup_is_no_problem_of_the_schedule() -> None:
    """The backup itself and the objective report that it failed."""
    one = schedule()
    newest = JobObservation(job(status=FAILED))
    backups = [summary("nightly-1-abcde", START, phase="Failed")]
    assert ready(written_status(observation(one, stored(one), newest_job=newest, backups=backups)))[0]


def test_suspended_schedule_reports_no_job() -> None:
    one = schedule(suspend=True)
    status = written_status(observation(one, stored(one), newest_job=JobObservation(job(), (), [QUOTA])))
    assert ready(status) == (True, "Suspended")


@pytest.mark.parametrize(
    ("status", "needed"),
    [
        ({}, False),
        ({"active": [{"name": "x"}]}, True),
        ({"lastScheduleTime": "2026-01-01T02:00:00Z"}, True),
        ({"lastScheduleTime": "2026-01-01T02:00:00Z", "lastSuccessfulTime": "2026-01-01T02:00:09Z"}, False),
        ({"lastScheduleTime": "2026-01-02T02:00:00Z", "lastSuccessfulTime": "2026-01-01T02:00:09Z"}, True),
    ],
)
def test_jobs_are_read_only_if_one_may_have_a_problem(status: dict[str, Any], needed: bool) -> None:
    assert needs_jobs({"status": status}) is needed


def test_newest_job_is_one_of_this_very_cronjob() -> None:
    cron_job = {"metadata": {"uid": "c-1"}}
    stranger = job("stranger", seconds=1)
    stranger["metadata"]["ownerReferences"] = [{"controller": True, "uid": "c-2"}]
    newest = newest_job(cron_job, [job("old", 300), job("new", 60), stranger])
    assert newest is not None
    assert newest["metadata"]["name"] == "new"
    assert newest_job(cron_job, [stranger]) is None
