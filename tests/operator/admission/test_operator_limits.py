"""A stolen token of the operator: what it can change at a gateway, and which CronJobs it can create."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.cronjob import Image, desired_cron_job
from gateway_operator.domain.schedule.drill_cronjob import desired_drill_cron_job
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from tests.operator.conftest import IMAGE
from tests.operator.support.callers import Answer, Caller
from tests.operator.support.workloads import Kube, wait_for

pytestmark = pytest.mark.cluster
POD = {"containers": [{"name": "gateway", "image": "gateway"}]}
LABELS = {"app": "gw"}


def workload(kind: str, **template: Any) -> dict[str, Any]:
    """A workload of the name that the operator may patch."""
    spec: dict[str, Any] = {
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS, **template}, "spec": POD},
    }
    if kind == "StatefulSet":
        spec["serviceName"] = "gw"
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "gw"}, "spec": spec}


@pytest.fixture(scope="module", params=["deployments", "statefulsets"])
def patched(request: pytest.FixtureRequest, team: Kube, operator_account: Caller) -> str:
    """The plural of a workload `gw` that the operator may patch."""
    plural = str(request.param)
    kind = {"deployments": "Deployment", "statefulsets": "StatefulSet"}[plural]
    if kind == "StatefulSet":
        account = team.require("serviceaccount", "gateway-backup-operator")["metadata"]["name"]
        team.kubectl("create", "role", "sets", "--verb=patch", "--resource=statefulsets.apps")
        team.kubectl("create", "rolebinding", "sets", "--role=sets", f"--serviceaccount={team.namespace}:{account}")
    team.apply(workload(kind))
    annotate = {"metadata": {"annotations": {"mcpgateway.dev/x": "1"}}}
    wait_for("the role acts", lambda: operator_account.patch(plural, "gw", annotate).allowed)
    return plural


ANNOTATIONS: list[dict[str, Any]] = [
    {"metadata": {"annotations": {"mcpgateway.dev/x": "2", "other.example/y": "z"}}},
    {"spec": {"template": {"metadata": {"annotations": {"mcpgateway.dev/restored": "uid"}}}}},
    {"spec": {"template": {"metadata": {"annotations": None}}}},
]
OTHER: dict[str, dict[str, Any]] = {
    "an image": {"spec": {"template": {"spec": {"containers": [{"name": "gateway", "image": "evil"}]}}}},
    "a volume": {"spec": {"template": {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "any"}}]}}}},
    "an account": {"spec": {"template": {"spec": {"serviceAccountName": "other"}}}},
    "replicas": {"spec": {"replicas": 0}},
    "a pod label": {"spec": {"template": {"metadata": {"labels": {"b": "c"}}}}},
    "a label": {"metadata": {"labels": {"b": "c"}}},
    "a finalizer": {"metadata": {"finalizers": ["a.example/b"]}},
    "an owner": {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b"}]}},
    "history": {"spec": {"revisionHistoryLimit": 0}},
    "both": {
        "metadata": {"annotations": {"a": "b"}},
        "spec": {"template": {"metadata": {"annotations": {"a": "b"}}, "spec": {"hostNetwork": True}}},
    },
}


def test_operator_annotates_workloads_and_their_pods(operator_account: Caller, patched: str) -> None:
    for patch in ANNOTATIONS:
        answer = operator_account.patch(patched, "gw", patch)
        assert answer.allowed, answer


@pytest.mark.parametrize("case", OTHER)
def test_operator_changes_nothing_else_of_a_workload(
    team: Kube, operator_account: Caller, patched: str, case: str
) -> None:
    answer = operator_account.patch(patched, "gw", OTHER[case])
    assert answer.status == 422, answer
    assert "the operator may change only the annotations" in answer.message
    # The same patch by an administrator, who may also write a status.
    assert (
        Caller(team)
        .send("PATCH", patched, "gw", body=OTHER[case], content_type="application/merge-patch+json", dryRun="All")
        .allowed
    )


def test_policies_do_not_stop_the_controllers_of_kubernetes(team: Kube, patched: str) -> None:
    if patched == "deployments":
        wait_for(
            "the deployment controller annotates the workload",
            lambda: "deployment.kubernetes.io/revision" in team.require("deployment", "gw")["metadata"]["annotations"],
        )


SCHEDULE: Json = {
    "apiVersion": "mcpgateway.dev/v1alpha1",
    "kind": "GatewayBackupSchedule",
    "metadata": {"name": "nightly"},
    "spec": {"gatewayRef": {"name": "gw"}, "schedule": "0 3 1 1 *"},
}


@pytest.fixture(scope="module")
def cron_job(team: Kube) -> dict[str, Any]:
    """The CronJob that the operator writes for a schedule."""
    team.apply(SCHEDULE)
    schedule = GatewayBackupSchedule.parse(team.require("gwbs", "nightly"))
    return desired_cron_job(schedule, Image(IMAGE, pull_secrets=("pull",)))


@pytest.fixture(scope="module")
def drill_cron_job(team: Kube, cron_job: dict[str, Any]) -> dict[str, Any]:
    """The CronJob that the operator writes for the drills of the same schedule."""
    spec = {**SCHEDULE["spec"], "drill": {"schedule": "0 5 1 1 *"}}
    body = {**SCHEDULE, "metadata": team.require("gwbs", "nightly")["metadata"], "spec": spec}
    schedule = GatewayBackupSchedule.parse(body)
    assert schedule.drill is not None
    return desired_drill_cron_job(schedule, schedule.drill, Image(IMAGE))


def create(caller: Caller, body: dict[str, Any]) -> Answer:
    return caller.create("cronjobs", body, dryRun="All")


def test_operator_creates_and_corrects_the_cron_job_of_a_schedule(
    team: Kube, operator_account: Caller, cron_job: dict[str, Any]
) -> None:
    answer = operator_account.create("cronjobs", cron_job)
    assert answer.allowed, answer
    team.kubectl("patch", "cronjob", "nightly", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    answer = operator_account.patch("cronjobs", "nightly", {"spec": cron_job["spec"]})
    assert answer.allowed, answer


def with_change(cron_job: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path below the pod's spec, or below the object for a path that begins with /."""
    body = copy.deepcopy(cron_job)
    at: Any = body if path.startswith("/") else body["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    *parents, last = path.strip("/").split("/")
    for name in parents:
        at = at[int(name) if name.isdigit() else name]
    at[last] = value
    return body


SECRET = [{"name": "tmp", "secret": {"secretName": "gw-admin"}}]
FROM_SECRET = {"secretKeyRef": {"name": "gw-admin", "key": "admin-key"}}
EXEC = {"exec": {"command": ["sh"]}}
PROJECTED = {"sources": [{"secret": {"name": "x"}}]}
EXTRA = {"name": "more", "image": IMAGE, "command": ["kubectl-gateway"], "args": ["backup", "create", "--from-job"]}
FORGED: dict[str, tuple[str, Any, str]] = {
    "another image": ("containers/0/image", "evil:1", "with the image"),
    "a second container": ("initContainers", [EXTRA], "have one container"),
    "another command": ("containers/0/command", ["sh"], "run only `kubectl-gateway"),
    "no command": ("containers/0/command", None, "run only `kubectl-gateway"),
    "other arguments": ("containers/0/args", ["backup", "delete", "--yes", "x"], "run only `kubectl-gateway"),
    "no arguments": ("containers/0/args", [], "run only `kubectl-gateway"),
    "a hook": ("containers/0/lifecycle", {"postStart": EXEC}, "run only `kubectl-gateway"),
    "a probe": ("containers/0/livenessProbe", EXEC, "run only `kubectl-gateway"),
    "a Secret": ("volumes", SECRET, "mount only empty volumes"),
    "a projected Secret": ("volumes", [{"name": "tmp", "projected": PROJECTED}], "mount only empty volumes"),
    "a host path": ("volumes", [{"name": "tmp", "hostPath": {"path": "/"}}], "mount only empty volumes"),
    "a claim": (
        "volumes",
        [{"name": "tmp", "persistentVolumeClaim": {"claimName": "gw-backups"}}],
        "mount only empty volumes",
    ),
    "a Secret in the environment": (
        "containers/0/env",
        [{"name": "JOB_UID", "valueFrom": FROM_SECRET}],
        "only their Job's name, uid and template",
    ),
    "a Secret as environment": (
        "containers/0/envFrom",
        [{"secretRef": {"name": "gw-admin"}}],
        "only their Job's name, uid and template",
    ),
    "a value": ("containers/0/env", [{"name": "JOB_UID", "value": "x"}], "only their Job's name, uid and template"),
    "another variable": (
        "containers/0/env",
        [{"name": "PYTHONPATH", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "only their Job's name, uid and template",
    ),
    "the default account": ("serviceAccountName", "default", "use the ServiceAccount"),
    "no account": ("serviceAccountName", "", "use the ServiceAccount"),
    "the operator's account": ("serviceAccountName", "gateway-backup-operator", "use the ServiceAccount"),
    "another gateway's account": ("serviceAccountName", "other-backup", "use the ServiceAccount"),
    "another name": ("/metadata/name", "other", "belongs to the GatewayBackupSchedule of the same name"),
    "no owner": ("/metadata/ownerReferences", [], "belongs to the GatewayBackupSchedule of the same name"),
}


@pytest.mark.parametrize("case", FORGED)
def test_operator_creates_no_other_cron_job(
    team: Kube, operator_account: Caller, cron_job: dict[str, Any], case: str
) -> None:
    path, value, message = FORGED[case]
    body = with_change(cron_job, path, value)
    if path != "/metadata/name":
        body = with_change(body, "/metadata/name", "nightly2")
        for owner in body["metadata"]["ownerReferences"]:
            owner["name"] = "nightly2"
    answer = create(operator_account, body)
    assert answer.status == 422, answer
    assert message in answer.message, answer
    assert create(Caller(team), body).allowed


def test_operator_cannot_take_over_a_foreign_cron_job(
    team: Kube, operator_account: Caller, cron_job: dict[str, Any]
) -> None:
    foreign = with_change(cron_job, "/metadata/name", "foreign")
    foreign["metadata"]["ownerReferences"] = []
    team.apply(foreign)
    owners = [{**cron_job["metadata"]["ownerReferences"][0], "name": "foreign"}]
    answer = operator_account.patch("cronjobs", "foreign", {"metadata": {"ownerReferences": owners}})
    assert answer.status == 422, answer
    assert "may change only CronJobs that belong to a GatewayBackupSchedule" in answer.message


def test_operator_creates_and_deletes_only_the_cron_job_of_drills(
    team: Kube, operator_account: Caller, cron_job: dict[str, Any], drill_cron_job: dict[str, Any]
) -> None:
    arguments = drill_cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[:3] == ["drill", "create", "--from-job"]
    answer = operator_account.create("cronjobs", drill_cron_job)
    assert answer.allowed, answer
    for body, path, value in (
        (drill_cron_job, "containers/0/args", ["backup", "create", "--from-job"]),
        (cron_job, "containers/0/args", arguments),
        (drill_cron_job, "containers/0/args", ["drill", "create", "--gateway=other"]),
        (drill_cron_job, "serviceAccountName", "default"),
    ):
        refused = create(operator_account, with_change(body, path, value))
        assert refused.status == 422, refused
    # A schedule may have the name of another one's drills.
    named = with_change(cron_job, "/metadata/name", "a-drill")
    named["metadata"]["ownerReferences"][0]["name"] = "a-drill"
    assert create(operator_account, named).allowed

    for name in ("nightly", "foreign-drill"):
        if team.get("cronjob", name) is None:
            team.apply({**with_change(cron_job, "/metadata/name", name), "metadata": {"name": name}})
        refused = operator_account.send("DELETE", "cronjobs", name)
        assert refused.status == 422, refused
        assert "may delete only the CronJob of a GatewayBackupSchedule's drills" in refused.message
    answer = operator_account.send("DELETE", "cronjobs", "nightly-drill")
    assert answer.allowed, answer
