"""Scheduled backups with real pods: the schedule values of the chart, and every example, run each minute."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import images
from tests.cluster.output import wait_until
from tests.node.conftest import OPERATOR_TAG, ROOT, InstalledGateway

pytestmark = pytest.mark.node

KUBECTL_TAG = "localhost/kubectl:1.34.4"
KUBECTL_IMAGE = """\
ARG BASE
FROM ${BASE}
COPY kubectl /usr/local/bin/
"""
EACH_MINUTE = "* * * * *"
EXAMPLES = ("schedule.yaml", "cronjob-kubectl.yaml", "cronjob-kubectl-gateway.yaml")
GROUPS = ("nightly", "by-kubectl", "by-plugin", "my-gateway")
CHART = ("--set", "managementApi.enabled=true")
SCHEDULE_VALUES = f"schedule:\n  enabled: true\n  cron: '{EACH_MINUTE}'\n"


def each_minute(path: Path) -> list[dict[str, Any]]:
    """The objects of an example, changed only to be due each minute and to use the images of this machine."""
    text = (
        path.read_text()
        .replace("gateway-backup-operator:0.1.0", OPERATOR_TAG)
        .replace(" kubectl:1.34.4", f" {KUBECTL_TAG}")
    )
    documents: list[dict[str, Any]] = [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]
    for one in documents:
        one["spec"]["schedule"] = EACH_MINUTE
    return documents


@pytest.fixture(scope="module")
def scheduled(
    installed_gateway: InstalledGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InstalledGateway]:
    """The gateway with all schedules at once, so that the tests wait for one minute in total."""
    cluster, folder = installed_gateway.cluster, tmp_path_factory.mktemp("kubectl")
    shutil.copy(cluster.programs["kubectl"], folder / "kubectl")
    (folder / "Dockerfile").write_text(KUBECTL_IMAGE)
    images.load(cluster, images.build(folder / "Dockerfile", folder, KUBECTL_TAG).tag)
    values = folder / "values.yaml"
    values.write_text(SCHEDULE_VALUES)
    documents = [one for name in EXAMPLES for one in each_minute(ROOT / "examples" / name)]
    for one in documents:
        installed_gateway.kubectl("apply", "-f", "-", input=json.dumps(one))
    installed_gateway.install_gateway(*CHART, "--values", str(values))
    yield installed_gateway
    # The last test has removed the values of the chart, unless it failed or was not selected.
    if installed_gateway.cluster.rest.get("gwbs", installed_gateway.namespace, "my-gateway"):
        installed_gateway.install_gateway(*CHART)
    for one in documents:
        installed_gateway.kubectl("delete", one["kind"], one["metadata"]["name"], "--ignore-not-found", check=False)


def backups(installed: InstalledGateway, group: str) -> list[dict[str, Any]]:
    """The finished backups of a group."""
    items = json.loads(installed.kubectl("get", "gwb", "-o", "json"))["items"]
    return [one for one in items if one["spec"]["group"] == group and one.get("status", {}).get("completionTime")]


def jobs(installed: InstalledGateway, cron_job: str) -> list[dict[str, Any]]:
    """The successful Jobs of a CronJob."""
    items = json.loads(installed.kubectl("get", "jobs", "-o", "json"))["items"]
    owned = [one for one in items if one["metadata"].get("ownerReferences", [{}])[0].get("name") == cron_job]
    return [one for one in owned if one["status"].get("succeeded")]


@pytest.mark.parametrize("group", GROUPS)
def test_each_schedule_creates_a_backup_within_its_minute(scheduled: InstalledGateway, group: str) -> None:
    wait_until(lambda: bool(backups(scheduled, group)), f"a backup of the group {group}", timeout=200, pause=1)
    assert {one["status"]["phase"] for one in backups(scheduled, group)} == {"Completed"}
    assert backups(scheduled, group)[0]["status"]["verification"]["level"] == "Verified"


@pytest.mark.parametrize("name", ["nightly", "backup-by-kubectl", "backup-by-plugin", "my-gateway"])
def test_job_of_each_schedule_succeeds(scheduled: InstalledGateway, name: str) -> None:
    wait_until(lambda: bool(jobs(scheduled, name)), f"a successful Job of {name}", timeout=200, pause=1)
    assert jobs(scheduled, name)[0]["status"].get("failed", 0) == 0


def test_schedule_status_shows_the_last_successful_backup(scheduled: InstalledGateway) -> None:
    def status() -> dict[str, Any]:
        current: dict[str, Any] = scheduled.get("gwbs", "my-gateway").get("status", {})
        return current

    wait_until(lambda: "lastSuccessfulBackup" in status(), "a last successful backup", timeout=200, pause=1)
    assert {one["type"]: one["status"] for one in status()["conditions"]}["Ready"] == "True"
    backup = scheduled.get("gwb", status()["lastSuccessfulBackup"])
    job = backup["spec"]["job"]["name"]
    assert job.startswith("my-gateway-")
    assert backup["metadata"]["name"].startswith(f"{job}-")
    assert (backup["status"]["origin"], backup["status"]["schedule"]) == ("Schedule", "my-gateway")
    assert backup["spec"]["gatewayRef"]["name"] == "my-gateway"
    assert "completed" in scheduled.kubectl("logs", f"job/{job}")


def test_account_of_the_pods_has_only_the_permissions_it_needs(scheduled: InstalledGateway) -> None:
    user = f"--as=system:serviceaccount:{scheduled.namespace}:my-gateway-backup"
    for verb, resource in (
        ("list", "gatewaybackups"),
        ("delete", "gatewaybackups"),
        ("get", "secrets"),
        ("create", "pods"),
    ):
        assert scheduled.kubectl("auth", "can-i", verb, resource, user, check=False).strip() == "no"


def test_removing_the_schedule_values_keeps_the_backups(scheduled: InstalledGateway) -> None:
    wait_until(lambda: bool(backups(scheduled, "my-gateway")), "a backup", timeout=200, pause=1)
    before = {one["metadata"]["name"] for one in backups(scheduled, "my-gateway")}
    scheduled.install_gateway(*CHART)
    wait_until(
        lambda: "cronjob.batch/my-gateway" not in scheduled.kubectl("get", "cronjobs", "-o", "name").split(),
        "the CronJob is deleted",
        timeout=60,
        pause=1,
    )
    assert before <= {one["metadata"]["name"] for one in backups(scheduled, "my-gateway")}
