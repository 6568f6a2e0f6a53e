"""Objects re-created without their status: no new backup under an old name, and an import brings them back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gateway_operator.domain.model.identifiers import Ref
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE
from tests.unit.gateway_operator.simulation.faults import Faults, World

SPECS: dict[str, dict[str, Any]] = {
    "before-upgrade": {"group": "manual", "pinned": True},
    "weekly": {"group": "weekly", "ttl": "1d", "description": "kept"},
    "nightly": {"group": "daily"},
}


def recreate(world: World, name: str, **spec: Any) -> Ref:
    """Delete an object without its file and create it again with the same spec, as Velero or Argo CD does."""
    before = world.cluster.objects.pop(("GatewayBackup", name))
    return world.cluster.add("GatewayBackup", name, {**before["spec"], **spec}, labels=before["metadata"].get("labels"))


def recreated_cluster(faults: Faults | None = None, **spec: Any) -> tuple[World, Ref]:
    """A volume with three backups whose objects were re-created from their YAML, and an import."""
    world = World(faults)
    plain, world.ports = world.ports, world.plain
    for name, fields in SPECS.items():
        world.admin.live = f"config of {name}"
        world.run(world.cluster.add("GatewayBackup", name, fields))
        world.clock.advance(60)
    world.admin.live = "today"
    for name in SPECS:
        world.run(recreate(world, name))
    world.ports = plain
    return world, world.cluster.add("GatewayBackupImport", "i", spec)


def status_of(world: World, name: str) -> dict[str, Any]:
    """The status of a GatewayBackup by name."""
    return dict(world.cluster.objects["GatewayBackup", name].get("status") or {})


def check_imported(world: World, ref: Ref) -> None:
    """Each name has its original file again, and nothing new was made."""
    status = world.cluster.status(ref)
    assert (status["phase"], status["adopted"], status["failed"]) == ("Completed", 3, 0), status
    assert {name for kind, name in world.cluster.objects if kind == "GatewayBackup"} == set(SPECS)
    files = {record.metadata["name"]: record.path for record, _ in world.admin.backups.values()}
    for name, fields in SPECS.items():
        body = world.cluster.objects["GatewayBackup", name]
        assert (body["status"]["phase"], body["status"]["path"]) == ("Completed", files[name])
        assert body["spec"].get("pinned", False) == fields.get("pinned", False)
        assert "ttl" not in body["spec"], "an adopted backup has no ttl until a person sets one"
    assert world.admin.files_made == len(SPECS)


def test_recreated_object_makes_no_backup_and_names_the_file() -> None:
    world, _ = recreated_cluster()
    assert world.admin.files_made == len(SPECS)
    for name in SPECS:
        status = status_of(world, name)
        path = next(one.path for one, _ in world.admin.backups.values() if one.metadata["name"] == name)
        assert (status["phase"], status["reason"]) == ("Failed", "NameUsed")
        for part in (path, "2026-01-01T12:0", "another name", "existing", "GatewayBackupImport"):
            assert part in status["message"]


def test_restore_by_the_name_of_a_recreated_object_fails_safely() -> None:
    world, _ = recreated_cluster()
    restore = world.cluster.add("GatewayRestore", "r", {"backupName": "weekly"})
    world.run(restore)
    status = world.cluster.status(restore)
    assert (status["phase"], status["reason"]) == ("Failed", "BackupNotCompleted")
    assert "GatewayBackupImport" in status["message"]
    assert world.admin.live == "today"


def test_import_replaces_recreated_objects_after_any_single_crash() -> None:
    world, ref = recreated_cluster()
    world.run(ref)
    check_imported(world, ref)
    for name, faults in world.faults.single_faults():
        world, ref = recreated_cluster(faults)
        world.run(ref)
        with faults.named(name):
            check_imported(world, ref)


def test_import_replaces_recreated_objects_after_two_crashes() -> None:
    world, ref = recreated_cluster()
    world.run(ref)
    writes = [n for n, name in enumerate(world.faults.names, 1) if name in ("create_ours", "delete_by_uid")]
    for one, two in itertools.combinations(writes, 2):
        world, ref = recreated_cluster(Faults(crash_after={one, two}))
        world.run(ref)
        check_imported(world, ref)


def test_restore_after_the_import_uses_the_original_config() -> None:
    world, ref = recreated_cluster()
    world.run(ref)
    restore = world.cluster.add("GatewayRestore", "r", {"backupName": "weekly"})
    world.run(restore)
    assert (world.cluster.status(restore)["phase"], world.admin.live) == ("Completed", "config of weekly")


@pytest.mark.parametrize("dry_run", [False, True])
def test_import_of_other_paths_replaces_nothing(dry_run: bool) -> None:
    world, ref = recreated_cluster(**({"dryRun": True} if dry_run else {"paths": ["nowhere/"]}))
    uids = {name: world.cluster.objects["GatewayBackup", name]["metadata"]["uid"] for name in SPECS}
    world.run(ref)
    assert uids == {name: world.cluster.objects["GatewayBackup", name]["metadata"]["uid"] for name in SPECS}


def test_import_waits_for_a_recreated_object_with_a_finalizer() -> None:
    world, ref = recreated_cluster()
    world.cluster.objects["GatewayBackup", "weekly"]["metadata"]["finalizers"] = ["example.org/keeps-it"]
    with pytest.raises(AssertionError, match="not finished"):
        world.run(ref, limit=5)
    assert world.cluster.objects["GatewayBackup", "weekly"]["metadata"]["deletionTimestamp"]
    del world.cluster.objects["GatewayBackup", "weekly"]
    world.run(ref)
    check_imported(world, ref)


def test_deleting_the_file_frees_the_name() -> None:
    world, _ = recreated_cluster()
    path = {record.metadata["name"]: backup_id for backup_id, (record, _) in world.admin.backups.items()}
    del world.admin.backups[path["weekly"]]
    repeated = recreate(world, "weekly")
    world.run(repeated)
    assert world.cluster.status(repeated)["phase"] == "Completed"
    assert world.admin.files_made == len(SPECS) + 1


def test_deletion_with_delete_file_of_a_recreated_object_deletes_no_file() -> None:
    world, _ = recreated_cluster()
    body = world.cluster.objects["GatewayBackup", "weekly"]
    body["spec"]["deleteFile"] = True
    body["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    files = set(world.admin.backups)
    world.cluster.events.clear()
    world.run(Ref("GatewayBackup", NAMESPACE, "weekly", body["metadata"]["uid"]), forget=True)
    assert set(world.admin.backups) == files
    assert [note.reason for note in world.cluster.events if note.reason == "FileDeleted"] == []
