"""A volume outlives its cluster: one file adopted, and all of them, on a real API server with a real admin API."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import Kube, resource, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
LABEL = "mcpgateway.dev/adopted"


@pytest.fixture
def gw(kube: Kube, tmp_path: Path) -> Iterator[RealGateway]:
    """A gateway with a real admin API."""
    with real_gateway(kube, tmp_path, admin_settle_seconds=0) as gateway:
        yield gateway


def completed(kube: Kube, name: str, **spec: Any) -> dict[str, Any]:
    """A finished backup."""
    kube.backup(name, **spec)
    return kube.wait_phase("gwb", name, "Completed", "Failed")


def label(kube: Kube, name: str) -> str | None:
    """Its label."""
    body = kube.get("gwb", name)
    assert body is not None
    found: str | None = body["metadata"].get("labels", {}).get(LABEL)
    return found


def test_a_file_that_was_left_behind_is_adopted(kube: Kube, gw: RealGateway) -> None:
    made = completed(kube, "made", group="daily", description="before")
    kube.run("delete", "gwb/made", "--timeout=10s")
    status = completed(kube, "again", group="daily", existing={"path": made["path"]})
    assert (status["phase"], status["reason"], status["adopted"]) == ("Completed", "Adopted", True)
    same = ("backupID", "path", "sha256", "contentDigest", "counts", "sizeBytes", "snapshotTime", "volumeID")
    assert {name: status[name] for name in same} == {name: made[name] for name in same}
    assert status["verification"]["level"] == "Verified"
    assert label(kube, "again") == "true"
    assert len(gw.files()) == 1


def test_other_peoples_files_are_adopted_by_what_they_hold(kube: Kube, gw: RealGateway) -> None:
    (gw.backups / "by-hand.json.gz").write_bytes(gzip.compress(gw.config.read_bytes()))
    (gw.backups / "torn.json").write_bytes(gw.config.read_bytes()[:-9])
    status = completed(kube, "foreign", existing={"path": "by-hand.json.gz"})
    assert (status["phase"], status["counts"]["users"]) == ("Completed", 2)
    assert "backupID" not in status
    for name, path, reason in (
        ("torn", "torn.json", "BackupInvalid"),
        ("absent", "nowhere.json", "FileNotFound"),
        ("outside", "../config/config.json", "PathNotAllowed"),
        ("second", "by-hand.json.gz", "AlreadyOwned"),
    ):
        found = completed(kube, name, existing={"path": path})
        assert (found["phase"], found["reason"]) == ("Failed", reason), name
    gw.write(users=5)
    digest = status["sha256"]
    kube.restore("back", backupName="foreign", expectedSha256=digest, healthCheck={"consecutive": 1})
    assert kube.wait_phase("gwr", "back", "Completed", "Failed")["phase"] == "Completed"
    assert gw.users() == 2


def test_one_of_many_that_want_a_file_gets_it(kube: Kube, gw: RealGateway, tmp_path: Path) -> None:
    """Two operators run by mistake."""
    made = completed(kube, "made")
    kube.run("delete", "gwb/made", "--timeout=10s")
    with OperatorProcess(kube.cluster, tmp_path / "second.log", kube.namespace):
        bodies = [
            resource("GatewayBackup", f"want-{n}", {"gatewayRef": {"name": "gw"}, "existing": {"path": made["path"]}})
            for n in range(6)
        ]
        kube.apply({"apiVersion": "v1", "kind": "List", "items": bodies})
        kube.run("wait", "--for=condition=Finished", "gwb", "--all", "--timeout=60s")
    ended = [one["status"]["reason"] for one in kube.items("gwb")]
    assert sorted(ended) == ["Adopted", *["AlreadyOwned"] * 5]


def test_an_adopted_file_is_deleted_by_the_same_rule(kube: Kube, gw: RealGateway) -> None:
    kube.backup("made")
    path = kube.wait_phase("gwb", "made", "Completed")["path"]
    kube.run("delete", "gwb/made")
    kube.backup("again", existing={"path": path})
    kube.wait_phase("gwb", "again", "Completed")
    kube.delete_with_file("again", "--timeout=20s")
    assert gw.files() == []


@contextmanager
def another_cluster(kube: Kube, gw: RealGateway) -> Iterator[Kube]:
    """A namespace that has only the gateway and its volume, as on a new cluster."""
    namespace = f"{kube.namespace[:50]}-new"
    kube.cluster.kubectl("create", "namespace", namespace)
    fresh = Kube(kube.cluster, namespace)
    until("its account", lambda: fresh.run("get", "serviceaccount", "default", "--ignore-not-found").strip())
    moved = type(gw.gateway)(fresh, gw.gateway.address, gw.key, config_folder=gw.gateway.config_folder)
    try:
        moved.create()
        yield fresh
    finally:
        kube.cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


def test_a_new_cluster_with_only_the_volume_gets_everything_back_from_one_object(kube: Kube, gw: RealGateway) -> None:
    groups = {"first": "daily", "second": "daily", "before-upgrade": "manual", "weekly-1": "weekly"}
    for number, (name, group) in enumerate(groups.items()):
        gw.write(users=number + 2)
        completed(kube, name, group=group)
    (gw.backups / "by-hand.json.gz").write_bytes(gzip.compress(gw.config.read_bytes()))
    (gw.backups / "notes.txt").write_text("not a backup")
    with another_cluster(kube, gw) as fresh:
        fresh.apply(resource("GatewayBackupImport", "dry", {"gatewayRef": {"name": "gw"}, "dryRun": True}))
        dry = fresh.wait_phase("gwbi", "dry", "Completed", "Failed")
        assert (dry["adopted"], fresh.items("gwb")) == (5, [])
        fresh.apply(resource("GatewayBackupImport", "all", {"gatewayRef": {"name": "gw"}}))
        status = fresh.wait_phase("gwbi", "all", "Completed", "Failed", timeout=60)
        assert (status["phase"], status["found"], status["adopted"], status["ignored"]) == ("Completed", 5, 5, 1)
        back = {one["metadata"]["name"]: one for one in fresh.items("gwb")}
        assert {name: back[name]["spec"]["group"] for name in groups} == groups
        assert all(one["status"]["adopted"] and one["metadata"]["labels"][LABEL] == "true" for one in back.values())
        fresh.apply(resource("GatewayBackupImport", "again", {"gatewayRef": {"name": "gw"}}))
        again = fresh.wait_phase("gwbi", "again", "Completed", "Failed")
        assert (again["adopted"], again["alreadyOwned"]) == (0, 5)
        fresh.restore("back", backupName="first", healthCheck={"consecutive": 1})
        assert fresh.wait_phase("gwr", "back", "Completed", "Failed", timeout=60)["phase"] == "Completed"
        assert gw.users() == 2
