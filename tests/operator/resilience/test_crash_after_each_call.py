"""A crash after every call of the real adapters that leaves a trace, enumerated: one file, one end.

A read leaves none, so these are all the states in which a crash can find the world; the unit tests, where that is
cheap, break every single call.

The operator's reconcile runs in this process, against the real API server and the real admin API. What `kopf` adds is
tested elsewhere; here each step is broken by name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.cron_jobs import KubernetesCronJobs
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.ports import Clock, Ports
from gateway_operator.reconcile.backup import reconcile_backup
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore import reconcile_restore
from gateway_operator.reconcile.schedule import ScheduleParts, reconcile_schedule
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import Kube
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

pytestmark = pytest.mark.cluster
EFFECTS = {"write_status", "create_ours", "backup", "restore", "commit", "restart", "event", "create", "patch"}
log = logging.getLogger("tests.every_crash")


class Impatient:
    """The real time, but nobody waits long: the calls are what is tested."""

    def __init__(self) -> None:
        self.meanwhile: Any = None

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        if self.meanwhile is not None:
            await self.meanwhile()
        await asyncio.sleep(min(seconds, 0.05))


@asynccontextmanager
async def operator(clock: Clock, faults: Faults) -> AsyncIterator[tuple[Ports, Ports]]:
    """A fresh operator, as after a start: the ports with the faults, and without."""
    cluster, admin_api = await KubernetesCluster.connect(), HttpAdminApi()
    try:
        broken = Ports(faults.wrap(cluster, False), faults.wrap(admin_api, True), clock)
        yield broken, Ports(cluster, admin_api, clock)
    finally:
        await admin_api.close()
        await cluster.close()


def crashes(without: Faults) -> list[Faults]:
    """One crash after each call that left a trace in a run without any."""
    return [Faults(None, {number}) for number, name in enumerate(without.names, 1) if name in EFFECTS]


async def run(kube: Kube, kind: str, name: str, faults: Faults) -> None:
    """To the end, started anew after each crash."""
    body = kube.get(kind, name)
    assert body is not None
    ref = Ref(kind, kube.namespace, name, body["metadata"]["uid"])
    for _ in range(60):
        clock = Impatient()
        async with operator(clock, faults) as (broken, whole):

            async def safety(whole: Ports = whole) -> None:
                for other in await whole.cluster.list_ours("GatewayBackup", kube.namespace):
                    meta = other["metadata"]
                    if not (other.get("status") or {}).get("completionTime"):
                        one = Ref("GatewayBackup", kube.namespace, meta["name"], meta["uid"])
                        await reconcile_backup(whole, GatewayLocks(), one, log)

            clock.meanwhile = safety
            try:
                step = reconcile_backup if kind == "GatewayBackup" else reconcile_restore
                wait = await step(broken, GatewayLocks(), ref, log)
            except CrashError:
                continue
            if wait is None:
                return
            await asyncio.sleep(min(wait, 5))
    raise AssertionError(f"{kind} {name} does not end: {kube.status(kind, name)}")


@pytest.fixture
def config(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster's kubeconfig, as the operator finds it."""
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))


async def test_a_backup(kube: Kube, tmp_path: Path, config: None) -> None:
    with real_gateway(kube, tmp_path) as gw:
        kube.backup("whole")
        without = Faults()
        await run(kube, "GatewayBackup", "whole", without)
        files = 1
        for faults in crashes(without):
            name = f"after-{min(faults.after)}"
            kube.backup(name)
            await run(kube, "GatewayBackup", name, faults)
            files += 1
            status = kube.status("gwb", name)
            assert status["phase"] == "Completed", (name, faults.names, status)
            assert len(gw.files()) == files, (name, faults.names)
        assert files > 4


async def test_a_restore(kube: Kube, tmp_path: Path, config: None) -> None:
    with real_gateway(kube, tmp_path, admin_settle_seconds=0) as gw:
        kube.backup("good")
        await run(kube, "GatewayBackup", "good", Faults())
        gw.write(users=5)
        without = Faults()
        await restored(kube, gw, "whole", without)
        for faults in crashes(without):
            gw.write(users=5)
            await restored(kube, gw, f"after-{min(faults.after)}", faults)


async def restored(kube: Kube, gw: RealGateway, name: str, faults: Faults) -> None:
    """One restore to its end, and everything that must hold then."""
    kube.restore(name, backupName="good", healthCheck={"timeoutSeconds": 20, "consecutive": 1})
    await run(kube, "GatewayRestore", name, faults)
    status = kube.status("gwr", name)
    assert status["phase"] == "Completed", (name, faults.names, status)
    assert gw.users() == 2, (name, faults.names)
    assert gw.journal(status["requestID"])["data"]["state"] == "committed"
    body = kube.get("gwr", name)
    assert body is not None
    safety = [
        one for one in kube.items("gwb") if name == one["metadata"].get("labels", {}).get("mcpgateway.dev/restore")
    ]
    assert len(safety) == 1, (name, faults.names)
    assert safety[0]["status"]["counts"]["users"] == 5, (name, faults.names)


async def look(kube: Kube, name: str, faults: Faults) -> None:
    """The reconcile of a schedule to its end, started anew after each crash."""
    ref = Ref("GatewayBackupSchedule", kube.namespace, name, "")
    for _ in range(10):
        cluster = await KubernetesCluster.connect()
        ports = Ports(faults.wrap(cluster, False), HttpAdminApi(), Impatient())
        cron_jobs = faults.wrap(KubernetesCronJobs(cluster), False)
        try:
            await reconcile_schedule(ScheduleParts(ports, cron_jobs, Image("operator:1")), ref, log)
        except CrashError:
            continue
        finally:
            await cluster.close()
        return
    raise AssertionError(f"{name} does not end: {kube.status('gwbs', name)}")


async def life_of_a_schedule(kube: Kube, name: str, faults: Faults) -> None:
    """Made; its CronJob edited; its CronJob deleted; changed. After each the CronJob is what the schedule says."""
    kube.schedule(name)
    await look(kube, name, faults)
    kube.run("patch", "cronjob", name, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    await look(kube, name, faults)
    assert (kube.get("cronjob", name) or {})["spec"]["suspend"] is False, faults.names
    kube.run("delete", "cronjob", name)
    await look(kube, name, faults)
    kube.schedule(name, schedule="0 4 1 1 *")
    await look(kube, name, faults)
    assert (kube.get("cronjob", name) or {})["spec"]["schedule"] == "0 4 1 1 *", faults.names
    status = kube.status("gwbs", name)
    assert status["observedGeneration"] == 2, (name, faults.names)
    assert [(one["type"], one["status"]) for one in status["conditions"]] == [("Ready", "True")], (name, faults.names)


async def test_a_schedule(kube: Kube, config: None) -> None:
    kube.run("create", "serviceaccount", "gw-backup")
    without = Faults()
    await life_of_a_schedule(kube, "whole", without)
    for number, faults in enumerate(crashes(without)):
        await life_of_a_schedule(kube, f"after-{number}", faults)
    assert len(kube.items("cronjobs")) == 1 + len(crashes(without))
