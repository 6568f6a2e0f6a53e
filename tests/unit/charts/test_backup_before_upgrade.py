"""The hook of the gateway's chart that makes a backup before an upgrade. The node tests run it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.names import SCHEDULE_KIND, backup_account
from gateway_operator.domain.schedule.cronjob import CONTAINER, Image, desired_cron_job
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from tests.unit.charts.render import Object, of_kind, render, template


def hook(release: str = "my-gateway", **values: Any) -> Object:
    """The hook Job that these values render in an upgrade."""
    objects = render("gateway", {"backups": {"beforeUpgrade": {"enabled": True, **values}}}, release)
    (job,) = [item for item in of_kind(objects, "Job") if item["metadata"]["annotations"]["helm.sh/hook"] == PHASE]
    return job


PHASE = "pre-upgrade"


def test_no_hook_by_default_and_none_outside_an_upgrade() -> None:
    """A person who pipes `helm template` into kubectl runs no hook: the Job would run beside the change."""
    assert all("-upgrade-" not in job["metadata"]["name"] for job in of_kind(render("gateway"), "Job"))
    applied = template("gateway", {"backups": {"beforeUpgrade": {"enabled": True}}}, upgrade=False)
    assert applied.returncode == 0
    assert "before-upgrade" not in applied.stdout


@pytest.mark.parametrize("release", ["my-gateway", "x" * 46, "x" * 53])
def test_hook_runs_the_plugin_with_the_account_of_the_gateway(release: str) -> None:
    job = hook(release)
    pod = job["spec"]["template"]["spec"]
    gateway = pod["serviceAccountName"].removesuffix("-backup")
    assert pod["serviceAccountName"] == backup_account(gateway)
    assert f"--gateway={gateway}" in pod["containers"][0]["args"]
    assert pod["containers"][0]["args"][:3] == ["backup", "create", "--from-job"]
    assert "--wait" in pod["containers"][0]["args"]
    # 63 characters for the Job's name, which is also a label of its pod.
    assert job["metadata"]["name"].endswith("-upgrade-1")
    assert len(job["metadata"]["name"]) <= 63


def test_hook_treats_exit_codes_and_job_identity_as_schedules_do() -> None:
    job = hook()["spec"]
    schedule = GatewayBackupSchedule.parse({"metadata": {"name": "n", "namespace": "a", "uid": "u"}, "spec": {}})
    assert (schedule.gateway, schedule.meta.ref.kind) == (GatewayRef.parse({}), SCHEDULE_KIND)
    scheduled = desired_cron_job(schedule, Image("image"))["spec"]["jobTemplate"]["spec"]
    assert job["podFailurePolicy"]["rules"][1] == scheduled["podFailurePolicy"]["rules"][1]
    (container,), (other,) = (one["template"]["spec"]["containers"] for one in (job, scheduled))
    assert container["name"] == CONTAINER
    assert container["env"] == other["env"][:2]


def test_deadlines_let_the_backup_fail_before_the_job_and_helm() -> None:
    job = hook(timeoutSeconds=100, ttl="")["spec"]
    arguments = job["template"]["spec"]["containers"][0]["args"]
    options = dict(one.partition("=")[::2] for one in arguments if "=" in one)
    given = int(options["--starting-deadline-seconds"]) + int(options["--timeout-seconds"])
    assert given <= 100 < int(options["--timeout"]) < job["activeDeadlineSeconds"] < 300
    assert "--ttl" not in options
    assert "--ttl=90d" in hook()["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.mark.parametrize(
    "values", [{"ttl": "soon"}, {"timeoutSeconds": 5}, {"enabled": "yes"}, {"group": "x"}], ids=str
)
def test_helm_refuses_invalid_values_of_the_hook(values: dict[str, Any]) -> None:
    refused = template("gateway", {"backups": {"beforeUpgrade": values}})
    assert refused.returncode != 0
    assert "beforeUpgrade" in refused.stderr
