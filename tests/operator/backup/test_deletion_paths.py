"""Each way in which a GatewayBackup is deleted, and its file: a real API server, a real volume."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import FINALIZER
from gateway_operator.ports import Ports
from gateway_operator.reconcile.deletion import finalize_backup
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import Kube, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
log = logging.getLogger("tests.deletion")


@pytest.fixture
def gw(kube: Kube, tmp_path: Path) -> Iterator[RealGateway]:
    """A gateway with a real admin API."""
    with real_gateway(kube, tmp_path) as gateway:
        yield gateway


@pytest.fixture
def config(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster's kubeconfig, for the operator's parts in this process."""
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))


def completed(kube: Kube, *names: str) -> None:
    """Finished backups."""
    for name in names:
        kube.backup(name)
    for name in names:
        kube.wait_phase("gwb", name, "Completed")


def told(kube: Kube, name: str, reason: str) -> None:
    """Wait until people were told."""
    until(f"{reason} of {name}", lambda: reason in {what for _, what in kube.events(name)})


def test_by_hand_the_file_stays_and_an_event_says_where(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "kept")
    kube.run("delete", "gwb/kept", "--timeout=10s")
    told(kube, "kept", "FileKept")
    assert len(gw.files()) == 1


def test_by_a_person_with_its_file(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "brief", "beside")
    kube.delete_with_file("brief", "--timeout=20s")
    assert [file.name.split("-")[1] for file in gw.files()] == ["beside"]
    assert [what for _, what in kube.events("brief")].count("FileDeleted") == 1


def test_while_the_operator_is_down_it_waits(kube: Kube, gw: RealGateway, operator: OperatorProcess) -> None:
    completed(kube, "brief")
    operator.stop()
    try:
        kube.delete_with_file("brief", "--wait=false")
        body = kube.get("gwb", "brief")
        assert body is not None
        assert body["metadata"]["finalizers"] == [FINALIZER]
        assert len(gw.files()) == 1
    finally:
        operator.start()
    until("brief is deleted", lambda: kube.get("gwb", "brief") is None)
    assert gw.files() == []


@pytest.mark.parametrize("how", ["--all", "namespace", "one by one"])
def test_many_at_once_leave_all_files_and_wait_for_nobody(kube: Kube, gw: RealGateway, how: str) -> None:
    names = [f"pruned-{number}" for number in range(5)]
    completed(kube, *names)
    if how == "--all":
        kube.run("delete", "gwb", "--all", "--timeout=10s")
    elif how == "namespace":
        kube.run("delete", "namespace", kube.namespace, "--timeout=60s")
    else:
        for name in names:
            kube.run("delete", f"gwb/{name}", "--timeout=10s")
    assert len(gw.files()) == 5


def test_an_uninstall_takes_no_file_with_it(
    kube: Kube, gw: RealGateway, operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway_operator.main import main

    completed(kube, "held")
    kube.run("patch", "gwb/held", "--type=merge", "-p", '{"spec":{"deleteFile":true}}')
    until("the finalizer", lambda: (kube.get("gwb", "held") or {})["metadata"].get("finalizers"))
    operator.stop()
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))
    monkeypatch.setenv("WATCH_NAMESPACES", kube.namespace)
    try:
        assert main(["release-finalizers"]) == 0
        kube.run("delete", "gwb/held", "--timeout=10s")
        assert len(gw.files()) == 1
    finally:
        monkeypatch.undo()
        operator.start()


def test_without_its_gateway_it_is_released_at_once(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "orphan")
    kube.run("delete", "deployment/gw", "--timeout=20s")
    kube.delete_with_file("orphan", "--timeout=20s")
    told(kube, "orphan", "FileKept")
    assert len(gw.files()) == 1


def test_a_volume_that_was_swapped_is_left_alone(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "moved")
    (gw.backups / ".gateway" / "volume_id").unlink()
    gw.process.stop(9)
    gw.process.start()
    kube.delete_with_file("moved", "--timeout=20s")
    assert len(gw.files()) == 1
    told(kube, "moved", "FileKept")


class Later:
    """A clock that is ahead."""

    def __init__(self, **by: float) -> None:
        self.ahead = timedelta(**by)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


async def test_an_unreachable_gateway_is_asked_for_a_day_and_then_let_go(
    kube: Kube, gw: RealGateway, config: None, operator: OperatorProcess
) -> None:
    completed(kube, "patient")
    gw.process.stop(9)
    kube.delete_with_file("patient", "--wait=false")
    kube.wait_status("gwb", "patient", lambda status: status.get("reason") == "Unreachable")
    operator.stop()
    cluster, admin_api = await KubernetesCluster.connect(), HttpAdminApi()
    body = kube.get("gwb", "patient")
    assert body is not None
    ref = Ref("GatewayBackup", kube.namespace, "patient", body["metadata"]["uid"])
    try:
        almost = Ports(cluster, admin_api, Later(hours=23))
        assert await finalize_backup(almost, ref, log) is not None
        assert await finalize_backup(Ports(cluster, admin_api, Later(hours=25)), ref, log) is None
        assert ("Warning", "FileKept") in kube.events("patient")
    finally:
        await admin_api.close()
        await cluster.close()
        gw.process.start()
        operator.start()
    until("the file has gone after all: the operator came back in time", lambda: kube.get("gwb", "patient") is None)
