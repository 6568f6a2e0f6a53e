"""A crash before and after every call to an admin API and every write: backups, adoptions, imports, deletions.

As in test_every_crash, the reconcile runs in this process, against the real API server and the real admin API.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.reconcile.backup import reconcile_backup
from gateway_operator.reconcile.backup_import import reconcile_import
from gateway_operator.reconcile.deletion import finalize_backup
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from tests.operator.resilience.test_crash_after_each_call import Impatient, log, operator
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import Kube, resource
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

pytestmark = pytest.mark.cluster
BROKEN = {
    "write_status", "create_ours", "put_label", "delete_ours", "delete_by_uid", "event",
    "health", "backup", "find_file", "check_file", "read_backup", "list_files", "delete_backup",
}  # fmt: skip


@pytest.fixture(autouse=True)
def config(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster's kubeconfig, as the operator finds it."""
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))


def crashes(without: Faults) -> list[tuple[str, Faults]]:
    """One crash before and one after each such call of a run without any, and a name for it.

    After one and before the next is the same moment where nothing lies between them: that is done once.
    """
    found: list[tuple[str, Faults]] = []
    for number, name in enumerate(without.names, 1):
        if name in BROKEN:
            if number == 1 or without.names[number - 2] not in BROKEN:
                found.append((f"before-{number}", Faults({number})))
            found.append((f"after-{number}", Faults(None, {number})))
    return found


async def run(kube: Kube, kind: str, name: str, faults: Faults) -> None:
    """To the end, started anew after each crash."""
    body = kube.get(kind, name)
    assert body is not None
    ref = Ref(kind, kube.namespace, name, body["metadata"]["uid"])
    for _ in range(60):
        async with operator(Impatient(), faults) as (broken, whole):
            try:
                if kind == "GatewayBackup":
                    wait = await reconcile_backup(broken, GatewayLocks(), ref, log)
                else:
                    wait = await reconcile_import(broken, ref, log)
                    for other in kube.items("gwb"):
                        uid = other["metadata"]["uid"]
                        one = Ref("GatewayBackup", kube.namespace, other["metadata"]["name"], uid)
                        await reconcile_backup(whole, GatewayLocks(), one, log)
            except CrashError:
                continue
            if wait is None:
                return
            await asyncio.sleep(min(wait, 5))
    raise AssertionError(f"{kind} {name} does not end: {kube.status(kind, name)}")


async def test_a_backup(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        without = Faults()
        await backed_up(kube, gw, "whole", without, 1)
        for files, (name, faults) in enumerate(crashes(without), 2):
            await backed_up(kube, gw, name, faults, files)
        assert len(gw.files()) == 1 + len(crashes(without)) >= 8


async def backed_up(kube: Kube, gw: RealGateway, name: str, faults: Faults, files: int) -> None:
    """One backup to its end."""
    kube.backup(name, group="daily", ttl="30d")
    await run(kube, "GatewayBackup", name, faults)
    status = kube.status("gwb", name)
    assert status["phase"] == "Completed", (name, faults.names, status)
    assert len(gw.files()) == files, (name, faults.names)
    assert "expiresAt" in status
    assert ("unchangedFrom" in status) is (files > 1)


async def test_an_adoption(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        kube.backup("made")
        await run(kube, "GatewayBackup", "made", Faults())
        path = kube.status("gwb", "made")["path"]
        kube.run("delete", "gwb/made", "--timeout=10s")
        without = Faults()
        await adopted(kube, gw, path, "whole", without)
        for name, faults in crashes(without):
            await adopted(kube, gw, path, name, faults)


async def adopted(kube: Kube, gw: RealGateway, path: str, name: str, faults: Faults) -> None:
    """One adoption to its end, and forgotten again."""
    kube.backup(name, existing={"path": path})
    await run(kube, "GatewayBackup", name, faults)
    body = kube.get("gwb", name)
    assert body is not None
    assert body["status"]["reason"] == "Adopted", (name, faults.names, body["status"])
    assert body["metadata"]["labels"]["mcpgateway.dev/adopted"] == "true"
    assert len(gw.files()) == 1
    kube.run("delete", f"gwb/{name}", "--timeout=10s")


async def test_an_import(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        for name in ("one", "two"):
            kube.backup(name)
            await run(kube, "GatewayBackup", name, Faults())
        without = Faults()
        await imported(kube, gw, "whole", without)
        for name, faults in crashes(without):
            await imported(kube, gw, name, faults)


async def imported(kube: Kube, gw: RealGateway, name: str, faults: Faults) -> None:
    """All objects are lost, and brought back by one."""
    kube.run("delete", "gwb", "--all", "--timeout=10s")
    kube.apply(resource("GatewayBackupImport", name, {"gatewayRef": {"name": "gw"}}))
    await run(kube, "GatewayBackupImport", name, faults)
    status = kube.status("gwbi", name)
    assert (status["phase"], status["adopted"]) == ("Completed", 2), (name, faults.names, status)
    assert sorted(one["metadata"]["name"] for one in kube.items("gwb")) == ["one", "two"]
    assert len(gw.files()) == 2


async def test_a_deletion_with_its_file(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        without = Faults()
        await removed(kube, gw, "whole", without)
        for name, faults in crashes(without):
            await removed(kube, gw, name, faults)


async def removed(kube: Kube, gw: RealGateway, name: str, faults: Faults) -> None:
    """Deleted by a person together with its file, however often the operator starts again."""
    kube.backup(name)
    await run(kube, "GatewayBackup", name, Faults())
    assert len(gw.files()) == 1
    kube.delete_with_file(name, "--wait=false")
    body = kube.get("gwb", name)
    assert body is not None
    ref = Ref("GatewayBackup", kube.namespace, name, body["metadata"]["uid"])
    for _ in range(20):
        async with operator(Impatient(), faults) as (broken, _whole):
            try:
                if await finalize_backup(broken, ref, log) is None:
                    break
            except CrashError:
                continue
    assert gw.files() == [], (name, faults.names)
    kube.run("patch", f"gwb/{name}", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert kube.get("gwb", name) is None
