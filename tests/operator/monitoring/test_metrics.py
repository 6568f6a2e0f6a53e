"""The operator's /metrics on a real API server: right after a restart, and after its objects are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway_operator.domain.model import timestamps
from tests.operator.conftest import IMAGE
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway
from tests.operator.support.workloads import Kube, wait_for

pytestmark = pytest.mark.cluster


def scrape(operator: OperatorProcess) -> Callable[..., float | None]:
    """A lookup of one sample by name and labels in the current page."""
    families = list(text_string_to_metric_families(operator.metrics()))

    def sample(name: str, **labels: str) -> float | None:
        samples = (one for family in families for one in family.samples if one.name == name)
        return next((one.value for one in samples if labels.items() <= one.labels.items()), None)

    return sample


@pytest.fixture
def operator(kube: Kube, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of this test, with a pass every second."""
    environment = {"GATEWAY_OPERATOR_IMAGE": IMAGE}
    with OperatorProcess(
        kube.cluster, tmp_path / "log", kube.namespace, flags=["--pass-seconds=1"], environment=environment
    ) as process:
        yield process


def test_metrics_are_complete_after_a_restart_and_end_with_their_objects(
    kube: Kube, operator: OperatorProcess, gw: RealGateway
) -> None:
    kube.kubectl("create", "serviceaccount", "gw-backup")
    kube.apply_schedule("nightly", schedule="0 2 * * *", objective={"maxAge": "2d"}, retention={"keepLast": 3})
    good = kube.complete_scheduled_backup("nightly", "nightly-1")
    kube.apply_backup("bad", existing={"path": "manual/absent.json.zst"})
    kube.wait_phase("gwb", "bad", "Failed")
    kube.apply_restore("look", mode="DryRun", backupName=good)
    kube.wait_phase("gwr", "look", "Completed")
    kube.wait_condition("gwbs", "nightly", "ObjectiveMet", "ObjectiveMet")
    operator.stop()
    operator.start()
    of_set = {"namespace": kube.namespace, "gateway": "gw", "schedule": "nightly"}
    of_gateway = {"namespace": kube.namespace, "gateway": "gw"}

    def complete() -> Callable[..., float | None] | None:
        sample = scrape(operator)
        awaited = (
            sample("gateway_backup_gateway_reachable", **of_gateway),
            sample("gateway_backup_operator_reconcile_seconds_count", kind="GatewayBackupSchedule"),
            sample("gateway_backup_operator_objects_read") or None,
        )
        idle = sample("gateway_backup_operator_queue_depth", kind="GatewayBackup") == 0
        return sample if idle and None not in awaited else None

    sample = wait_for("the series of the gateway", complete)
    status = kube.status("gwb", good)
    snapshot = timestamps.parse(status["snapshotTime"])
    assert snapshot is not None
    assert sample("gateway_backup_last_success_timestamp_seconds", **of_set) == pytest.approx(snapshot.timestamp())
    assert sample("gateway_backup_last_verified_timestamp_seconds", **of_set) == pytest.approx(snapshot.timestamp())
    assert sample("gateway_backup_last_size_bytes", **of_set) == status["sizeBytes"]
    assert sample("gateway_backup_encrypted", **of_set) == 0
    assert sample("gateway_backup_objects", **of_set, phase="Completed") == 1
    assert sample("gateway_backup_schedule_objective_met", **of_set) == 1
    assert sample("gateway_backup_schedule_objective_seconds", **of_set) == 2 * 86_400
    assert sample("gateway_backup_schedule_suspended", **of_set) == 0
    failed = {**of_gateway, "schedule": "", "reason": "FileNotFound"}
    assert sample("gateway_backup_failed_since_success", **failed) == 1
    assert sample("gateway_restore_objects", **of_gateway, mode="DryRun", phase="Completed") == 1
    assert sample("gateway_restore_open", **of_gateway) == 0
    assert sample("gateway_backup_gateway_reachable", **of_gateway) == 1
    assert sample("gateway_backup_gateway_healthy", **of_gateway) == 1
    free, total = (sample(f"gateway_backup_volume_{which}_bytes", **of_gateway) for which in ("free", "total"))
    assert free is not None
    assert total is not None
    assert 0 < free < total
    assert sample("gateway_backup_operator_leader") == 1
    assert sample("gateway_backup_operator_objects_read") == 1
    assert gw.key not in operator.metrics()
    for kind in ("gwbs", "gwb", "gwr"):
        kube.kubectl("delete", kind, "--all")

    def no_object() -> bool:
        page = operator.metrics()
        return f'namespace="{kube.namespace}"' not in page and "gateway_backup_operator_leader" in page

    wait_for("the end of the series", no_object)
