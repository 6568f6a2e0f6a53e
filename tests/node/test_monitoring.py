"""A real Prometheus scrapes the pods of both charts, evaluates all alerts and panels, and sees a change of leader."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cluster.output import wait_until
from tests.node.conftest import InstalledGateway
from tests.node.prometheus import Prometheus, Target, running_prometheus
from tests.unit.monitoring.dashboard import queries
from tests.unit.monitoring.rules import rules

from gateway_operator.domain.model import timestamps

pytestmark = pytest.mark.node

CHART = ("--set", "managementApi.enabled=true")
SCHEDULE = "monitored"
WITH_SCHEDULE = (
    *CHART, "--set", "schedule.enabled=true", "--set", f"schedule.name={SCHEDULE}",
    "--set-string", "schedule.cron=0 3 1 1 *",
)  # fmt: skip
OPERATOR, GATEWAY = "operator", "gateway"
# Series that exist only while something waits or fails, or after a drill. `ALERTS` are the firing alerts.
CONDITIONAL = (
    "gateway_backup_retention_held",
    "gateway_backup_schedule_drill_met",
    "gateway_backup_last_drilled_timestamp_seconds",
    "ALERTS",
)
# One backup of the gateway fails, its backups are plain files, and the storage class deletes volumes with their claims.
EXPECTED_ALERTS = {"GatewayBackupFailed", "GatewayBackupNotEncrypted", "GatewayBackupVolumeNotRetained"}
# These depend on the disk of the machine that runs the test.
DISK_ALERTS = {"GatewayBackupVolumeFillingUp", "GatewayBackupGatewayDegraded"}


@dataclass(frozen=True)
class Monitored:
    """The installed charts and the Prometheus that scrapes their pods."""

    installed: InstalledGateway
    prometheus: Prometheus

    @property
    def labels(self) -> str:
        """The labels of the gateway in a query."""
        return f'namespace="{self.installed.namespace}",gateway="{self.installed.name}"'

    def active_alerts(self) -> dict[str, dict[str, Any]]:
        """Pending and firing alerts by name, without those of the gateways of other tests."""
        own = (None, self.installed.namespace, self.installed.operator_namespace)
        found = [one for one in self.prometheus.alerts() if one["labels"].get("namespace") in own]
        return {one["labels"]["alertname"]: one for one in found}

    def wait_for_expected_alerts(self) -> dict[str, dict[str, Any]]:
        """The active alerts, as soon as they are exactly the expected ones."""
        deadline = time.monotonic() + 60
        while (active := self.active_alerts()).keys() - DISK_ALERTS != EXPECTED_ALERTS and time.monotonic() < deadline:
            time.sleep(0.3)
        assert active.keys() - DISK_ALERTS == EXPECTED_ALERTS, active
        return active

    def set_time(self) -> float | None:
        """The time of the schedule's newest backup, from the only replica that reports it."""
        return self.prometheus.value(
            f'gateway_backup_last_success_timestamp_seconds{{{self.labels},schedule="{SCHEDULE}"}}'
        )

    def backup_status(self) -> dict[str, Any]:
        """The status of the backup that the schedule's Job has made."""
        items = json.loads(self.installed.kubectl("get", "gwb", "-o", "json"))["items"]
        (backup,) = [one for one in items if one["status"].get("schedule") == SCHEDULE]
        return dict(backup["status"])

    def leaders(self) -> list[str]:
        """The names of the pods that lead."""
        return [one["metric"]["pod"] for one in self.prometheus.query("gateway_backup_operator_leader == 1")]


def discover(installed: InstalledGateway, prometheus: Prometheus) -> None:
    """Scrape the pods that exist now: two operators, and the gateway through the port without TLS."""

    def operators() -> list[dict[str, Any]]:
        labels = f"app.kubernetes.io/instance={installed.operator}"
        pods = installed.cluster.rest.items("pods", installed.operator_namespace, labels=labels)
        return [one for one in pods if "deletionTimestamp" not in one["metadata"] and one["status"].get("podIP")]

    def target(pod: dict[str, Any], port: int, **labels: str) -> Target:
        meta = pod["metadata"]
        return Target(
            f"{pod['status']['podIP']}:{port}", {"namespace": meta["namespace"], "pod": meta["name"], **labels}
        )

    wait_until(lambda: len(operators()) == 2, "two operators have an address", timeout=60, pause=0.3)
    prometheus.discover(
        {
            OPERATOR: [target(pod, 8081) for pod in operators()],
            GATEWAY: [target(installed.pod(), 8001, service=installed.name)],
        }
    )


def apply(installed: InstalledGateway, kind: str, name: str, **spec: Any) -> None:
    """Create an object for the gateway."""
    head = {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
    installed.kubectl(
        "apply", "-f", "-", input=json.dumps({**head, "spec": {"gatewayRef": {"name": installed.name}, **spec}})
    )


def wait(installed: InstalledGateway, target: str, condition: str) -> None:
    """Wait for a condition of an object, at most two minutes."""
    installed.kubectl("wait", f"--for=condition={condition}", target, "--timeout=120s", timeout=130)


@pytest.fixture(scope="module")
def monitored(installed_gateway: InstalledGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """The gateway with a scheduled backup, a failed backup and a dry run of a restore, all of them scraped."""
    installed = installed_gateway
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), {OPERATOR: True, GATEWAY: False}) as prometheus:
        installed.install_gateway(*WITH_SCHEDULE)
        try:
            wait_until(
                lambda: installed.cluster.rest.get("cronjob", installed.namespace, SCHEDULE) is not None,
                "the CronJob", timeout=60,
            )  # fmt: skip
            installed.kubectl("create", "job", f"--from=cronjob/{SCHEDULE}", f"{SCHEDULE}-now")
            discover(installed, prometheus)
            wait(installed, f"job/{SCHEDULE}-now", "Complete")
            # After the success: a newer success of the gateway ends the failure of a backup without a schedule.
            apply(installed, "GatewayBackup", "absent", existing={"path": "no/such/file.json.zst"})
            apply(installed, "GatewayRestore", "rehearsal", mode="DryRun", latest={"group": SCHEDULE})
            wait(installed, "gatewayrestore/rehearsal", "Completed")
            wait(installed, "gatewaybackup/absent", "Failed")
            yield Monitored(installed, prometheus)
        finally:
            installed.kubectl("delete", "gwb/absent", "gwr/rehearsal", "--ignore-not-found", check=False)
            installed.install_gateway(*CHART)


