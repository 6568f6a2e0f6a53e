"""A real Prometheus scrapes the operator and an admin API, and evaluates all alerts and queries of the dashboard."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster import Cluster
from tests.cluster.fixtures import create_namespace
from tests.operator.conftest import IMAGE
from tests.operator.monitoring.prometheus import Prometheus, Target, running_prometheus
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import tls_gateway
from tests.operator.support.workloads import Kube, wait_for
from tests.unit.monitoring.dashboard import queries
from tests.unit.monitoring.rules import rules

pytestmark = pytest.mark.cluster

# Series that exist only while something waits or fails, or after a drill.
CONDITIONAL = {
    "gateway_backup_retention_held",
    "gateway_backup_schedule_drill_met",
    "gateway_backup_last_drilled_timestamp_seconds",
}
# One backup of this gateway fails, and its backups are plain files.
EXPECTED_ALERTS = {"GatewayBackupFailed", "GatewayBackupNotEncrypted"}
# These depend on the disk of the machine that runs the test.
DISK_ALERTS = {"GatewayBackupVolumeFillingUp", "GatewayBackupGatewayDegraded"}


@dataclass(frozen=True)
class Monitored:
    """The running parts: the namespace of the gateway `gw`, the operator, and Prometheus."""

    kube: Kube
    operator: OperatorProcess
    prometheus: Prometheus


@pytest.fixture(scope="module")
def monitored(cluster_with_crds: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """A gateway with a scheduled backup, a failed backup and a dry run of a restore, all of them scraped."""
    kube = Kube(cluster_with_crds, f"monitored-{secrets.token_hex(3)}")
    create_namespace(cluster_with_crds, kube.namespace)
    folder = tmp_path_factory.mktemp("monitored")
    operator = OperatorProcess(
        cluster_with_crds,
        folder / "operator.log",
        kube.namespace,
        environment={"GATEWAY_OPERATOR_IMAGE": IMAGE},
        # A pass checks the gateway, and its series exist only after that.
        flags=["--pass-seconds=0.5"],
    )
    try:
        with tls_gateway(kube, folder) as gateway, operator:
            kube.kubectl("create", "serviceaccount", "gw-backup")
            kube.apply_schedule("nightly", objective={"maxAge": "26h"}, retention={"keepLast": 7})
            kube.complete_scheduled_backup("nightly", "first")
            kube.apply_backup("absent", existing={"path": "no/such/file.json.zst"})
            kube.wait_phase("gwb", "absent", "Failed")
            kube.apply_restore("dry", mode="DryRun", latest={"group": "nightly"})
            kube.wait_phase("gwr", "dry", "Completed")
            pod = {"namespace": kube.namespace, "pod": "gw-0", "service": "gw"}
            targets = [
                # The PodMonitor sets honorLabels as well.
                Target("op/operator", f"127.0.0.1:{operator.metrics_port}", {"namespace": "op", "pod": "a"}, True),
                Target("gw", gateway.process.base_url.removeprefix("http://"), pod),
            ]
            with running_prometheus(folder, targets) as prometheus:
                yield Monitored(kube, operator, prometheus)
    finally:
        cluster_with_crds.rest.delete("namespace", "", kube.namespace)


def test_each_metric_that_an_alert_reads_has_series(monitored: Monitored) -> None:
    used = {name for rule in rules().values() for name in re.findall(r"\bgateway_\w+", rule["expr"])}

    def missing() -> set[str]:
        return {name for name in used - CONDITIONAL if not monitored.prometheus.query(name)}

    wait_for(f"series of {sorted(missing())}", lambda: not missing())


def test_only_the_alerts_of_this_situation_are_active(monitored: Monitored) -> None:
    def evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in monitored.prometheus.rules())

    wait_for("an evaluation of all rules", evaluated)
    assert {rule["name"] for rule in monitored.prometheus.rules()} == {name for name, _ in rules()}
    assert [
        (rule["name"], rule.get("lastError")) for rule in monitored.prometheus.rules() if rule["health"] != "ok"
    ] == []
    wait_for("the expected alerts", lambda: monitored.prometheus.active_alerts().keys() >= EXPECTED_ALERTS)
    active = monitored.prometheus.active_alerts()
    assert active.keys() - DISK_ALERTS == EXPECTED_ALERTS, active
    failed = active["GatewayBackupFailed"]
    assert (failed["labels"]["gateway"], failed["labels"]["reason"]) == ("gw", "FileNotFound")
    assert failed["annotations"]["summary"] == f"Backups of {monitored.kube.namespace}/gw fail with FileNotFound."
    assert failed["annotations"]["description"] == "1 backups have failed since the last success."
    assert "schedule nightly" in active["GatewayBackupNotEncrypted"]["annotations"]["description"]


def test_each_query_of_the_dashboard_returns_data(monitored: Monitored) -> None:
    always = [(title, expr) for title, expr in queries() if not any(name in expr for name in CONDITIONAL)]
    assert len(always) > 25

    def without_data() -> list[tuple[str, str]]:
        return [(title, expr) for title, expr in always if not monitored.prometheus.query(expr)]

    wait_for(f"data of {without_data()}", lambda: not without_data(), timeout=30)
    for _, expr in queries():
        monitored.prometheus.query(expr)


def test_operator_down_is_noticed_without_any_series(monitored: Monitored) -> None:
    monitored.operator.stop()
    wait_for("the alert", lambda: "GatewayBackupOperatorDown" in monitored.prometheus.active_alerts(), timeout=30)
    assert monitored.prometheus.query("gateway_backup_schedule_objective_met") == []
