"""The page of the metrics: what a leader, a standby and a starting operator show, over IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway_operator.adapters.monitoring import metrics as adapter
from gateway_operator.adapters.monitoring.metrics import CONTENT_TYPE, MetricsSnapshot, PrometheusMetrics
from gateway_operator.adapters.monitoring.probe_server import listening_socket, serve_metrics
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.metrics import definitions
from gateway_operator.domain.metrics.definitions import MetricDefinition, MetricType, NotificationResult
from gateway_operator.domain.metrics.gauges import ObservedObjects
from gateway_operator.domain.metrics.series import GaugeSeries
from tests.unit.gateway_operator.summaries import summary

SAMPLE = dict.fromkeys(("namespace", "gateway", "schedule", "phase", "reason", "mode"), "x")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LEADER = MetricsSnapshot(True, {"GatewayBackup": 3}, ObservedObjects(), NOW)


def one_of_each(_: ObservedObjects, __: datetime) -> GaugeSeries:
    """A series of every gauge about objects."""
    series = GaugeSeries()
    for metric in definitions.OBJECT_METRICS:
        series.set(metric, tuple(SAMPLE[label] for label in metric.labels), 1)
    return series


def page(snapshot: MetricsSnapshot | None) -> Mapping[str, list[tuple[dict[str, str], float]]]:
    """The samples of each name on the page."""
    metrics = PrometheusMetrics(["GatewayBackup"])
    if snapshot is not None:
        metrics.connect(lambda: snapshot)
    metrics.observe_reconcile("GatewayBackup", 0.2, failed=True)
    metrics.count("sent")
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(asyncio.run(metrics.page()).decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def test_leader_shows_every_defined_metric_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "object_gauges", one_of_each)
    series = page(LEADER)
    expected = {
        name
        for one in (*definitions.OPERATOR_METRICS, *definitions.OBJECT_METRICS)
        for name in (
            [f"{one.name}{part}" for part in ("_bucket", "_sum", "_count")]
            if one.type is MetricType.Histogram
            else [one.name]
        )
    }
    assert {name for name in series if not name.startswith("process_")} == expected
    assert series["gateway_backup_operator_leader"] == [({}, 1.0)]
    assert series["gateway_backup_operator_queue_depth"] == [({"kind": "GatewayBackup"}, 3.0)]
    assert series["gateway_backup_operator_reconcile_errors_total"] == [({"kind": "GatewayBackup"}, 1.0)]
    results = {labels["result"]: value for labels, value in series["gateway_backup_operator_notifications_total"]}
    assert results == {"sent": 1.0, "failed": 0.0, "dropped": 0.0}


@pytest.mark.parametrize("snapshot", [None, replace(LEADER, is_leader=False)], ids=["starting", "standby"])
def test_standby_has_no_series_that_a_sum_would_count_twice(snapshot: MetricsSnapshot | None) -> None:
    series = page(snapshot)
    own = {"gateway_backup_operator_info", "gateway_backup_operator_leader"}
    assert {name for name in series if not name.startswith("process_")} == own
    assert series["gateway_backup_operator_leader"] == [({}, 0.0)]


def test_objects_have_no_series_before_all_of_them_are_read() -> None:
    series = page(replace(LEADER, objects=None))
    assert series["gateway_backup_operator_objects_read"] == [({}, 0.0)]
    assert not {one.name for one in definitions.OBJECT_METRICS} & set(series)


@pytest.mark.parametrize(
    "metric", [*definitions.OPERATOR_METRICS, *definitions.OBJECT_METRICS], ids=lambda one: one.name
)
def test_names_follow_the_conventions_of_prometheus(metric: MetricDefinition) -> None:
    assert metric.name.startswith("gateway_")
    assert metric.name.endswith("_total") == (metric.type is MetricType.Counter)
    units = ("_seconds", "_bytes")
    assert metric.name.endswith(units) == any(unit in f"{metric.name}_" for unit in ("_seconds_", "_bytes_"))
    assert set(metric.labels) <= {*SAMPLE, "kind", "result", "version"}, "no label may have unbounded values"


def test_unknown_result_of_a_notification_makes_no_series() -> None:
    with pytest.raises(ValueError, match="made up"):
        PrometheusMetrics().count("made up")
    assert [str(one) for one in NotificationResult] == ["sent", "failed", "dropped"]


class SlowRows:
    """Backups whose computation waits for the event loop, in place of ten thousand of them."""

    def __init__(self) -> None:
        self.loop_has_run = threading.Event()
        self.reads: list[bool] = []

    def __iter__(self) -> Iterator[BackupSummary]:
        self.reads.append(self.loop_has_run.wait(10))
        yield summary("a", NOW)


async def test_event_loop_runs_while_the_page_is_computed() -> None:
    rows, metrics = SlowRows(), PrometheusMetrics()
    metrics.connect(lambda: replace(LEADER, objects=ObservedObjects(backups=rows)))
    scrapes = [asyncio.create_task(metrics.page()) for _ in range(3)]
    while not rows.reads and not any(scrape.done() for scrape in scrapes):
        await asyncio.sleep(0)
        rows.loop_has_run.set()
    pages = await asyncio.gather(*scrapes)
    assert rows.reads == [True], "computed on the event loop, or more than once"
    assert b"gateway_backup_last_success_timestamp_seconds{" in pages[0]
    assert len(set(pages)) == 1


async def test_page_is_served_on_every_kind_of_node_and_survives_a_defect() -> None:
    defects = [ValueError("a defect")]

    async def render() -> bytes:
        if defects:
            raise defects.pop()
        return b"up 1\n"

    listening = listening_socket(":0")
    port = listening.getsockname()[1]
    runner = await serve_metrics(listening, render, CONTENT_TYPE)
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                assert response.status == 500
                assert "a defect" not in await response.text()
            for host in ("127.0.0.1", "[::1]") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
                async with session.get(f"http://{host}:{port}/metrics") as response:
                    assert response.headers["Content-Type"] == CONTENT_TYPE
                    assert await response.read() == b"up 1\n"
    finally:
        await runner.cleanup()
