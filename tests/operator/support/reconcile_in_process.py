"""Runs reconciles inside the test process, against the real API server and the real admin API.

`Faults` counts the calls of the adapters and raises a CrashError at chosen ones. After a crash everything is created
from scratch, as after a restart of the operator. kopf takes no part.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.ports import Clock, Ports
from gateway_operator.reconcile.backup.run import reconcile_backup
from gateway_operator.reconcile.backup_import import reconcile_import
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore_object import reconcile_restore
from tests.operator.support.admission import POLICIES
from tests.operator.support.clocks import ShortSleepClock
from tests.operator.support.workloads import GATEWAY, Kube
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

log = logging.getLogger("tests.reconcile_in_process")

Step = Callable[[Ports, Ports, ShortSleepClock], Awaitable[float | None]]
"""One reconcile: ports with the faults, ports without, and their clock. Returns the delay in seconds until the next
one, or None at the end."""


@asynccontextmanager
async def in_process_operator(clock: Clock, faults: Faults) -> AsyncIterator[tuple[Ports, Ports]]:
    """New connections, as after a start of the operator: the ports with the faults, and the ports without."""
    cluster, admin_api = await KubernetesCluster.connect(), HttpAdminApi()
    try:
        faulty = Ports(faults.wrap(cluster, False), faults.wrap(admin_api, True), clock, policies=POLICIES)
        yield faulty, Ports(cluster, admin_api, clock, policies=POLICIES)
    finally:
        await admin_api.close()
        await cluster.close()


async def repeat_until_finished(step: Step, faults: Faults, description: Callable[[], str]) -> None:
    """Repeat a reconcile until it asks for no requeue. After each crash it runs with a new operator."""
    for _ in range(60):
        clock = ShortSleepClock()
        async with in_process_operator(clock, faults) as (faulty, healthy):
            try:
                wait = await step(faulty, healthy, clock)
            except CrashError:
                continue
            if wait is None:
                return
            await asyncio.sleep(min(wait, 5))
    raise AssertionError(f"{description()} does not end")


def object_ref(kube: Kube, kind: str, name: str) -> Ref:
    """The reference to an existing object, with its uid."""
    return Ref(kind, kube.namespace, name, kube.require(kind, name)["metadata"]["uid"])


async def reconcile_to_end(kube: Kube, kind: str, name: str, faults: Faults) -> None:
    """Reconcile a GatewayBackup, a GatewayRestore or a GatewayBackupImport to its end.

    While it sleeps, all other unfinished backups are reconciled without faults: a restore waits for its safety backup.
    """
    ref = object_ref(kube, kind, name)

    async def step(faulty: Ports, healthy: Ports, clock: ShortSleepClock) -> float | None:
        async def reconcile_unfinished_backups() -> None:
            for body in await healthy.cluster.list_ours("GatewayBackup", kube.namespace):
                metadata = body["metadata"]
                if not (body.get("status") or {}).get("completionTime"):
                    backup = Ref("GatewayBackup", kube.namespace, metadata["name"], metadata["uid"])
                    await reconcile_backup(healthy, GatewayLocks(), backup, log, GATEWAY)

        clock.before_sleep = reconcile_unfinished_backups
        if kind == "GatewayBackupImport":
            wait = await reconcile_import(faulty, ref, log)
            await reconcile_unfinished_backups()
            return wait
        if kind == "GatewayBackup":
            return await reconcile_backup(faulty, GatewayLocks(), ref, log, GATEWAY)
        return await reconcile_restore(faulty, GatewayLocks(), ref, log)

    await repeat_until_finished(step, faults, lambda: f"{kind} {name} ({kube.status(kind, name)})")
