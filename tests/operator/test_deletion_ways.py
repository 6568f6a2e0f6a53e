"""Each way in which a GatewayBackup can vanish, and what becomes of its file: a real API server, a real volume."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.domain.names import FILE_GOES, FINALIZER
from gateway_operator.domain.objects import Meta, Ref
from gateway_operator.ports import Ports
from gateway_operator.reconcile.deletion import delete_with_file, forget_backup
from tests.operator.operator_process import OperatorProcess
from tests.operator.real_gateway import RealGateway, real_gateway
from tests.operator.workloads import Kube, until

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


def completed(kube: Kube, *names: str, **spec: Any) -> None:
    """Finished backups."""
    for name in names:
        kube.backup(name, **spec)
    for name in names:
        kube.wait_phase("gwb", name, "Completed")


def told(kube: Kube, name: str, reason: str) -> None:
    """Wait until people were told."""
    until(f"{reason} of {name}", lambda: reason in {what for _, what in kube.events(name)})


async def remove(kube: Kube, name: str, why: str) -> bool:
    """What retention and the command line call."""
    cluster = await KubernetesCluster.connect()
    try:
        body = await cluster.read(Ref("GatewayBackup", kube.namespace, name, ""))
        assert body is not None
        return await delete_with_file(cluster, Meta.parse(body, "GatewayBackup"), why)
    finally:
        await cluster.close()


def test_by_hand_the_file_stays_and_it_is_told_where(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "kept")
    kube.run("delete", "gwb/kept", "--timeout=10s")
    told(kube, "kept", "FileKept")
    assert len(gw.files()) == 1


def test_by_hand_with_delete_the_file_goes(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "brief", deletionPolicy="Delete")
    kube.run("delete", "gwb/brief", "--timeout=20s")
    assert gw.files() == []
    assert [what for _, what in kube.events("brief")].count("FileDeleted") == 1


@pytest.mark.parametrize("why", sorted(FILE_GOES))
async def test_marked_the_file_goes(kube: Kube, gw: RealGateway, config: None, why: str) -> None:
    completed(kube, "marked", "beside")
    assert await remove(kube, "marked", why) is True
    until("marked is gone", lambda: kube.get("gwb", "marked") is None)
    told(kube, "marked", "FileDeleted")
    assert [file.name.split("-")[1] for file in gw.files()] == ["beside"]


async def test_marked_while_the_operator_is_down_it_waits(
    kube: Kube, gw: RealGateway, config: None, operator: OperatorProcess
) -> None:
    completed(kube, "marked")
    operator.stop()
    try:
        assert await remove(kube, "marked", "requested") is True
        body = kube.get("gwb", "marked")
        assert body is not None
        assert body["metadata"]["finalizers"] == [FINALIZER]
        assert len(gw.files()) == 1
    finally:
        operator.start()
    until("marked is gone", lambda: kube.get("gwb", "marked") is None)
    assert gw.files() == []


def test_a_namespace_takes_no_file_with_it(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "one", "two", deletionPolicy="Delete")
    kube.run("delete", "namespace", kube.namespace, "--timeout=60s")
    assert len(gw.files()) == 2


def test_a_mass_prune_takes_no_file_with_it(kube: Kube, gw: RealGateway) -> None:
    """As a sync of Argo does that lost its folder: one request for each object, one after the other."""
    names = [f"pruned-{number}" for number in range(5)]
    completed(kube, *names, deletionPolicy="Delete")
    for name in names:
        kube.run("delete", f"gwb/{name}", "--wait=false")
    until("all are gone", lambda: not kube.items("gwb"), timeout=60)
    assert len(gw.files()) == 5
    for name in names:
        told(kube, name, "MassDeletion")


def test_a_slow_prune_takes_a_few_files_and_no_more_over_restarts(
    kube: Kube, gw: RealGateway, operator: OperatorProcess
) -> None:
    names = [f"slow-{number}" for number in range(7)]
    completed(kube, *names, deletionPolicy="Delete")
    for name in names:
        kube.run("delete", f"gwb/{name}", "--timeout=60s")
        operator.stop()  # what it has seen is forgotten
        operator.start()
    assert len(gw.files()) == 2
    for name in names[5:]:
        told(kube, name, "MassDeletion")


def test_a_mass_prune_of_kept_and_other_ones_takes_no_file_with_it(kube: Kube, gw: RealGateway) -> None:
    """Those that are kept vanish at once and are counted all the same."""
    completed(kube, "kept-1", "kept-2", "kept-3")
    completed(kube, "brief", deletionPolicy="Delete")
    kube.run("delete", "gwb", "--all", "--timeout=60s")
    assert len(gw.files()) == 4
    told(kube, "brief", "MassDeletion")


def test_one_of_several_is_no_mass(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "a", "b", "c", "d", deletionPolicy="Delete")
    kube.run("delete", "gwb/a", "--timeout=40s")
    assert len(gw.files()) == 3


def test_an_uninstall_takes_no_file_with_it(
    kube: Kube, gw: RealGateway, operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway_operator.main import main

    completed(kube, "held", deletionPolicy="Delete")
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


@pytest.mark.parametrize("why", ["by hand", "retention"])
async def test_without_its_gateway_it_is_released_at_once(kube: Kube, gw: RealGateway, config: None, why: str) -> None:
    completed(kube, "orphan", deletionPolicy="Delete")
    kube.run("delete", "deployment/gw", "--timeout=20s")
    if why == "by hand":
        kube.run("delete", "gwb/orphan", "--wait=false")
    else:
        await remove(kube, "orphan", why)
    until("orphan is gone", lambda: kube.get("gwb", "orphan") is None)
    told(kube, "orphan", "FileKept")
    assert len(gw.files()) == 1


def test_a_volume_that_was_swapped_is_left_alone(kube: Kube, gw: RealGateway) -> None:
    completed(kube, "moved", deletionPolicy="Delete")
    (gw.backups / ".gateway" / "volume_id").unlink()
    gw.process.stop(9)
    gw.process.start()
    kube.run("delete", "gwb/moved", "--timeout=20s")
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
    completed(kube, "patient", deletionPolicy="Delete")
    gw.process.stop(9)
    kube.run("delete", "gwb/patient", "--wait=false")
    kube.wait_status("gwb", "patient", lambda status: status.get("reason") == "Unreachable")
    operator.stop()
    cluster, admin_api = await KubernetesCluster.connect(), HttpAdminApi()
    body = kube.get("gwb", "patient")
    assert body is not None
    ref = Ref("GatewayBackup", kube.namespace, "patient", body["metadata"]["uid"])
    try:
        almost = Ports(cluster, admin_api, Later(hours=23))
        assert await forget_backup(almost, ref, log) is not None
        assert await forget_backup(Ports(cluster, admin_api, Later(hours=25)), ref, log) is None
        assert ("Warning", "FileKept") in kube.events("patient")
    finally:
        await admin_api.close()
        await cluster.close()
        gw.process.start()
        operator.start()
    until("the file has gone after all: the operator came back in time", lambda: kube.get("gwb", "patient") is None)
