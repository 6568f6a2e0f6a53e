"""What becomes of the file when the object goes: by hand, with its namespace, without its gateway."""

from __future__ import annotations

import pytest

from gateway_api.contract import ErrorCode
from tests.operator.scripted_admin import ScriptedAdmin
from tests.operator.workloads import Gateway, Kube, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


def completed(kube: Kube, name: str, **spec: object) -> None:
    """A finished backup."""
    kube.backup(name, **spec)
    kube.wait_phase("gwb", name, "Completed")


def gone(kube: Kube, name: str, timeout: float = 60) -> None:
    """Wait until there is no such GatewayBackup."""
    until(f"{name} is gone", lambda: kube.get("gwb", name) is None, timeout)


def test_the_file_stays(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "kept")
    kube.run("delete", "gwb/kept", "--timeout=10s")
    assert len(admin.backups) == 1
    assert "DELETE" not in {method for method, _ in admin.calls}


def test_the_file_goes_where_that_is_asked(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "brief", deletionPolicy="Delete")
    body = kube.get("gwb", "brief")
    assert body is not None
    assert body["metadata"]["finalizers"] == ["mcpgateway.dev/finalizer"]
    kube.run("delete", "gwb/brief", "--timeout=20s")
    assert admin.backups == {}
    assert ("Normal", "FileDeleted") in kube.events("brief")


def test_a_change_of_mind(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    """The policy may change after the fact, both ways; the finalizer follows."""
    completed(kube, "later")
    kube.run("patch", "gwb/later", "--type=merge", "-p", '{"spec":{"deletionPolicy":"Delete"}}')
    until("the finalizer", lambda: (kube.get("gwb", "later") or {})["metadata"].get("finalizers"))
    kube.run("patch", "gwb/later", "--type=merge", "-p", '{"spec":{"deletionPolicy":"Retain"}}')
    until("no finalizer", lambda: not (kube.get("gwb", "later") or {})["metadata"].get("finalizers"))
    kube.run("delete", "gwb/later", "--timeout=10s")
    assert len(admin.backups) == 1


def test_a_namespace_takes_no_file_with_it(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "swept", deletionPolicy="Delete")
    kube.run("delete", "namespace", kube.namespace, "--timeout=60s")
    assert len(admin.backups) == 1
    assert "DELETE" not in {method for method, _ in admin.calls}


def test_without_its_gateway_it_is_released_at_once(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "orphan", deletionPolicy="Delete")
    kube.run("delete", "deployment/gw", "--timeout=20s")
    kube.run("delete", "gwb/orphan", "--timeout=20s")
    assert len(admin.backups) == 1
    assert ("Warning", "FileKept") in kube.events("orphan")


def test_another_volume_is_left_alone(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "moved", deletionPolicy="Delete")
    admin.volume_id = "3" * 32
    kube.run("delete", "gwb/moved", "--timeout=20s")
    assert len(admin.backups) == 1
    assert ("Warning", "FileKept") in kube.events("moved")


def test_an_unreachable_gateway_is_asked_again(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "patient", deletionPolicy="Delete")
    admin.deletes_refused = ErrorCode.VolumeUnavailable
    kube.run("delete", "gwb/patient", "--wait=false")
    status = kube.wait_phase("gwb", "patient", "Deleting")
    assert kube.get("gwb", "patient") is not None
    kube.wait_status("gwb", "patient", lambda status: status.get("reason") == "VolumeUnavailable")
    admin.deletes_refused = None
    gone(kube, "patient")
    assert admin.backups == {}
    assert status["path"]


def test_a_file_that_is_not_the_recorded_one_is_kept(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "changed", deletionPolicy="Delete")
    admin.deletes_refused = ErrorCode.BackupChanged
    kube.run("delete", "gwb/changed", "--timeout=20s")
    assert ("Warning", "FileKept") in kube.events("changed")


def test_one_that_waits_for_its_gateway_can_be_deleted(kube: Kube) -> None:
    kube.backup("waiting", deletionPolicy="Delete")
    kube.wait_phase("gwb", "waiting", "Pending")
    kube.run("delete", "gwb/waiting", "--timeout=20s")
