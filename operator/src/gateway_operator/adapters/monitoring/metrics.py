"""The Prometheus metrics of the operator, and their text format.

Counters and the histogram collect while the operator works. The gauges about objects are computed at each read, from a
snapshot and in a thread: with many objects that takes a second, and the event loop must not wait. A standby has only
the series of its process, its version and the leader, so that sums over all replicas count once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway_operator.domain.metrics import definitions
from gateway_operator.domain.metrics.definitions import MetricDefinition, NotificationResult
from gateway_operator.domain.metrics.gauges import ObservedObjects, object_gauges

_DISTRIBUTION: Final = "gateway-backup-operator"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 600)
"""Seconds. A reconcile waits for the gateway, so it may take minutes."""
_CACHE_SECONDS: Final = 1.0
"""For this time an answer is used again: the endpoint needs no key, and ten thousand objects take a while."""


@dataclass(frozen=True)
class MetricsSnapshot:
    """The state of the operator at one moment. Nothing in it changes later, so another thread may read it."""

    is_leader: bool
    queue_depths: Mapping[str, int]
    objects: ObservedObjects | None
    """None until the watch has shown all objects."""
    time: datetime


class PrometheusMetrics:
    """Implements ``ReconcileMetrics``, counts notifications, and renders all metrics."""

    def __init__(self, kinds: Iterable[str] = ()) -> None:
        """``kinds``: the kinds whose series exist from the start with the value 0."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        info = _gauge(definitions.INFO, self._process)
        info.labels(version(_DISTRIBUTION)).set(1)
        self._leader = _gauge(definitions.LEADER, self._process)
        self._work = CollectorRegistry()
        self._seconds = Histogram(
            definitions.RECONCILE_SECONDS.name,
            definitions.RECONCILE_SECONDS.help,
            definitions.RECONCILE_SECONDS.labels,
            buckets=BUCKETS,
            registry=self._work,
        )
        self._errors = _counter(definitions.RECONCILE_ERRORS, self._work)
        self._notifications = _counter(definitions.NOTIFICATIONS, self._work)
        for kind in kinds:
            self._seconds.labels(kind)
            self._errors.labels(kind)
        for result in NotificationResult:
            self._notifications.labels(str(result))
        self._take_snapshot: Callable[[], MetricsSnapshot] | None = None
        self._page: tuple[float, bytes] | None = None
        self._lock = asyncio.Lock()

    def connect(self, take_snapshot: Callable[[], MetricsSnapshot]) -> None:
        """Serve the metrics of these snapshots. Before, the operator starts and acts on nothing."""
        self._take_snapshot = take_snapshot

    def observe_reconcile(self, kind: str, seconds: float, *, failed: bool) -> None:
        """Implements ``ReconcileMetrics``."""
        self._seconds.labels(kind).observe(seconds)
        if failed:
            self._errors.labels(kind).inc()

    def count(self, result: str) -> None:
        """Count a notification by its result, one of ``NotificationResult``."""
        self._notifications.labels(str(NotificationResult(result))).inc()

    async def page(self) -> bytes:
        """The text of all metrics. It is at most ``_CACHE_SECONDS`` old."""
        # The lock: requests at the same time wait for one thread instead of starting one each.
        async with self._lock:
            now = time.monotonic()
            if self._page is None or now - self._page[0] >= _CACHE_SECONDS:
                # On the loop, which alone changes the objects; only the computation is in the thread.
                snapshot = None if self._take_snapshot is None else self._take_snapshot()
                self._page = (now, await asyncio.to_thread(self._render, snapshot))
            return self._page[1]

    def _render(self, snapshot: MetricsSnapshot | None) -> bytes:
        is_leader = snapshot is not None and snapshot.is_leader
        self._leader.set(is_leader)
        text = generate_latest(self._process)
        if snapshot is None or not is_leader:
            return text
        return text + generate_latest(self._work) + generate_latest(_SnapshotCollector(snapshot))


class _SnapshotCollector(Collector):
    """The gauges of the queues and objects in a snapshot."""

    def __init__(self, snapshot: MetricsSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """The families; none of the objects before all of them are read."""
        objects = self._snapshot.objects
        depths: dict[tuple[str, ...], float] = {
            (kind,): float(depth) for kind, depth in self._snapshot.queue_depths.items()
        }
        yield _family(definitions.QUEUE_DEPTH, depths)
        yield _family(definitions.OBJECTS_READ, {(): float(objects is not None)})
        if objects is None:
            return
        gauges = object_gauges(objects, self._snapshot.time)
        for metric in definitions.OBJECT_METRICS:
            yield _family(metric, gauges.values.get(metric, {}))


def _family(metric: MetricDefinition, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _gauge(metric: MetricDefinition, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def _counter(metric: MetricDefinition, registry: CollectorRegistry) -> Counter:
    return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=registry)
