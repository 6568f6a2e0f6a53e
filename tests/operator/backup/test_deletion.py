"""A GatewayBackup is deleted: by hand, with its file, without its gateway."""

from __future__ import annotations

import pytest

from gateway_api.contract import ErrorCode
from tests.operator.support.scripted_admin_api import ScriptedAdmin
from tests.operator.support.workloads import Gateway, Kube, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


def completed(kube: Kube, name: str) -> None:
    """A finished backup."""
    kube.backup(name)
    kube.wait_phase("gwb", name, "Completed")


def test_the_file_stays(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "kept")
    assert "finalizers" not in (kube.get("gwb", "kept") or {})["metadata"]
    kube.run("delete", "gwb/kept", "--timeout=10s")
    assert len(admin.backups) == 1
    assert "DELETE" not in {method for method, _ in admin.calls}


def test_with_delete_file_the_file_goes(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "brief")
    kube.delete_with_file("brief", "--timeout=20s")
    assert admin.backups == {}
    assert ("Normal", "FileDeleted") in kube.events("brief")


def test_the_finalizer_follows_delete_file(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    """A person may set the field alone, and take it back."""
    completed(kube, "later")
    kube.run("patch", "gwb/later", "--type=merge", "-p", '{"spec":{"deleteFile":true}}')
    until("the finalizer", lambda: (kube.get("gwb", "later") or {})["metadata"].get("finalizers"))
    kube.run("patch", "gwb/later", "--type=merge", "-p", '{"spec":{"deleteFile":false}}')
    until("no finalizer", lambda: not (kube.get("gwb", "later") or {})["metadata"].get("finalizers"))
    kube.run("delete", "gwb/later", "--timeout=10s")
    assert len(admin.backups) == 1


def test_another_volume_is_left_alone(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "moved")
    admin.volume_id = "3" * 32
    kube.delete_with_file("moved", "--timeout=20s")
    assert len(admin.backups) == 1
    assert ("Warning", "FileKept") in kube.events("moved")


def test_an_unreachable_gateway_is_retried(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "patient")
    admin.deletes_refused = ErrorCode.VolumeUnavailable
    kube.delete_with_file("patient", "--wait=false")
    status = kube.wait_status("gwb", "patient", lambda status: status.get("reason") == "VolumeUnavailable")
    assert status["phase"] == "Deleting"
    assert status["failure"]["reason"] == "VolumeUnavailable"
    admin.deletes_refused = None
    until("patient is deleted", lambda: kube.get("gwb", "patient") is None)
    assert admin.backups == {}


def test_a_file_that_is_not_the_recorded_one_is_kept(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    completed(kube, "changed")
    admin.deletes_refused = ErrorCode.BackupChanged
    kube.delete_with_file("changed", "--timeout=20s")
    assert ("Warning", "FileKept") in kube.events("changed")


def test_one_that_waits_for_its_gateway_can_be_deleted(kube: Kube) -> None:
    kube.backup("waiting")
    kube.wait_phase("gwb", "waiting", "Pending")
    kube.delete_with_file("waiting", "--timeout=20s")
