"""A gateway that made a backup is found again by name; whatever has changed since is seen before the key is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.bench.operator.api_server import ApiServer, Call
from tests.cluster import Cluster
from tests.operator.scripted_admin import ScriptedAdmin
from tests.operator.workloads import Gateway, Kube, loopback, pod_status

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

LISTS = [Call("LIST", "pods", ""), Call("LIST", "replicasets", "")]


@pytest.fixture
def second() -> Iterator[ScriptedAdmin]:
    """The admin API of the pod that comes after."""
    with ScriptedAdmin(loopback()) as server:
        yield server


@pytest.fixture
def seen(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> Gateway:
    """A gateway at rest that has made a backup; its admin API's calls are forgotten."""
    kube.run("rollout", "status", "deployment/gw", "--timeout=30s")
    kube.backup("first")
    kube.wait_phase("gwb", "first", "Completed")
    admin.calls.clear()
    return gateway


async def lists(cluster: Cluster) -> int:
    """How many lists of pods and ReplicaSets the API server has answered."""
    async with ApiServer.of(cluster) as api:
        counted = await api.counted()
    return sum(counted[call] for call in LISTS)


async def test_at_rest_nothing_is_listed(defined: Cluster, kube: Kube, seen: Gateway, admin: ScriptedAdmin) -> None:
    before = await lists(defined)
    for name in ("second", "third"):
        kube.backup(name)
        assert kube.wait_phase("gwb", name, "Completed")["attempt"] == 1
    assert await lists(defined) == before
    assert len(admin.backups) == 3


def deleted(kube: Kube, gateway: Gateway, pod: str) -> None:
    kube.run("delete", "pod", pod, "--grace-period=0", "--force")


def taken_out(kube: Kube, gateway: Gateway, pod: str) -> None:
    kube.run("label", "pod", pod, "--overwrite", "app=quarantine")


def rolled_out(kube: Kube, gateway: Gateway, pod: str) -> None:
    kube.run("set", "env", "deployment/gw", "NEW=1")
    kube.run("wait", "--for=delete", f"pod/{pod}", "--timeout=30s")  # until then it is the gateway's pod, by any look


def made_anew(kube: Kube, gateway: Gateway, pod: str) -> None:
    kube.run("delete", "deployment", "gw", "--cascade=foreground", "--wait=true", "--timeout=30s")
    gateway.deployment()


@pytest.mark.parametrize("change", [deleted, taken_out, rolled_out, made_anew])
def test_after_a_change_the_key_goes_to_the_pod_that_took_its_place(
    kube: Kube,
    seen: Gateway,
    admin: ScriptedAdmin,
    second: ScriptedAdmin,
    change: Callable[[Kube, Gateway, str], None],
) -> None:
    """The old pod's address still answers all the while, as if another pod had it by now."""
    old = seen.pod()
    change(kube, seen, old)
    kube.backup("while-it-changes")
    pending = kube.wait_status("gwb", "while-it-changes", lambda status: status.get("reason") == "NoReadyPod")
    assert pending["phase"] == "Pending"
    seen.address = second.host
    with seen.kubelet():
        after = kube.wait_phase("gwb", "while-it-changes", "Completed", timeout=60)
    assert after["pod"] != old
    assert admin.calls == []
    assert len(second.backups) == 1


def test_another_pod_under_an_address_that_is_remembered_by_nobody(
    kube: Kube, seen: Gateway, admin: ScriptedAdmin, second: ScriptedAdmin
) -> None:
    """The same pod with another address, as after a restart of its sandbox: the address is read each time."""
    kube.patch_status("pod", seen.pod(), pod_status(second.host))
    kube.backup("moved")
    kube.wait_phase("gwb", "moved", "Completed")
    assert admin.calls == []
    assert len(second.backups) == 1
