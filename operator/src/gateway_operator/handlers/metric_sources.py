"""Connects the metrics to what the watch has shown: the backup index, the work queues and the last health checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway_operator.adapters.monitoring.metrics import MetricsSnapshot
from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.metrics.gauges import ObservedObjects
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


def metrics_snapshots(
    dependencies: HandlerDependencies, health: GatewayHealthIndex, coverage: WatchCoverage
) -> Callable[[], MetricsSnapshot]:
    """A function that takes a snapshot. It makes no request, and copies only lists of rows that never change."""

    def observed() -> ObservedObjects | None:
        if not coverage.complete:
            return None
        return ObservedObjects(
            backups=dependencies.backup_index.rows(),
            schedules=dependencies.schedules.items,
            restores=dependencies.restore_index.rows(),
            gateways=dict(health.checks),
        )

    def take() -> MetricsSnapshot:
        return MetricsSnapshot(
            is_leader=dependencies.leadership.is_leader,
            queue_depths={kind: queue.depth for kind, queue in dependencies.queues.items()},
            objects=observed(),
            time=dependencies.ports.clock.now(),
        )

    return take
