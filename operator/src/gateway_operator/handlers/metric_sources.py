"""Connects the metrics to what the watch has shown: the backup index, the work queues and the last health checks."""

from __future__ import annotations

from gateway_operator.adapters.monitoring.metrics import MetricSources
from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.metrics.gauges import ObservedObjects, object_gauges
from gateway_operator.domain.metrics.series import GaugeSeries
from gateway_operator.handlers.common import HandlerDependencies


def metric_sources(dependencies: HandlerDependencies, health: GatewayHealthIndex) -> MetricSources:
    """The sources of one operator. No source makes a request."""

    def objects() -> GaugeSeries:
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
