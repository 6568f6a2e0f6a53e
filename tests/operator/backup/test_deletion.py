"""Deletion of a GatewayBackup with a scripted admin API: with and without its file, and with each failure."""

from __future__ import annotations

import pytest

from gateway_api.contract import ErrorCode
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


def test_delete_keeps_the_file_and_sets_no_finalizer(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    kube.complete_backup("kept")
    assert "finalizers" not in kube.require("gwb", "kept")["metadata"]
    kube.kubectl("delete", "gwb/kept", "--timeout=60s")
    assert len(admin.backups) == 1
    assert "DELETE" not in {method for method, _ in admin.calls}


def test_delete_file_deletes_the_file_with_the_object(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    kube.complete_backup("brief")
    kube.delete_with_file("brief", "--timeout=60s")
    assert admin.backups == {}
    kube.wait_event("brief", "Normal", "FileDeleted")


def test_finalizer_is_added_and_removed_with_delete_file(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    """A user may set the field without a finalizer, and unset it later."""
    kube.complete_backup("later")
    kube.patch_spec("gwb", "later", {"deleteFile": True})
    wait_for("the finalizer", lambda: kube.require("gwb", "later")["metadata"].get("finalizers"))
    kube.patch_spec("gwb", "later", {"deleteFile": False})
    wait_for("no finalizer", lambda: not kube.require("gwb", "later")["metadata"].get("finalizers"))
    kube.kubectl("delete", "gwb/later", "--timeout=60s")
    assert len(admin.backups) == 1


def test_file_on_another_volume_is_kept(kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi) -> None:
    kube.complete_backup("moved")
    admin.volume_id = "3" * 32
    kube.delete_with_file("moved", "--timeout=60s")
    assert len(admin.backups) == 1
    kube.wait_event("moved", "Warning", "FileKept")


def test_deletion_is_retried_until_the_volume_is_available(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    kube.complete_backup("patient")
    admin.delete_error = ErrorCode.VolumeUnavailable
    kube.delete_with_file("patient", "--wait=false")
    status = kube.wait_status("gwb", "patient", lambda status: status.get("reason") == "VolumeUnavailable")
    assert status["phase"] == "Deleting"
    assert status["failure"]["reason"] == "VolumeUnavailable"
    admin.delete_error = None
    wait_for("patient is deleted", lambda: kube.get("gwb", "patient") is None)
    assert admin.backups == {}


def test_changed_file_is_kept(kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi) -> None:
    kube.complete_backup("changed")
    admin.delete_error = ErrorCode.BackupChanged
    kube.delete_with_file("changed", "--timeout=60s")
    kube.wait_event("changed", "Warning", "FileKept")


def test_pending_backup_can_be_deleted_with_delete_file(kube: Kube) -> None:
    kube.apply_backup("waiting")
    kube.wait_phase("gwb", "waiting", "Pending")
    kube.delete_with_file("waiting", "--timeout=60s")
