"""Backups while things go wrong around them: the API server, the watch, other writers, the gateway, the clock."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup import reconcile_backup
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import real_gateway
from tests.operator.support.scripted_admin_api import ScriptedAdmin
from tests.operator.support.workloads import Gateway, Kube, loopback, until
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

pytestmark = pytest.mark.cluster
log = logging.getLogger("tests.chaos")


@pytest.fixture
def own_operator(kube: Kube, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of one's own, which watches one namespace only."""
    with OperatorProcess(kube.cluster, tmp_path / "operator.log", kube.namespace) as process:
        yield process


def once(kube: Kube, admin: ScriptedAdmin, name: str) -> None:
    """One backup, one end."""
    kube.wait_phase("gwb", name, "Completed", timeout=90)
    assert len(admin.backups) == 1
    assert len({body["request_id"] for body in admin.bodies}) == 1


def test_the_api_server_restarts_in_the_middle_of_a_backup(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    admin.slow = 3
    kube.backup("b")
    until("the call", lambda: admin.bodies)
    with kube.cluster.api_server_down():
        until("the answer, that nobody can write down", lambda: admin.backups)
    once(kube, admin, "b")
    assert own_operator.alive()


def test_a_watch_that_has_expired_begins_anew(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    """410 Gone: what happened while nobody looked is gone from the history, and is seen all the same."""
    kube.backup("old")
    kube.wait_phase("gwb", "old", "Completed")
    own_operator.pause()
    kube.backup("new")
    kube.delete_with_file("old", "--wait=false")
    kube.cluster.forget_history()
    own_operator.resume()
    kube.wait_phase("gwb", "new", "Completed", timeout=90)
    until("old is gone", lambda: kube.get("gwb", "old") is None, timeout=90)
    assert len(admin.backups) == 1


def test_somebody_else_writes_to_it_all_the_time(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    """Each status is written on top of what was read, so each of these writes is a conflict somewhere."""
    ended = threading.Event()

    def scribble() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            kube.run("label", "gwb/b", f"scribble={number}", "--overwrite", check=False)

    admin.slow = 1
    kube.backup("b")
    writers = [threading.Thread(target=scribble) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        once(kube, admin, "b")
    finally:
        ended.set()
        for writer in writers:
            writer.join()


@pytest.mark.parametrize("with_file", [False, True])
def test_it_is_deleted_while_it_runs(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess, with_file: bool
) -> None:
    admin.slow = 2
    kube.backup("b")
    until("the call", lambda: admin.bodies)
    if with_file:
        kube.delete_with_file("b", "--timeout=40s")
    else:
        kube.run("delete", "gwb/b", "--timeout=40s")
    until("the file", lambda: len(admin.backups) == (0 if with_file else 1))
    assert own_operator.alive()


def test_it_is_deleted_and_created_again_under_its_name(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    """Another object, another backup: neither waits for the other, and neither is taken for the other."""
    admin.slow = 1
    kube.backup("b")
    until("the call", lambda: admin.bodies)
    kube.run("delete", "gwb/b", "--timeout=20s")
    kube.backup("b")
    status = kube.wait_phase("gwb", "b", "Completed", timeout=60)
    assert len(admin.backups) == 2
    assert admin.backups[status["backupID"]].path == status["path"]


def test_the_gateway_dies_in_the_middle_of_the_call(kube: Kube, own_operator: OperatorProcess, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        gw.process.send_signal(signal.SIGSTOP)
        kube.backup("b", retryLimit=10)
        # Nothing answers the look at its health; the call is being made, or about to be.
        until("it is being looked at", lambda: own_operator.alive())
        gw.process.stop(signal.SIGKILL)
        gw.process.start()
        kube.wait_phase("gwb", "b", "Completed", timeout=90)
        assert len(gw.files()) == 1


def test_two_gateways_share_the_name_of_a_group(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    """A set is of one gateway: nothing is compared across them, and nothing is lost between them."""
    with ScriptedAdmin(loopback()) as other:
        other.volume_id = "4" * 32
        Gateway(kube, other.host, other.key, name="gw2").create()
        for number in range(2):
            kube.backup(f"a{number}", group="daily")
            kube.backup(f"b{number}", group="daily", gatewayRef={"name": "gw2"})
            for name in (f"a{number}", f"b{number}"):
                kube.wait_phase("gwb", name, "Completed")
        assert (len(admin.backups), len(other.backups)) == (2, 2)
        for one in ("a", "b"):
            assert "changes" not in kube.status("gwb", f"{one}0")
            status = kube.status("gwb", f"{one}1")
            assert (status["changes"]["comparedTo"], status["unchangedFrom"]) == (f"{one}0", f"{one}0")


class Later:
    """The real clock, ahead."""

    def __init__(self, **ahead: float) -> None:
        self.ahead = timedelta(**ahead)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a backup is not slept through")


@pytest.mark.parametrize(("call", "phase"), [("health", "Failed"), ("backup", "Completed")])
async def test_the_operator_is_down_for_a_day(
    kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, phase: str
) -> None:
    """It dies behind that call. What the volume holds a day later beats every deadline; nothing is begun so late."""
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))
    with real_gateway(kube, tmp_path) as gw:
        kube.backup("b")
        body = kube.get("gwb", "b")
        assert body is not None
        ref = Ref("GatewayBackup", kube.namespace, "b", body["metadata"]["uid"])
        cluster, admin_api = await KubernetesCluster.connect(), HttpAdminApi()
        try:
            faults = Faults()
            crashing = Ports(faults.wrap(cluster, False), faults.wrap(Dying(admin_api, call), True), Later())
            with pytest.raises(CrashError):
                await reconcile_backup(crashing, GatewayLocks(), ref, log)
            later = Ports(cluster, admin_api, Later(days=1))
            assert await reconcile_backup(later, GatewayLocks(), ref, log) is None
        finally:
            await admin_api.close()
            await cluster.close()
        assert kube.status("gwb", "b")["phase"] == phase
        assert len(gw.files()) == (1 if phase == "Completed" else 0)


class Dying:
    """A port behind one of whose calls the process ends."""

    def __init__(self, port: HttpAdminApi, call: str) -> None:
        self._port, self._call = port, call

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)
        return partial(self._die, method) if name == self._call else method

    async def _die(self, method: object, *arguments: object) -> object:
        await method(*arguments)  # type: ignore[operator]
        raise CrashError
