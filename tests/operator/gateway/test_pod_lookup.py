"""A pod that a cached list offers is confirmed by a fresh read before the admin key is sent to its address."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube, random_loopback_address, running_pod_status

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


@pytest.fixture
def second() -> Iterator[ScriptedAdminApi]:
    """The admin API of the replacement pod."""
    with ScriptedAdminApi(random_loopback_address()) as server:
        yield server


@pytest.fixture
def used(kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi) -> GatewayDeployment:
    """A gateway after its first backup. The calls of its admin API so far are cleared."""
    kube.kubectl("rollout", "status", "deployment/gw", "--timeout=60s")
    kube.complete_backup("first")
    admin.calls.clear()
    return gateway


def delete_pod(kube: Kube, gateway: GatewayDeployment, pod: str) -> None:
    kube.kubectl("delete", "pod", pod, "--grace-period=0", "--force")


def remove_pod_from_selector(kube: Kube, gateway: GatewayDeployment, pod: str) -> None:
    kube.kubectl("label", "pod", pod, "--overwrite", "app=quarantine")


def roll_out(kube: Kube, gateway: GatewayDeployment, pod: str) -> None:
    kube.kubectl("set", "env", "deployment/gw", "NEW=1")
    kube.kubectl("wait", "--for=delete", f"pod/{pod}", "--timeout=60s")  # until it is deleted it belongs to the gateway


def recreate_deployment(kube: Kube, gateway: GatewayDeployment, pod: str) -> None:
    kube.kubectl("delete", "deployment", "gw", "--cascade=foreground", "--wait=true", "--timeout=60s")
    gateway.apply_deployment()


@pytest.mark.parametrize("change", [delete_pod, remove_pod_from_selector, roll_out, recreate_deployment])
def test_admin_key_goes_only_to_the_new_pod_after_a_change(
    kube: Kube,
    used: GatewayDeployment,
    admin: ScriptedAdminApi,
    second: ScriptedAdminApi,
    change: Callable[[Kube, GatewayDeployment, str], None],
) -> None:
    """The old address keeps answering, as if another pod had received it."""
    old = used.pod_name()
    change(kube, used, old)
    kube.apply_backup("while-it-changes")
    pending = kube.wait_status("gwb", "while-it-changes", lambda status: status.get("reason") == "NoReadyPod")
    assert pending["phase"] == "Pending"
    used.address = second.host
    with used.simulated_kubelet():
        after = kube.wait_phase("gwb", "while-it-changes", "Completed")
    assert after["pod"] != old
    assert admin.calls == []
    assert len(second.backups) == 1


def test_pod_address_is_read_for_each_backup(
    kube: Kube, used: GatewayDeployment, admin: ScriptedAdminApi, second: ScriptedAdminApi
) -> None:
    """The pod gets another address, as after a restart of its sandbox."""
    kube.patch_status("pod", used.pod_name(), running_pod_status(second.host))
    kube.complete_backup("moved")
    assert admin.calls == []
    assert len(second.backups) == 1
