"""Start, stop, login and the liveness probe; and kopf's settings, each set on purpose."""

from __future__ import annotations

from typing import Any, Final

import kopf

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.clock import SystemClock
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.cron_jobs import KubernetesCronJobs
from gateway_operator.domain.backup_index import BackupIndex
from gateway_operator.domain.names import BACKUP_KIND, IMPORT_KIND, RESTORE_KIND, SCHEDULE_KIND, SCHEDULE_LABEL
from gateway_operator.domain.objects import Backup, Import, Restore
from gateway_operator.domain.scheduled import GatewayBackupSchedule
from gateway_operator.handlers import backups, sweeper
from gateway_operator.handlers.running import HandlerDependencies
from gateway_operator.handlers.storage import NoDiffBase
from gateway_operator.ports import Ports
from gateway_operator.reconcile.gateways import GatewayLocks
from gateway_operator.reconcile.importing import reconcile_import
from gateway_operator.reconcile.restore import reconcile_restore
from gateway_operator.reconcile.schedule import ScheduleParts, reconcile_schedule
from gateway_operator.reconcile.watch_check import WatchCheck
from gateway_operator.reconcile.workqueue import WorkQueue
from gateway_operator.reconcile.writing import object_log
from gateway_operator.settings import Settings

_SCHEDULE_DELAY: Final = 0.5
"""Seconds. A schedule is reconciled once for the many changes of its backups within them."""


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf's settings. persistence.finalizer keeps kopf's default: kopf takes off a finalizer of that name when no
    handler of its own needs it, and the finalizer of our backups is handled by their reconcile."""
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.peering.standalone = True  # another kopf operator in the cluster must not be able to pause this one
    settings.scanning.disabled = True  # no list and watch of every definition and namespace
    settings.posting.enabled = False  # events are ours, on transitions only
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660  # a second belt: silent watches end by inactivity_timeout already
    settings.watching.reconnect_backoff = 1
    settings.watching.label_selectors["batch", "v1", "cronjobs"] = SCHEDULE_LABEL  # not everybody's CronJobs
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.process.ultimate_exiting_timeout = 25  # before the kubelet's patience ends


def _connect_queues(ports: Ports, schedule_parts: ScheduleParts) -> HandlerDependencies:
    locks = GatewayLocks()

    async def backup(item: Backup) -> float | None:
        return await backups.reconcile(ports, locks, item)

    async def restore(item: Restore) -> float | None:
        return await reconcile_restore(ports, locks, item.meta.ref, object_log(item.meta.ref))

    async def backup_import(item: Import) -> float | None:
        return await reconcile_import(ports, item.meta.ref, object_log(item.meta.ref))

    async def schedule(item: GatewayBackupSchedule) -> None:
        await reconcile_schedule(schedule_parts, item.meta.ref, object_log(item.meta.ref))

    return HandlerDependencies(
        ports=ports,
        backups=WorkQueue(backup),
        restores=WorkQueue(restore),
        imports=WorkQueue(backup_import),
        schedules=WorkQueue(schedule, _SCHEDULE_DELAY),
    )


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Connect."""
    configure(settings)
    own: Settings = memo.settings
    memo.cluster = await KubernetesCluster.connect()
    memo.admin_api = HttpAdminApi(calls_in_flight=own.calls_in_flight, long_timeout=own.call_timeout)
    ports = Ports(memo.cluster, memo.admin_api, SystemClock(), own.operator, BackupIndex())
    schedule_parts = ScheduleParts(ports, KubernetesCronJobs(memo.cluster), own.image)
    dependencies = _connect_queues(ports, schedule_parts)
    memo.dependencies = dependencies
    memo.watch_check = WatchCheck(
        {
            BACKUP_KIND: dependencies.backups,
            RESTORE_KIND: dependencies.restores,
            IMPORT_KIND: dependencies.imports,
            SCHEDULE_KIND: dependencies.schedules,
        }
    )
    memo.sweeper = sweeper.start(ports, own, memo.watch_check, dependencies.schedules.add_all)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Disconnect."""
    await sweeper.stop(memo.sweeper)
    await memo.dependencies.stop()
    await memo.admin_api.close()
    await memo.cluster.close()


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """As the pod's service account, else as the kubeconfig says. Without the client library's own login."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


@kopf.on.probe(id="watches")
async def watches(memo: kopf.Memo, **_: Any) -> str:
    """Fail when a watch delivers nothing or the periodic task has ended. A dead event loop does not answer at all.

    kopf can lose a watching task and continue without it. The restart that the kubelet then makes is the remedy.
    """
    watch_check: WatchCheck = memo.watch_check
    if watch_check.missed:
        ref = watch_check.missed[0]
        raise kopf.PermanentError(f"no watch event for {ref.kind} {ref.namespace}/{ref.name}")
    if memo.sweeper.done():
        raise kopf.PermanentError("the periodic task has ended")
    return "ok"
