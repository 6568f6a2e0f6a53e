"""Backups during failures around them: API server, watch, conflicting writes, deletion, gateway, and downtime."""

from __future__ import annotations

import logging
import signal
import threading
from functools import partial
from pathlib import Path

import pytest

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup.run import reconcile_backup
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from tests.operator.support.clocks import ShiftedClock
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import real_gateway
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GATEWAY, GatewayDeployment, Kube, random_loopback_address, wait_for
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

pytestmark = pytest.mark.cluster
log = logging.getLogger("tests.chaos")


def assert_completes_once(kube: Kube, admin: ScriptedAdminApi, name: str) -> None:
    """Wait until the backup is Completed. There must be one file and one request id."""
    kube.wait_phase("gwb", name, "Completed", timeout=90)
    assert len(admin.backups) == 1
    assert len({body["request_id"] for body in admin.backup_requests}) == 1


def test_api_server_outage_during_a_backup_causes_no_second_call(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    admin.backup_seconds = 3
    kube.apply_backup("b")
    wait_for("the backup call", lambda: admin.backup_requests)
    with kube.cluster.api_server_down():
        wait_for("the backup, whose status cannot be written", lambda: admin.backups)
    assert_completes_once(kube, admin, "b")
    assert namespace_operator.is_alive()


def test_expired_watch_is_replaced_by_a_new_list(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    """410 Gone: changes during the pause are no longer in the watch history, and a new list finds them."""
    kube.complete_backup("old")
    namespace_operator.pause()
    kube.apply_backup("new")
    kube.delete_with_file("old", "--wait=false")
    kube.cluster.forget_history()
    namespace_operator.resume()
    kube.wait_phase("gwb", "new", "Completed", timeout=90)
    wait_for("old is deleted", lambda: kube.get("gwb", "old") is None, timeout=90)
    assert len(admin.backups) == 1


def test_conflicting_writes_cause_no_second_backup(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    """Status writes carry the resourceVersion that was read, so writes by others cause conflicts."""
    stop = threading.Event()

    def write_labels() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            kube.kubectl("label", "gwb/b", f"number={number}", "--overwrite", check=False)

    admin.backup_seconds = 1
    kube.apply_backup("b")
    writers = [threading.Thread(target=write_labels) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        assert_completes_once(kube, admin, "b")
    finally:
        stop.set()
        for writer in writers:
            writer.join()


@pytest.mark.parametrize("with_file", [False, True])
def test_backup_deleted_while_running_obeys_delete_file(
    kube: Kube,
    gateway: GatewayDeployment,
    admin: ScriptedAdminApi,
    namespace_operator: OperatorProcess,
    with_file: bool,
) -> None:
    admin.backup_seconds = 2
    kube.apply_backup("b")
    wait_for("the backup call", lambda: admin.backup_requests)
    if with_file:
        kube.delete_with_file("b", "--timeout=60s")
    else:
        kube.kubectl("delete", "gwb/b", "--timeout=60s")
    wait_for("the file is kept or deleted", lambda: len(admin.backups) == (0 if with_file else 1))
    assert namespace_operator.is_alive()


def test_backup_that_is_created_again_meanwhile_makes_no_second_file(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    admin.backup_seconds = 1
    kube.apply_backup("b")
    wait_for("the backup call", lambda: admin.backup_requests)
    kube.kubectl("delete", "gwb/b", "--timeout=60s")
    kube.apply_backup("b")
    assert kube.wait_phase("gwb", "b", "Failed")["reason"] == "NameUsed"
    assert len(admin.backups) == 1


def test_admin_api_crash_during_a_backup_leaves_one_file(
    kube: Kube, namespace_operator: OperatorProcess, tmp_path: Path
) -> None:
    with real_gateway(kube, tmp_path) as gw:
        gw.process.send_signal(signal.SIGSTOP)
        kube.apply_backup("b", retryLimit=10)
        # The admin API is frozen: the operator waits for the answer of the health call, or is about to make it.
        wait_for("the operator is alive", lambda: namespace_operator.is_alive())
        gw.process.stop(signal.SIGKILL)
        gw.process.start()
        kube.wait_phase("gwb", "b", "Completed", timeout=90)
        assert len(gw.backup_files()) == 1


def test_groups_of_two_gateways_are_independent(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    """A backup set belongs to one gateway: content is compared within it only, and all backups are kept."""
    with ScriptedAdminApi(random_loopback_address()) as other:
        other.volume_id = "4" * 32
        GatewayDeployment(kube, other.host, other.key, name="gw2").create()
        for number in range(2):
            kube.apply_backup(f"a{number}", group="daily")
            kube.apply_backup(f"b{number}", group="daily", gatewayRef={"name": "gw2"})
            for name in (f"a{number}", f"b{number}"):
                kube.wait_phase("gwb", name, "Completed")
        assert (len(admin.backups), len(other.backups)) == (2, 2)
        for one in ("a", "b"):
            assert "changes" not in kube.status("gwb", f"{one}0")
            status = kube.status("gwb", f"{one}1")
            assert (status["changes"]["comparedTo"], status["unchangedFrom"]) == (f"{one}0", f"{one}0")


@pytest.mark.parametrize(("call", "phase"), [("health", "Failed"), ("backup", "Completed")])
async def test_operator_crash_and_a_day_of_downtime(
    kube: Kube, tmp_path: Path, kubeconfig_env: None, call: str, phase: str
) -> None:
    """The operator crashes after the call and starts a day later.

    A backup on the volume is recorded in spite of all deadlines. A backup that has not begun fails.
    """
    with real_gateway(kube, tmp_path) as gw:
        kube.apply_backup("b")
        body = kube.require("gwb", "b")
        ref = Ref("GatewayBackup", kube.namespace, "b", body["metadata"]["uid"])
        cluster, admin_api = await KubernetesCluster.connect(), HttpAdminApi()
        try:
            faults = Faults()
            crashing_ports = Ports(
                faults.wrap(cluster, False), faults.wrap(CrashAfterCall(admin_api, call), True), ShiftedClock()
            )
            with pytest.raises(CrashError):
                await reconcile_backup(crashing_ports, GatewayLocks(), ref, log, GATEWAY)
            later_ports = Ports(cluster, admin_api, ShiftedClock(days=1))
            assert await reconcile_backup(later_ports, GatewayLocks(), ref, log, GATEWAY) is None
        finally:
            await admin_api.close()
            await cluster.close()
        assert kube.status("gwb", "b")["phase"] == phase
        assert len(gw.backup_files()) == (1 if phase == "Completed" else 0)


class CrashAfterCall:
    """An admin API that raises a CrashError after one of its calls has returned."""

    def __init__(self, port: HttpAdminApi, call: str) -> None:
        self._port, self._call = port, call

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)
        return partial(self._call_and_crash, method) if name == self._call else method

    async def _call_and_crash(self, method: object, *arguments: object) -> object:
        await method(*arguments)  # type: ignore[operator]
        raise CrashError
