"""Connects the metrics to what the watch has shown: the backup index, the work queues and the last health checks."""

from __future__ import annotations

from collections.abc import Sequence

from gateway_operator.adapters.monitoring.metrics import MetricSources
from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.metrics.gauges import ObservedObjects, object_gauges
from gateway_operator.domain.metrics.series import GaugeSeries
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.handlers.common import HandlerDependencies
from gateway_operator.reconcile.watch_coverage import WatchCoverage, WatchedRows


def watch_coverage(dependencies: HandlerDependencies, namespaces: Sequence[str]) -> WatchCoverage:
    """The comparison of what the watch has shown with the lists of the retention passes."""
    watched: dict[str, WatchedRows] = {
        BACKUP_KIND: dependencies.backup_index,
        RESTORE_KIND: dependencies.restore_index,
        SCHEDULE_KIND: dependencies.schedules,
    }
    return WatchCoverage(watched, namespaces)


def metric_sources(
    dependencies: HandlerDependencies, health: GatewayHealthIndex, coverage: WatchCoverage
) -> MetricSources:
    """The sources of one operator. No source makes a request."""

    def objects() -> GaugeSeries | None:
        if not coverage.complete:
            return None
        observed = ObservedObjects(
            backups=dependencies.backup_index.rows(),
            schedules=dependencies.schedules.items,
            restores=dependencies.restore_index.rows(),
            gateways=health.checks,
        )
        return object_gauges(observed, dependencies.ports.clock.now())

    return MetricSources(
        is_leader=lambda: dependencies.leadership.is_leader,
        queue_depths=lambda: {kind: queue.depth for kind, queue in dependencies.queues.items()},
        objects=objects,
    )
