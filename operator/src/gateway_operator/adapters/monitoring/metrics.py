"""The Prometheus metrics of the operator, and their text format.

Counters and the histogram collect while the operator works. The gauges about objects are computed at each read. A
standby has only the series of its process, its version and the leader, so that sums over all replicas count once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
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
from gateway_operator.domain.metrics.series import GaugeSeries

_DISTRIBUTION: Final = "gateway-backup-operator"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 600)
"""Seconds. A reconcile waits for the gateway, so it may take minutes."""
_CACHE_SECONDS: Final = 1.0
"""For this time an answer is used again: the endpoint needs no key, and ten thousand objects take a while."""


@dataclass(frozen=True)
class MetricSources:
    """The state that is read at each scrape. ``objects`` is None until the watch has shown all objects."""

    is_leader: Callable[[], bool]
    queue_depths: Callable[[], Mapping[str, int]]
    objects: Callable[[], GaugeSeries | None]


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
        self._objects = _ObjectsCollector()
        self._work.register(self._objects)
        self._sources: MetricSources | None = None
        self._page: tuple[float, bytes] | None = None

    def connect(self, sources: MetricSources) -> None:
        """Serve the metrics of these sources. Before, the operator starts and acts on nothing."""
        self._sources = sources
        self._objects.sources = sources

    def observe_reconcile(self, kind: str, seconds: float, *, failed: bool) -> None:
        """Implements ``ReconcileMetrics``."""
        self._seconds.labels(kind).observe(seconds)
        if failed:
            self._errors.labels(kind).inc()

    def count(self, result: str) -> None:
        """Count a notification by its result, one of ``NotificationResult``."""
        self._notifications.labels(str(NotificationResult(result))).inc()

    def render(self) -> bytes:
        """The text of all metrics. It is at most ``_CACHE_SECONDS`` old."""
        now = time.monotonic()
        if self._page is None or now - self._page[0] >= _CACHE_SECONDS:
            self._page = (now, self._render())
        return self._page[1]

    def _render(self) -> bytes:
        is_leader = self._sources is not None and self._sources.is_leader()
        self._leader.set(is_leader)
        text = generate_latest(self._process)
        return text + generate_latest(self._work) if is_leader else text


class _ObjectsCollector(Collector):
    """Reads the sources when the registry is collected."""

    def __init__(self) -> None:
        self.sources: MetricSources | None = None

    def collect(self) -> Iterator[Metric]:
        """The families of the queues and objects; none before the sources are connected."""
        if self.sources is None:
            return
        depths: dict[tuple[str, ...], float] = {
            (kind,): float(depth) for kind, depth in self.sources.queue_depths().items()
        }
        yield _family(definitions.QUEUE_DEPTH, depths)
        objects = self.sources.objects()
        yield _family(definitions.OBJECTS_READ, {(): float(objects is not None)})
        if objects is None:
            return
        for metric in definitions.OBJECT_METRICS:
            yield _family(metric, objects.values.get(metric, {}))


def _family(metric: MetricDefinition, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _gauge(metric: MetricDefinition, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def _counter(metric: MetricDefinition, registry: CollectorRegistry) -> Counter:
    return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=registry)
