"""A crash before and after each admin API call and each write: backups, adoptions, imports and deletions.

A first run without faults lists the calls, then one run follows for each crash. The reconciles run in this process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup.deletion import finalize_backup
from gateway_operator.reconcile.backup.run import reconcile_backup
from gateway_operator.reconcile.backup_import import reconcile_import
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from tests.operator.support.clocks import ShortSleepClock
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.reconcile_in_process import (
    in_process_operator,
    log,
    object_ref,
    repeat_until_finished,
)
from tests.operator.support.workloads import GATEWAY, Kube, custom_resource
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kubeconfig_env")]
CRASH_CALLS = {
    "write_status", "create_ours", "put_label", "delete_ours", "delete_by_uid", "event",
    "health", "backup", "find_file", "check_file", "read_backup", "list_files", "delete_backup",
}  # fmt: skip


def crashes(baseline: Faults) -> list[tuple[str, Faults]]:
    """A name and the faults for each crash before or after a call of the fault-free run.

    If two such calls follow each other, a crash after the first equals a crash before the second: it is done once.
    """
    cases: list[tuple[str, Faults]] = []
    for number, name in enumerate(baseline.names, 1):
        if name in CRASH_CALLS:
            if number == 1 or baseline.names[number - 2] not in CRASH_CALLS:
                cases.append((f"before-{number}", Faults({number})))
            cases.append((f"after-{number}", Faults(None, {number})))
    return cases


async def reconcile_to_end(kube: Kube, kind: str, name: str, faults: Faults) -> None:
    """Reconcile a GatewayBackup, or a GatewayBackupImport together with the backups that it creates."""
    ref = object_ref(kube, kind, name)

    async def step(faulty: Ports, healthy: Ports, _clock: ShortSleepClock) -> float | None:
        if kind == "GatewayBackup":
            return await reconcile_backup(faulty, GatewayLocks(), ref, log, GATEWAY)
        wait = await reconcile_import(faulty, ref, log)
        for body in kube.items("gwb"):
            metadata = body["metadata"]
            backup = Ref("GatewayBackup", kube.namespace, metadata["name"], metadata["uid"])
            await reconcile_backup(healthy, GatewayLocks(), backup, log, GATEWAY)
        return wait

    await repeat_until_finished(step, faults, lambda: f"{kind} {name} ({kube.status(kind, name)})")


async def test_backup_survives_a_crash_around_each_call(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        baseline = Faults()
        await backup_and_check(kube, gw, "without-crash", baseline, 1)
        for files, (name, faults) in enumerate(crashes(baseline), 2):
            await backup_and_check(kube, gw, name, faults, files)
        assert len(gw.backup_files()) == 1 + len(crashes(baseline)) >= 8


async def backup_and_check(kube: Kube, gw: RealGateway, name: str, faults: Faults, files: int) -> None:
    """Run one backup to its end. The volume must then have this number of files."""
    kube.apply_backup(name, group="daily", ttl="30d")
    await reconcile_to_end(kube, "GatewayBackup", name, faults)
    status = kube.status("gwb", name)
    assert status["phase"] == "Completed", (name, faults.names, status)
    assert len(gw.backup_files()) == files, (name, faults.names)
    assert "expiresAt" in status
    assert ("unchangedFrom" in status) is (files > 1)


async def test_adoption_survives_a_crash_around_each_call(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        kube.apply_backup("original")
        await reconcile_to_end(kube, "GatewayBackup", "original", Faults())
        path = kube.status("gwb", "original")["path"]
        kube.kubectl("delete", "gwb/original", "--timeout=60s")
        baseline = Faults()
        await adopt_and_check(kube, gw, path, "without-crash", baseline)
        for name, faults in crashes(baseline):
            await adopt_and_check(kube, gw, path, name, faults)


async def adopt_and_check(kube: Kube, gw: RealGateway, path: str, name: str, faults: Faults) -> None:
    """Run one adoption to its end, then delete the object and keep the file."""
    kube.apply_backup(name, existing={"path": path})
    await reconcile_to_end(kube, "GatewayBackup", name, faults)
    body = kube.require("gwb", name)
    assert body["status"]["reason"] == "Adopted", (name, faults.names, body["status"])
    assert body["status"]["origin"] == "Adopted"
    assert len(gw.backup_files()) == 1
    kube.kubectl("delete", f"gwb/{name}", "--timeout=60s")


async def test_import_survives_a_crash_around_each_call(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        for name in ("one", "two"):
            kube.apply_backup(name)
            await reconcile_to_end(kube, "GatewayBackup", name, Faults())
        baseline = Faults()
        await import_and_check(kube, gw, "without-crash", baseline)
        for name, faults in crashes(baseline):
            await import_and_check(kube, gw, name, faults)


async def import_and_check(kube: Kube, gw: RealGateway, name: str, faults: Faults) -> None:
    """Delete all objects and recreate them by an import."""
    kube.kubectl("delete", "gwb", "--all", "--timeout=60s")
    kube.apply(custom_resource("GatewayBackupImport", name, {"gatewayRef": {"name": "gw"}}))
    await reconcile_to_end(kube, "GatewayBackupImport", name, faults)
    status = kube.status("gwbi", name)
    assert (status["phase"], status["adopted"]) == ("Completed", 2), (name, faults.names, status)
    assert sorted(one["metadata"]["name"] for one in kube.items("gwb")) == ["one", "two"]
    assert len(gw.backup_files()) == 2


async def test_deletion_with_file_survives_a_crash_around_each_call(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        baseline = Faults()
        await delete_and_check(kube, gw, "without-crash", baseline)
        for name, faults in crashes(baseline):
            await delete_and_check(kube, gw, name, faults)


async def delete_and_check(kube: Kube, gw: RealGateway, name: str, faults: Faults) -> None:
    """Delete a backup together with its file. The operator restarts after each crash."""
    kube.apply_backup(name)
    await reconcile_to_end(kube, "GatewayBackup", name, Faults())
    assert len(gw.backup_files()) == 1
    kube.delete_with_file(name, "--wait=false")
    ref = object_ref(kube, "GatewayBackup", name)
    for _ in range(20):
        async with in_process_operator(ShortSleepClock(), faults) as (faulty, _healthy):
            try:
                if await finalize_backup(faulty, ref, log) is None:
                    break
            except CrashError:
                continue
    assert gw.backup_files() == [], (name, faults.names)
    kube.kubectl("patch", f"gwb/{name}", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert kube.get("gwb", name) is None
