"""Two replicas of the operator with a Lease: one acts, and the other takes over when it is killed, frozen or cut off.

The two processes serve all tests of this module. Each test ends with both of them in order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.operator.support.cut_connection import CuttableConnection
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube, wait_for

pytestmark = pytest.mark.cluster

LEASE_SECONDS = 4
PATIENCE = 5.0
"""Seconds that a take-over may last longer on a loaded machine."""


@dataclass
class Replica:
    """One process, and its connection to the API server."""

    name: str
    process: OperatorProcess
    connection: CuttableConnection

    def count_logged(self, text: str) -> int:
        return self.process.log().count(text)


class Pair:
    """The two replicas, and their Lease."""

    def __init__(self, cluster: Cluster, replicas: list[Replica]) -> None:
        self._cluster = cluster
        self._replicas = replicas

    def lease(self) -> dict[str, Any]:
        lease: dict[str, Any] = (self._cluster.rest.get("lease", "default", "ha-test") or {}).get("spec") or {}
        return lease

    def roles(self) -> tuple[Replica, Replica]:
        """The leader and the standby."""
        holder = wait_for("a leader", lambda: self.lease().get("holderIdentity"), 30)
        first, second = self._replicas
        return (first, second) if holder.startswith(first.name) else (second, first)

    def wait_leads(self, replica: Replica, since: float, limit: float = LEASE_SECONDS) -> None:
        """Wait until the replica holds the Lease, at most ``limit`` seconds and the patience after ``since``."""
        wait_for(
            f"{replica.name} leads",
            lambda: self.lease().get("holderIdentity", "").startswith(replica.name),
            limit + PATIENCE - (time.monotonic() - since),
        )
        print(f"the other replica leads after {time.monotonic() - since:.1f} s")


@pytest.fixture(scope="module")
def pair(cluster_with_crds: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "ha-test"}}
    assert cluster_with_crds.rest.create(lease, "default")  # as the chart does
    with ExitStack() as stack:
        replicas = []
        for name in ("one", "two"):
            folder = tmp_path_factory.mktemp(name)
            connection = stack.enter_context(CuttableConnection(cluster_with_crds.kubeconfig, folder))
            process = OperatorProcess(
                cluster_with_crds,
                folder / "log",
                kubeconfig=connection.kubeconfig,
                environment={"POD_ID": name},
                flags=["--leader-elect", "--lease-name=ha-test", f"--lease-seconds={LEASE_SECONDS}"],
            )
            process.start(wait=False)
            stack.callback(process.stop)
            replicas.append(Replica(name, process, connection))
        for replica in replicas:
            replica.process.wait_alive()
        yield Pair(cluster_with_crds, replicas)


def begin_backup(kube: Kube, admin: ScriptedAdminApi, seconds: float) -> float:
    """Create a backup whose call lasts so long, and wait for the call. Returns the monotonic time."""
    admin.backup_seconds = seconds
    kube.apply_backup("b")
    wait_for("the backup call", lambda: admin.backup_requests)
    return time.monotonic()


def check_one_backup(kube: Kube, admin: ScriptedAdminApi) -> dict[str, Any]:
    """Wait until the backup is Completed. There is one file, from one request id and one path."""
    kube.wait_phase("gwb", "b", "Completed")
    assert len(admin.backups) == 1
    assert len({body["request_id"] for body in admin.backup_requests}) == 1
    assert len({body["path"] for body in admin.backup_requests}) == 1
    return kube.require("gwb", "b")


@contextmanager
def taken_over(
    kube: Kube,
    pair: Pair,
    standby: Replica,
    admin: ScriptedAdminApi,
    *,
    repair: Callable[[], object],
    first: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """The standby takes over from the failed leader and finishes its one backup.

    ``first`` runs before that, and ``repair`` ends the failure. After the block nothing more is written or called,
    although the previous leader could act again.
    """
    failed = time.monotonic()
    try:
        first()
        pair.wait_leads(standby, failed)
        body = check_one_backup(kube, admin)
        calls = len(admin.calls)
    finally:
        repair()
    yield
    time.sleep(1)
    assert kube.require("gwb", "b") == body
    assert len(admin.calls) == calls
    assert len(admin.backups) == 1


def test_only_the_leader_acts_and_the_standby_is_ready(
    kube: Kube, pair: Pair, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    leader, standby = pair.roles()
    for number in range(3):
        kube.apply_backup(f"b-{number}")
    kube.kubectl("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=60s")
    assert len(admin.backup_requests) == 3
    assert leader.process.is_alive()
    assert standby.process.is_alive()
    assert standby.count_logged("→ Running") == 0
    print(f"leader {leader.process.resident_mib():.0f} MiB, standby {standby.process.resident_mib():.0f} MiB")
    # The series of objects follow the first complete lists.
    wait_for("the series of objects", lambda: "gateway_backup_objects{" in leader.process.metrics())
    assert "gateway_backup_operator_leader 1.0" in leader.process.metrics()
    text = standby.process.metrics()
    assert "gateway_backup_operator_leader 0.0" in text
    assert "gateway_backup_objects" not in text


def test_killed_leader_is_replaced_and_one_backup_is_made(
    kube: Kube, pair: Pair, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    leader, standby = pair.roles()
    begin_backup(kube, admin, 3)
    leader.process.kill()
    with taken_over(kube, pair, standby, admin, repair=leader.process.start):
        pass


def test_thawed_leader_makes_no_second_file_and_writes_no_status(
    kube: Kube, pair: Pair, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    """The answer of its call waits in its socket, and its next step would be to write the status."""
    leader, standby = pair.roles()
    ended = leader.count_logged("no longer leads")
    begin_backup(kube, admin, 1)
    leader.process.pause()
    with taken_over(kube, pair, standby, admin, repair=leader.process.resume):
        wait_for("the thawed leader stops", lambda: leader.count_logged("no longer leads") > ended, 10)
    assert leader.process.is_alive()


def test_leader_that_is_cut_off_stops_before_the_other_begins(
    kube: Kube, pair: Pair, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    """The connections are not closed, so that only the time tells the leader that it has lost the Lease."""
    leader, standby = pair.roles()
    ended = leader.count_logged("no longer leads")
    begin_backup(kube, admin, 2 * LEASE_SECONDS)
    leader.connection.cut()

    def wait_until_it_stops() -> None:
        wait_for("the leader stops", lambda: leader.count_logged("no longer leads") > ended, LEASE_SECONDS + PATIENCE)
        assert pair.lease()["holderIdentity"].startswith(leader.name)

    with taken_over(kube, pair, standby, admin, repair=leader.connection.heal, first=wait_until_it_stops):
        pass
    assert leader.process.is_alive()


def test_stopped_leader_releases_the_lease_at_once(
    kube: Kube, pair: Pair, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    leader, standby = pair.roles()
    begin_backup(kube, admin, 2)
    assert leader.process.stop() == 0
    stopped = time.monotonic()
    assert leader.count_logged("Released the Lease.") >= 1
    pair.wait_leads(standby, stopped, limit=1)
    check_one_backup(kube, admin)
    leader.process.start(wait=False)
