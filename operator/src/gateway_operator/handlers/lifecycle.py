"""Start, stop, login and the liveness probe; and kopf's settings, each set on purpose."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import kopf

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.clock import SystemClock
from gateway_operator.adapters.cluster import COMPONENT, KubernetesCluster
from gateway_operator.adapters.cron_jobs import KubernetesCronJobs
from gateway_operator.domain.known import KnownBackups
from gateway_operator.domain.names import DELETE_FILE, FINALIZER, GROUP, SCHEDULE_KIND, SCHEDULE_LABEL
from gateway_operator.domain.objects import NamespacedName, Ref
from gateway_operator.handlers import sweeper
from gateway_operator.handlers.running import Parts
from gateway_operator.handlers.storage import DiffBase, Progress
from gateway_operator.ports import Ports
from gateway_operator.reconcile.gateways import Turns
from gateway_operator.reconcile.nudges import Nudges
from gateway_operator.reconcile.schedule import ScheduleParts, reconcile_schedule
from gateway_operator.settings import Settings

KINDS_WATCHED: Final = 5
PROBE_LOOKS: Final = 20
"""A tenth of a second apart, at watches of an operator that has just begun; the kubelet waits five seconds."""

log = logging.getLogger("gateway_operator.schedules")


def configure(settings: kopf.OperatorSettings) -> None:
    """Kopf's settings. What is stored on objects (prefix, finalizer) may not change between versions."""
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = Progress(prefix=GROUP, v1=False)
    settings.persistence.diffbase_storage = DiffBase(
        prefix=GROUP,
        key="last-handled",
        v1=False,
        ignored_fields=["metadata.labels", ("metadata", "annotations", DELETE_FILE)],
    )
    settings.peering.standalone = True  # another kopf operator in the cluster must not be able to pause this one
    settings.scanning.disabled = True  # no list and watch of every definition and namespace
    settings.posting.enabled = False  # events are ours, on transitions only
    settings.posting.reporting_component = COMPONENT
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660  # a second belt: silent watches end by inactivity_timeout already
    settings.watching.reconnect_backoff = 1
    settings.watching.label_selectors["batch", "v1", "cronjobs"] = SCHEDULE_LABEL  # not everybody's CronJobs
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.execution.default_backoff = 15
    settings.process.ultimate_exiting_timeout = 25  # before the kubelet's patience ends


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Connect."""
    configure(settings)
    own: Settings = memo.settings
    memo.cluster = await KubernetesCluster.connect()
    memo.admin_api = HttpAdminApi(calls_in_flight=own.calls_in_flight, long_timeout=own.call_timeout)
    ports = Ports(memo.cluster, memo.admin_api, SystemClock(), own.operator, KnownBackups())
    schedules = ScheduleParts(ports, KubernetesCronJobs(memo.cluster), own.image)

    async def look(key: NamespacedName) -> None:
        await reconcile_schedule(schedules, Ref(SCHEDULE_KIND, *key, uid=""), log)

    nudges = Nudges(look, log)
    memo.parts = Parts(ports, Turns(), schedules, nudges)
    memo.sweeper = sweeper.start(ports, own, nudges.nudge_all)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Disconnect."""
    await sweeper.stop(memo.sweeper)
    await memo.parts.nudges.stop()
    await memo.admin_api.close()
    await memo.cluster.close()


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """As the pod's service account, else as the kubeconfig says. Without the client library's own login."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _alive() -> int:
    return sum(1 for task in asyncio.all_tasks() if task.get_name().startswith("watcher for") and not task.done())


@kopf.on.probe(id="watches")
async def watches(memo: kopf.Memo, **_: Any) -> int:
    """Fail when a watch is missing. A dead event loop does not answer at all.

    Kopf can lose a watching task and live on without it; its tasks are known by their names.
    """
    own: Settings = memo.settings
    wanted = KINDS_WATCHED * max(1, len(own.namespaces))
    alive = _alive()
    for _look in range(PROBE_LOOKS):
        if alive >= wanted:
            break
        await asyncio.sleep(0.1)
        alive = _alive()
    if alive < wanted:
        raise kopf.PermanentError(f"{alive} of {wanted} watches are alive")
    if memo.sweeper.done():
        raise kopf.PermanentError("the sweeper has ended")
    return alive
