"""All ways to delete a GatewayBackup, with a real admin API: which of them delete the file, and which wait."""

from __future__ import annotations

import logging

import pytest

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import FINALIZER
from gateway_operator.main import main
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup.deletion import finalize_backup
from tests.operator.support.clocks import ShiftedClock
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway
from tests.operator.support.workloads import Kube, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
log = logging.getLogger("tests.deletion")


def complete_backups(kube: Kube, *names: str) -> None:
    """Apply all backups at once, then wait until each is Completed."""
    for name in names:
        kube.apply_backup(name)
    for name in names:
        kube.wait_phase("gwb", name, "Completed")


def wait_for_event(kube: Kube, name: str, reason: str) -> None:
    wait_for(f"{reason} of {name}", lambda: reason in kube.event_reasons(name))


def test_delete_keeps_the_file_and_emits_an_event(kube: Kube, gw: RealGateway) -> None:
    complete_backups(kube, "kept")
    kube.kubectl("delete", "gwb/kept", "--timeout=60s")
    wait_for_event(kube, "kept", "FileKept")
    assert len(gw.backup_files()) == 1


def test_delete_file_deletes_only_that_file(kube: Kube, gw: RealGateway) -> None:
    complete_backups(kube, "brief", "beside")
    kube.delete_with_file("brief", "--timeout=60s")
    assert [file.name.split("-")[1] for file in gw.backup_files()] == ["beside"]
    assert kube.event_reasons("brief").count("FileDeleted") == 1


def test_delete_file_waits_for_a_stopped_operator(kube: Kube, gw: RealGateway, operator: OperatorProcess) -> None:
    complete_backups(kube, "brief")
    operator.stop()
    try:
        kube.delete_with_file("brief", "--wait=false")
        body = kube.require("gwb", "brief")
        assert body["metadata"]["finalizers"] == [FINALIZER]
        assert len(gw.backup_files()) == 1
    finally:
        operator.start()
    wait_for("brief is deleted", lambda: kube.get("gwb", "brief") is None)
    assert gw.backup_files() == []


@pytest.mark.parametrize("how", ["--all", "namespace", "one by one"])
def test_deleting_many_backups_keeps_all_files_and_does_not_block(kube: Kube, gw: RealGateway, how: str) -> None:
    names = [f"pruned-{number}" for number in range(5)]
    complete_backups(kube, *names)
    if how == "--all":
        kube.kubectl("delete", "gwb", "--all", "--timeout=60s")
    elif how == "namespace":
        kube.kubectl("delete", "namespace", kube.namespace, "--timeout=60s")
    else:
        for name in names:
            kube.kubectl("delete", f"gwb/{name}", "--timeout=60s")
    assert len(gw.backup_files()) == 5


def test_uninstall_releases_finalizers_and_keeps_files(
    kube: Kube, gw: RealGateway, operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete_backups(kube, "held")
    kube.patch_spec("gwb", "held", {"deleteFile": True})
    wait_for("the finalizer", lambda: kube.require("gwb", "held")["metadata"].get("finalizers"))
    operator.stop()
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))
    monkeypatch.setenv("WATCH_NAMESPACES", kube.namespace)
    try:
        assert main(["release-finalizers"]) == 0
        kube.kubectl("delete", "gwb/held", "--timeout=60s")
        assert len(gw.backup_files()) == 1
    finally:
        monkeypatch.undo()
        operator.start()


def test_deletion_does_not_wait_for_a_deleted_gateway(kube: Kube, gw: RealGateway) -> None:
    complete_backups(kube, "orphan")
    kube.kubectl("delete", "deployment/gw", "--timeout=60s")
    kube.delete_with_file("orphan", "--timeout=60s")
    wait_for_event(kube, "orphan", "FileKept")
    assert len(gw.backup_files()) == 1


def test_file_on_a_replaced_volume_is_kept(kube: Kube, gw: RealGateway) -> None:
    complete_backups(kube, "moved")
    # A missing id would be taken again from the manifests, so the volume gets the id of another one.
    (gw.backups / ".gateway" / "volume_id").write_text("f" * 32 + "\n")
    gw.process.stop(9)
    gw.process.start()
    kube.delete_with_file("moved", "--timeout=60s")
    assert len(gw.backup_files()) == 1
    wait_for_event(kube, "moved", "FileKept")


async def test_deletion_retries_an_unreachable_gateway_for_24_hours(
    kube: Kube, gw: RealGateway, kubeconfig_env: None, operator: OperatorProcess
) -> None:
    complete_backups(kube, "patient")
    gw.process.stop(9)
    kube.delete_with_file("patient", "--wait=false")
    kube.wait_status("gwb", "patient", lambda status: status.get("reason") == "Unreachable")
    operator.stop()
    cluster, admin_api = await KubernetesCluster.connect(), HttpAdminApi()
    body = kube.require("gwb", "patient")
    ref = Ref("GatewayBackup", kube.namespace, "patient", body["metadata"]["uid"])
    try:
        within_a_day = Ports(cluster, admin_api, ShiftedClock(hours=23))
        assert await finalize_backup(within_a_day, ref, log) is not None
        assert await finalize_backup(Ports(cluster, admin_api, ShiftedClock(hours=25)), ref, log) is None
        kube.wait_event("patient", "Warning", "FileKept")
    finally:
        await admin_api.close()
        await cluster.close()
        gw.process.start()
        operator.start()
    wait_for(
        "the restarted operator deletes the object: its own clock is still within the day",
        lambda: kube.get("gwb", "patient") is None,
    )
