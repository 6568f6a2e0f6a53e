"""Backup files without objects: adoption of one file and import of a whole volume, on a new cluster too."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import Kube, custom_resource, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


@pytest.fixture
def gw(kube: Kube, tmp_path: Path) -> Iterator[RealGateway]:
    """A gateway whose admin API accepts a file at once, without waiting until it stops changing."""
    with real_gateway(kube, tmp_path, admin_settle_seconds=0) as gateway:
        yield gateway


def finished_backup(kube: Kube, name: str, **spec: Any) -> dict[str, Any]:
    """Apply a backup, wait until it is Completed or Failed and return its status."""
    kube.apply_backup(name, **spec)
    return kube.wait_phase("gwb", name, "Completed", "Failed")


def test_adoption_copies_the_status_of_a_file_whose_object_was_deleted(kube: Kube, gw: RealGateway) -> None:
    original = finished_backup(kube, "original", group="daily", description="before")
    kube.kubectl("delete", "gwb/original", "--timeout=60s")
    status = finished_backup(kube, "again", group="daily", existing={"path": original["path"]})
    assert (status["phase"], status["reason"], status["origin"]) == ("Completed", "Adopted", "Adopted")
    same = ("backupID", "path", "sha256", "contentDigest", "counts", "sizeBytes", "snapshotTime", "volumeID")
    assert {name: status[name] for name in same} == {name: original[name] for name in same}
    assert status["verification"]["level"] == "Verified"
    assert len(gw.backup_files()) == 1


def test_adoption_of_foreign_files_validates_content_and_path(kube: Kube, gw: RealGateway) -> None:
    (gw.backups / "by-hand.json.gz").write_bytes(gzip.compress(gw.config.read_bytes()))
    (gw.backups / "torn.json").write_bytes(gw.config.read_bytes()[:-9])
    status = finished_backup(kube, "foreign", existing={"path": "by-hand.json.gz"})
    assert (status["phase"], status["counts"]["users"]) == ("Completed", 2)
    assert "backupID" not in status
    for name, path, reason in (
        ("torn", "torn.json", "BackupInvalid"),
        ("absent", "nowhere.json", "FileNotFound"),
        ("outside", "../config/config.json", "PathNotAllowed"),
        ("second", "by-hand.json.gz", "AlreadyOwned"),
    ):
        refused = finished_backup(kube, name, existing={"path": path})
        assert (refused["phase"], refused["reason"]) == ("Failed", reason), name
    gw.write_config(users=5)
    digest = status["sha256"]
    kube.apply_restore("back", backupName="foreign", expectedSha256=digest, healthCheck={"consecutive": 1})
    assert kube.wait_phase("gwr", "back", "Completed", "Failed")["phase"] == "Completed"
    assert gw.count_users() == 2


def test_two_operators_let_exactly_one_backup_adopt_a_file(kube: Kube, gw: RealGateway, tmp_path: Path) -> None:
    """Two operators run in the namespace by mistake."""
    original = finished_backup(kube, "original")
    kube.kubectl("delete", "gwb/original", "--timeout=60s")
    with OperatorProcess(kube.cluster, tmp_path / "second.log", kube.namespace):
        bodies = [
            custom_resource(
                "GatewayBackup", f"want-{n}", {"gatewayRef": {"name": "gw"}, "existing": {"path": original["path"]}}
            )
            for n in range(6)
        ]
        kube.apply({"apiVersion": "v1", "kind": "List", "items": bodies})
        kube.kubectl("wait", "--for=condition=Finished", "gwb", "--all", "--timeout=60s")
    ended = [one["status"]["reason"] for one in kube.items("gwb")]
    assert sorted(ended) == ["Adopted", *["AlreadyOwned"] * 5]


def test_delete_file_also_deletes_an_adopted_file(kube: Kube, gw: RealGateway) -> None:
    path = kube.complete_backup("original")["path"]
    kube.kubectl("delete", "gwb/original")
    kube.complete_backup("again", existing={"path": path})
    kube.delete_with_file("again", "--timeout=60s")
    assert gw.backup_files() == []


@contextmanager
def another_cluster(kube: Kube, gw: RealGateway) -> Iterator[Kube]:
    """A namespace with only the gateway and the volume, as on a new cluster."""
    namespace = f"{kube.namespace[:50]}-new"
    kube.cluster.kubectl("create", "namespace", namespace)
    fresh = Kube(kube.cluster, namespace)
    wait_for(
        "its default ServiceAccount",
        lambda: fresh.kubectl("get", "serviceaccount", "default", "--ignore-not-found").strip(),
    )
    moved_gateway = type(gw.gateway)(fresh, gw.gateway.address, gw.key, config_folder=gw.gateway.config_folder)
    try:
        moved_gateway.create()
        yield fresh
    finally:
        kube.cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


def test_import_on_a_new_cluster_recreates_all_backups_of_the_volume(kube: Kube, gw: RealGateway) -> None:
    groups = {"first": "daily", "second": "daily", "before-upgrade": "manual", "weekly-1": "weekly"}
    for number, (name, group) in enumerate(groups.items()):
        gw.write_config(users=number + 2)
        finished_backup(kube, name, group=group)
    (gw.backups / "by-hand.json.gz").write_bytes(gzip.compress(gw.config.read_bytes()))
    (gw.backups / "notes.txt").write_text("not a backup")
    with another_cluster(kube, gw) as fresh:
        fresh.apply(custom_resource("GatewayBackupImport", "dry", {"gatewayRef": {"name": "gw"}, "dryRun": True}))
        dry = fresh.wait_phase("gwbi", "dry", "Completed", "Failed")
        assert (dry["adopted"], fresh.items("gwb")) == (5, [])
        fresh.apply(custom_resource("GatewayBackupImport", "all", {"gatewayRef": {"name": "gw"}}))
        status = fresh.wait_phase("gwbi", "all", "Completed", "Failed")
        assert (status["phase"], status["found"], status["adopted"], status["ignored"]) == ("Completed", 5, 5, 1)
        recreated = {one["metadata"]["name"]: one for one in fresh.items("gwb")}
        assert {name: recreated[name]["spec"]["group"] for name in groups} == groups
        assert {one["status"]["origin"] for one in recreated.values()} == {"Adopted"}
        fresh.apply(custom_resource("GatewayBackupImport", "again", {"gatewayRef": {"name": "gw"}}))
        second_import = fresh.wait_phase("gwbi", "again", "Completed", "Failed")
        assert (second_import["adopted"], second_import["alreadyOwned"]) == (0, 5)
        fresh.apply_restore("back", backupName="first", healthCheck={"consecutive": 1})
        assert fresh.wait_phase("gwr", "back", "Completed", "Failed")["phase"] == "Completed"
        assert gw.count_users() == 2
