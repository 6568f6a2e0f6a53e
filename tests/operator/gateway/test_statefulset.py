"""A gateway that is a StatefulSet: each pod has its own volumes, and `gatewayRef.ordinal` selects the pod."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import Kube, random_loopback_address, running_pod_status, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


@pytest.fixture
def second() -> Iterator[ScriptedAdminApi]:
    """The admin API of the second pod, with a volume of its own."""
    with ScriptedAdminApi(random_loopback_address()) as server:
        server.volume_id = "9" * 32
        yield server


def stateful_set(key: str) -> list[dict[str, Any]]:
    """The Secret and the StatefulSet of a gateway with two pods."""
    container = {"name": "admin", "image": "admin", "ports": [{"name": "admin", "containerPort": 8001}]}
    labels = {"app": "gws"}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gws-admin"}, "stringData": {"admin-key": key}},
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "gws", "annotations": {"mcpgateway.dev/admin-key-secret": "gws-admin"}},
            "spec": {
                "replicas": 2,
                "serviceName": "gws",
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [container, {"name": "gateway", "image": "gateway"}]},
                },
            },
        },
    ]


def test_ordinal_selects_the_pod(kube: Kube, admin: ScriptedAdminApi, second: ScriptedAdminApi) -> None:
    for body in stateful_set(admin.key):
        kube.apply(body)
    for number, server in enumerate((admin, second)):
        wait_for("the pod", lambda number=number: kube.get("pod", f"gws-{number}"))  # type: ignore[misc]
        kube.patch_status("pod", f"gws-{number}", running_pod_status(server.host))
    kube.apply_backup("first", gatewayRef={"kind": "StatefulSet", "name": "gws"})
    kube.apply_backup("second", gatewayRef={"kind": "StatefulSet", "name": "gws", "ordinal": 1})
    kube.apply_backup(
        "third", gatewayRef={"kind": "StatefulSet", "name": "gws", "ordinal": 2}, startingDeadlineSeconds=3
    )
    assert kube.wait_phase("gwb", "first", "Completed")["pod"] == "gws-0"
    status = kube.wait_phase("gwb", "second", "Completed")
    assert (status["pod"], status["volumeID"]) == ("gws-1", "9" * 32)
    assert len(admin.backups) == len(second.backups) == 1
    status = kube.wait_phase("gwb", "third", "Failed")
    assert status["reason"] == "NoReadyPod"
    assert "has no pod gws-2" in status["message"]
    # A backup of one pod must not be restored to another pod.
    kube.apply_restore("crossed", gatewayRef={"kind": "StatefulSet", "name": "gws", "ordinal": 1}, backupName="first")
    assert kube.wait_phase("gwr", "crossed", "Failed")["reason"] in ("WrongGateway", "ConfigNotPersistent")
