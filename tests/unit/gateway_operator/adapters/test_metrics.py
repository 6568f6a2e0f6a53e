"""The page of the metrics: what a leader, a standby and a starting operator show, over IPv4 and IPv6."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway_operator.adapters.monitoring.metrics import CONTENT_TYPE, MetricSources, PrometheusMetrics
from gateway_operator.adapters.monitoring.probe_server import listening_socket, serve_metrics
from gateway_operator.domain.metrics import definitions
from gateway_operator.domain.metrics.definitions import MetricDefinition, MetricType, NotificationResult
from gateway_operator.domain.metrics.series import GaugeSeries

SAMPLE = dict.fromkeys(("namespace", "gateway", "schedule", "phase", "reason", "mode"), "x")


def one_of_each() -> GaugeSeries:
    """A series of every gauge about objects."""
    series = GaugeSeries()
    for metric in definitions.OBJECT_METRICS:
        series.set(metric, tuple(SAMPLE[label] for label in metric.labels), 1)
    return series


LEADER = MetricSources(lambda: True, lambda: {"GatewayBackup": 3}, one_of_each)


def page(sources: MetricSources | None) -> Mapping[str, list[tuple[dict[str, str], float]]]:
    """The samples of each name on the page."""
    metrics = PrometheusMetrics(["GatewayBackup"])
    if sources is not None:
        metrics.connect(sources)
    metrics.observe_reconcile("GatewayBackup", 0.2, failed=True)
    metrics.count("sent")
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def test_leader_shows_every_defined_metric_and_no_other() -> None:
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


@pytest.mark.parametrize("sources", [None, replace(LEADER, is_leader=lambda: False)], ids=["starting", "standby"])
def test_standby_has_no_series_that_a_sum_would_count_twice(sources: MetricSources | None) -> None:
    series = page(sources)
    own = {"gateway_backup_operator_info", "gateway_backup_operator_leader"}
    assert {name for name in series if not name.startswith("process_")} == own
    assert series["gateway_backup_operator_leader"] == [({}, 0.0)]


def test_objects_have_no_series_before_all_of_them_are_read() -> None:
    series = page(replace(LEADER, objects=lambda: None))
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


async def test_page_is_served_on_every_kind_of_node_and_survives_a_defect() -> None:
    defects = [ValueError("a defect")]

    def render() -> bytes:
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
