"""GatewayBackups that other tools create again from their YAML, on the real API server and with the real admin API.

Velero restores, a prune with self-heal by Argo CD, a re-apply by Flux and `kubectl get -o yaml | kubectl apply` all
create an object without its status. None of them may make a new backup under an old name. A restore by such a name must
never use other data, and an import must bring the original backups back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import LAST_APPLIED, ClusterError, Kube, custom_resource

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
Recreate = Callable[[Kube, dict[str, Any]], None]


@pytest.fixture
def gw(kube: Kube, tmp_path: Path) -> Iterator[RealGateway]:
    """A gateway whose admin API accepts a config at once, without waiting until it stops changing."""
    with real_gateway(kube, tmp_path, admin_settle_seconds=0) as gateway:
        yield gateway


def delete(kube: Kube, name: str) -> None:
    """Delete a GatewayBackup; its file stays."""
    kube.kubectl("delete", f"gwb/{name}", "--timeout=60s")


def by_velero(kube: Kube, saved: dict[str, Any]) -> None:
    """Velero's restore: no status, uid, resourceVersion and owners; labels, annotations and finalizers stay."""
    dropped = ("uid", "resourceVersion", "generation", "creationTimestamp", "ownerReferences", "managedFields")
    meta = {key: value for key, value in saved["metadata"].items() if key not in dropped}
    meta["labels"] = {**meta.get("labels", {}), "velero.io/restore-name": "disaster", "velero.io/backup-name": "daily"}
    meta["finalizers"] = ["mcpgateway.dev/finalizer"]
    body = {key: value for key, value in saved.items() if key != "status"}
    delete(kube, meta["name"])
    kube.kubectl("create", "-f", "-", body={**body, "metadata": meta})


def by_argo_cd(kube: Kube, saved: dict[str, Any]) -> None:
    """A prune by Argo CD and its self-heal: the object is applied from Git with a tracking annotation."""
    name, spec = saved["metadata"]["name"], saved["spec"]
    delete(kube, name)
    tracking = {"argocd.argoproj.io/tracking-id": f"app:mcpgateway.dev/GatewayBackup:{kube.namespace}/{name}"}
    body = custom_resource("GatewayBackup", name, {"gatewayRef": spec["gatewayRef"], "group": spec["group"]})
    body["metadata"]["annotations"] = tracking
    kube.kubectl("apply", "-f", "-", body=body)


def by_flux(kube: Kube, saved: dict[str, Any]) -> None:
    """A re-apply by Flux after someone has deleted the object: a forced server-side apply."""
    name, spec = saved["metadata"]["name"], saved["spec"]
    delete(kube, name)
    body = custom_resource("GatewayBackup", name, {"gatewayRef": spec["gatewayRef"], "group": spec["group"]})
    body["metadata"]["labels"] = {"kustomize.toolkit.fluxcd.io/name": "backups"}
    options = ("--server-side", "--force-conflicts", "--field-manager=kustomize-controller")
    kube.kubectl("apply", *options, "-f", "-", body=body)


def by_get_and_apply(kube: Kube, saved: dict[str, Any]) -> None:
    """`kubectl get -o yaml`, a deletion, and `kubectl apply` of the file without its resourceVersion."""
    meta = {key: value for key, value in saved["metadata"].items() if key != "resourceVersion"}
    meta["annotations"] = {key: value for key, value in meta.get("annotations", {}).items() if key != LAST_APPLIED}
    delete(kube, meta["name"])
    kube.kubectl("apply", "-f", "-", body={**saved, "metadata": meta})


WAYS: list[Recreate] = [by_velero, by_argo_cd, by_flux, by_get_and_apply]


@pytest.mark.parametrize("recreate", WAYS, ids=lambda way: way.__name__)
def test_recreated_object_makes_no_backup_and_an_import_brings_it_back(
    kube: Kube, gw: RealGateway, recreate: Recreate
) -> None:
    original = kube.complete_backup("before-upgrade", group="manual", pinned=recreate is by_velero)
    files = gw.backup_files()
    gw.write_config(users=5)
    recreate(kube, kube.require("gwb", "before-upgrade"))
    status = kube.wait_phase("gwb", "before-upgrade", "Completed", "Failed")
    assert (status["phase"], status["reason"]) == ("Failed", "NameUsed")
    assert original["path"] in status["message"]
    assert gw.backup_files() == files
    kube.apply_restore("back", backupName="before-upgrade")
    refused = kube.wait_phase("gwr", "back", "Completed", "Failed")
    assert (refused["phase"], refused["reason"]) == ("Failed", "BackupNotCompleted")
    assert gw.count_users() == 5
    kube.apply(custom_resource("GatewayBackupImport", "all", {"gatewayRef": {"name": "gw"}}))
    imported = kube.wait_phase("gwbi", "all", "Completed", "Failed")
    assert (imported["phase"], imported["adopted"]) == ("Completed", 1), imported
    body = kube.require("gwb", "before-upgrade")
    same = ("backupID", "path", "sha256", "contentDigest", "snapshotTime")
    assert {name: body["status"][name] for name in same} == {name: original[name] for name in same}
    assert (body["status"]["origin"], body["spec"]["pinned"]) == ("Adopted", recreate is by_velero)
    kube.apply_restore("again", backupName="before-upgrade", healthCheck={"consecutive": 1})
    assert kube.wait_phase("gwr", "again", "Completed", "Failed")["phase"] == "Completed"
    assert gw.count_users() == 2


def test_apply_of_an_unchanged_object_changes_nothing(kube: Kube, gw: RealGateway) -> None:
    kube.complete_backup("kept")
    before = kube.require("gwb", "kept")
    kube.kubectl("apply", "-f", "-", body=json.loads(kube.kubectl("get", "gwb", "kept", "-o", "json")))
    kube.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-",
                 body=custom_resource("GatewayBackup", "kept", {"gatewayRef": {"name": "gw"}}))  # fmt: skip
    after = kube.require("gwb", "kept")
    assert (after["status"], after["spec"], after["metadata"]["uid"]) == (
        before["status"], before["spec"], before["metadata"]["uid"],
    )  # fmt: skip
    assert len(gw.backup_files()) == 1


def test_recreated_object_that_adopts_a_file_adopts_the_same_file(kube: Kube, gw: RealGateway) -> None:
    original = kube.complete_backup("original")
    delete(kube, "original")
    kube.complete_backup("adopted", existing={"path": original["path"]})
    by_velero(kube, kube.require("gwb", "adopted"))
    status = kube.wait_phase("gwb", "adopted", "Completed", "Failed")
    assert (status["phase"], status["backupID"]) == ("Completed", original["backupID"])
    assert len(gw.backup_files()) == 1


def test_deleting_the_file_frees_the_name(kube: Kube, gw: RealGateway) -> None:
    kube.complete_backup("kept")
    kube.delete_with_file("kept", "--timeout=60s")
    assert gw.backup_files() == []
    kube.complete_backup("kept")
    assert len(gw.backup_files()) == 1


def test_recreated_object_with_fields_of_a_person_is_refused(kube: Kube, gw: RealGateway) -> None:
    for field in ("accepted", "deleteFile"):
        body = custom_resource("GatewayBackup", "copy", {"gatewayRef": {"name": "gw"}, field: True})
        with pytest.raises(ClusterError, match=f"{field} cannot be set when a backup is created"):
            kube.kubectl("create", "-f", "-", body=body)
