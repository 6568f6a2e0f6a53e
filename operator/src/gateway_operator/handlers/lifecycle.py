"""kopf's startup, cleanup and login handlers, and the liveness probe.

Startup connects the adapters, creates one work queue for each kind, and starts the work of the leader or the leader
election. Cleanup stops them in the reverse order.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import kopf

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.clock import SystemClock
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.monitoring.metrics import CONTENT_TYPE, PrometheusMetrics
from gateway_operator.adapters.monitoring.probe_server import listening_socket, serve_metrics, serve_probes
from gateway_operator.adapters.notifications.webhooks import HttpWebhooks
from gateway_operator.adapters.objects.cron_jobs import KubernetesCronJobs
from gateway_operator.adapters.objects.drill_objects import KubernetesDrillObjects
from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import BACKUP_KIND, IMPORT_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.handlers.common import HandlerDependencies
from gateway_operator.handlers.kopf_settings import configure
from gateway_operator.handlers.leader_work import LeaderProcess, LeaderWork
from gateway_operator.handlers.metric_sources import metrics_snapshots, watch_coverage
from gateway_operator.leadership import Leadership
from gateway_operator.ports import Ports
from gateway_operator.ports.metrics import ReconcileMetrics
from gateway_operator.reconcile.backup.object import reconcile_backup_object
from gateway_operator.reconcile.backup_import import reconcile_import
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.notifications.notifier import Notifier
from gateway_operator.reconcile.restore_object import reconcile_restore
from gateway_operator.reconcile.schedule import ScheduleParts, reconcile_schedule
from gateway_operator.reconcile.status_writer import object_log
from gateway_operator.reconcile.unexpected import record_error
from gateway_operator.reconcile.watch_check import WatchCheck
from gateway_operator.reconcile.workqueue import WorkQueue
from gateway_operator.settings import OperatorSettings

_SCHEDULE_DELAY: Final = 0.5
"""Seconds from an event to the reconcile of a schedule, so that many changes of its backups cause one run."""


_MAX_SECONDS_FOR_KINDS: Final = 30


async def _wait_until_kinds_are_served(cluster: KubernetesCluster) -> None:
    """kopf looks for the kinds once, after the startup handlers, and never watches a kind that is missing then."""
    for _ in range(_MAX_SECONDS_FOR_KINDS):
        obstacle = await cluster.why_kinds_are_not_served()
        if not obstacle:
            return
        await asyncio.sleep(1)
    raise kopf.PermanentError(obstacle)


def _connect_queues(
    ports: Ports, schedule_parts: ScheduleParts, leadership: Leadership, metrics: ReconcileMetrics
) -> HandlerDependencies:
    locks = GatewayLocks()

    async def backup(item: Backup) -> float | None:
        return await reconcile_backup_object(ports, locks, item)

    async def restore(item: Restore) -> float | None:
        return await reconcile_restore(ports, locks, item.meta.ref, object_log(item.meta.ref))

    async def backup_import(item: Import) -> float | None:
        return await reconcile_import(ports, item.meta.ref, object_log(item.meta.ref))

    async def schedule(item: GatewayBackupSchedule) -> None:
        await reconcile_schedule(schedule_parts, item.meta.ref, object_log(item.meta.ref))

    async def record(ref: Ref, error: Exception) -> float | None:
        return await record_error(ports, ref, error, object_log(ref))

    return HandlerDependencies(
        ports=ports,
        backups=WorkQueue(backup, record_error=record, metrics=metrics, kind=BACKUP_KIND),
        restores=WorkQueue(restore, record_error=record, metrics=metrics, kind=RESTORE_KIND),
        imports=WorkQueue(backup_import, record_error=record, metrics=metrics, kind=IMPORT_KIND),
        schedules=WorkQueue(schedule, _SCHEDULE_DELAY, record_error=record, metrics=metrics, kind=SCHEDULE_KIND),
        leadership=leadership,
    )


def _start_notifier(memo: kopf.Memo, ports: Ports, metrics: PrometheusMetrics) -> Notifier | None:
    """Start the notifier if the chart has mounted a Secret for it."""
    settings: OperatorSettings = memo.settings
    if not settings.notifications:
        return None
    leadership: Leadership = memo.leadership
    notifier = Notifier(
        ports,
        # The session is shared with the calls to the admin APIs.
        HttpWebhooks(Path(settings.notifications), memo.admin_api.session),
        topics=settings.notification_topics,
        cluster_name=settings.cluster_name,
        is_leader=lambda: leadership.is_leader,
        counts=metrics,
    )
    notifier.start()
    return notifier


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Connect the adapters, create the work queues and start the election, before kopf starts its watches."""
    configure(settings)
    operator_settings: OperatorSettings = memo.settings
    memo.probes = None
    if operator_settings.liveness:
        # Before the connection to the API server, which may take longer than the probe waits.
        memo.probes = await serve_probes(listening_socket(operator_settings.liveness), lambda: liveness_problem(memo))
    # As early as the probe, so that a scrape during the start gets an answer.
    metrics = PrometheusMetrics((BACKUP_KIND, RESTORE_KIND, IMPORT_KIND, SCHEDULE_KIND))
    memo.metrics_server = None
    if operator_settings.metrics:
        memo.metrics_server = await serve_metrics(
            listening_socket(operator_settings.metrics), metrics.page, CONTENT_TYPE
        )
    memo.leadership = Leadership(elected=operator_settings.leader_elect)
    memo.cluster = await KubernetesCluster.connect()
    memo.cluster.before_write = memo.leadership.require
    await _wait_until_kinds_are_served(memo.cluster)
    memo.admin_api = HttpAdminApi(before_call=memo.leadership.require)
    ports = Ports(
        memo.cluster,
        memo.admin_api,
        SystemClock(),
        operator_settings.operator,
        backup_index=BackupIndex(),
        policies=operator_settings.policies,
        drill_objects=KubernetesDrillObjects(memo.cluster),
    )
    schedule_parts = ScheduleParts(ports, KubernetesCronJobs(memo.cluster), operator_settings.image)
    memo.dependencies = _connect_queues(ports, schedule_parts, memo.leadership, metrics)
    memo.dependencies.notifier = _start_notifier(memo, ports, metrics)
    health = GatewayHealthIndex()
    coverage = watch_coverage(memo.dependencies, operator_settings.namespaces)
    metrics.connect(metrics_snapshots(memo.dependencies, health, coverage))
    watch_check = WatchCheck(memo.dependencies.queues)
    memo.leader = LeaderProcess(LeaderWork(memo.dependencies, operator_settings, health, coverage, watch_check))
    await memo.leader.start(memo.dependencies, operator_settings)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Stop the work of the leader, and only then close the connections that it uses."""
    if memo.dependencies.notifier is not None:
        await memo.dependencies.notifier.stop()
    await memo.leader.stop()
    await memo.admin_api.close()
    await memo.cluster.close()
    for server in (memo.probes, memo.metrics_server):
        if server is not None:
            await server.cleanup()


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Log in with the pod's service account, or else with the kubeconfig; never with kopf's other login methods."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def liveness_problem(memo: kopf.Memo) -> str:
    """Why the kubelet should restart the operator; empty if it should not, also while it starts."""
    leader: LeaderProcess | None = memo.get("leader")
    return "" if leader is None else leader.problem()