def test_each_metric_that_an_alert_reads_has_series(monitored: Monitored) -> None:
    used = {name for rule in rules().values() for name in re.findall(r"\bgateway_\w+", rule["expr"])}

    def missing() -> set[str]:
        return {name for name in used - {*CONDITIONAL} if not monitored.prometheus.query(name)}

    # A retention pass, each half minute, checks the gateway: its series exist only after that.
    wait_until(lambda: not missing(), "series of each metric", timeout=60, pause=0.5)


def test_metrics_show_the_backup_and_the_restore(monitored: Monitored) -> None:
    status = monitored.backup_status()
    snapshot = timestamps.parse(status["snapshotTime"])
    assert snapshot is not None
    wait_until(lambda: monitored.set_time() == snapshot.timestamp(), "the time of the backup", 30)
    labels, name = monitored.labels, monitored.installed.name
    schedule = f'{labels},schedule="{SCHEDULE}"'
    admin = f'namespace="{monitored.installed.namespace}",service="{name}"'
    expected = {
        f"gateway_backup_last_size_bytes{{{schedule}}}": status["sizeBytes"],
        f"gateway_backup_schedule_objective_met{{{schedule}}}": 1,
        f'gateway_restore_objects{{{labels},mode="DryRun",phase="Completed"}}': 1,
        f"gateway_backup_gateway_reachable{{{labels}}}": 1,
        f"gateway_admin_ready{{{admin}}}": 1,
    }

    def shown() -> dict[str, float | None]:
        return {query: monitored.prometheus.value(query) for query in expected}

    # The first check may fall into the restart of the gateway's pod. The next one follows within half a minute.
    wait_until(lambda: shown() == expected, "the values of the backup and the restore", 60, pause=0.5)
    done = f'gateway_admin_last_success_timestamp_seconds{{{admin},operation="backup"}}'
    # The admin API computes its metrics at most each five seconds.
    wait_until(
        lambda: (monitored.prometheus.value(done) or 0) >= snapshot.timestamp() - 1, "the success of the admin API", 30
    )


def test_only_the_alerts_of_this_situation_are_active(monitored: Monitored) -> None:
    prometheus = monitored.prometheus
    wait_until(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), "an evaluation", timeout=60)
    assert {rule["name"] for rule in prometheus.rules()} == {name for name, _ in rules()}
    assert [(rule["name"], rule.get("lastError")) for rule in prometheus.rules() if rule["health"] != "ok"] == []
    # GatewayBackupGatewayUnreachable may be pending until the next check, as in the test above.
    active = monitored.wait_for_expected_alerts()
    failed = active["GatewayBackupFailed"]
    name = monitored.installed.name
    assert (failed["labels"]["gateway"], failed["labels"]["reason"]) == (name, "FileNotFound")
    assert (
        failed["annotations"]["summary"] == f"Backups of {monitored.installed.namespace}/{name} fail with FileNotFound."
    )
    assert failed["annotations"]["description"] == "Failed backups since the last success: 1."


def test_each_query_of_the_dashboard_returns_data(monitored: Monitored) -> None:
    always = [(title, expr) for title, expr in queries() if not any(name in expr for name in CONDITIONAL)]
    assert len(always) > 30

    def without_data() -> list[tuple[str, str]]:
        return [(title, expr) for title, expr in always if not monitored.prometheus.query(expr)]

    wait_until(lambda: not without_data(), "data of each panel", timeout=60, pause=0.5)
    for _, expr in queries():
        monitored.prometheus.query(expr)


def test_series_continue_with_another_leader_and_none_is_counted_twice(monitored: Monitored) -> None:
    installed, prometheus = monitored.installed, monitored.prometheus
    before = monitored.set_time()
    (leader,) = monitored.leaders()
    installed.kubectl("delete", "pod", leader, namespace=installed.operator_namespace)
    discover(installed, prometheus)

    def another_leads() -> bool:
        leaders = monitored.leaders()
        return len(leaders) == 1 and leader not in leaders and monitored.set_time() == before

    wait_until(another_leads, "another replica leads and shows the same backup", timeout=60, pause=0.3)
    # The alert waits for 5 minutes; a sample is a second.
    without_leader = prometheus.value("count_over_time((max(gateway_backup_operator_leader) == 0)[5m:1s])")
    assert (without_leader or 0) < 60
    for name in ("gateway_backup_objects", "gateway_backup_operator_reconcile_seconds_count"):
        assert prometheus.value(f"max(count without (pod, instance) ({name}))") == 1, "two replicas show the same"
    monitored.wait_for_expected_alerts()


def test_operator_down_is_noticed_without_any_series(monitored: Monitored) -> None:
    monitored.prometheus.discover({OPERATOR: [], GATEWAY: []})
    wait_until(lambda: "GatewayBackupOperatorDown" in monitored.active_alerts(), "the alert", timeout=60)
    assert monitored.prometheus.query("gateway_backup_schedule_objective_met") == []
