"""Tests of imports: each file on the volume gets one GatewayBackup under its old name, even after crashes."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_api.contract import BackupEntry, Problem
from gateway_operator.domain import backup_import
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import IMPORT_UID
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import AdminApiError, AdminTarget, InvalidError
from tests.unit.gateway_operator.simulation.fake_admin_api import backup_record, inspection_of
from tests.unit.gateway_operator.simulation.faults import Faults, World

LOST = {"nightly": "daily", "before-upgrade": "manual", "weekly": "weekly", "other": "daily", "last": "manual"}


def lost_cluster(faults: Faults | None = None, **spec: Any) -> tuple[World, Ref]:
    """A volume with five backups and a foreign file, a cluster without their objects, and an import."""
    world = World(faults)
    plain, world.ports = world.ports, world.plain
    for name, group in LOST.items():
        world.run(world.cluster.add("GatewayBackup", name, {"group": group}))
        world.clock.advance(60)
    world.ports = plain
    for name in LOST:
        del world.cluster.objects[("GatewayBackup", name)]
    ((stored, _), *_) = world.admin.backups.values()
    foreign = inspection_of(stored, path="by-hand.json.gz", stored_sha256="f" * 64)
    world.admin.foreign[foreign.path] = foreign
    return world, world.cluster.add("GatewayBackupImport", "i", spec)


def everything_is_back(world: World, ref: Ref) -> None:
    """Assert that every file has one object with its old name and group."""
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"], status["found"], status["adopted"], status["failed"]) == (
        "Completed", "Imported", 6, 6, 0,
    ), status  # fmt: skip
    backups = [one for (kind, _), one in world.cluster.objects.items() if kind == "GatewayBackup"]
    assert len(backups) == 6
    assert {one["metadata"]["name"]: one["spec"]["group"] for one in backups}.items() >= LOST.items()
    assert {one["status"]["path"] for one in backups} == {
        "by-hand.json.gz", *(record.path for record, _ in world.admin.backups.values())
    }  # fmt: skip
    assert all(one["status"]["phase"] == "Completed" for one in backups)
    assert all(one["status"]["origin"] == "Adopted" for one in backups)
    assert world.admin.files_made == 5


def test_import_is_complete_after_any_single_crash() -> None:
    world, ref = lost_cluster()
    world.run(ref)
    everything_is_back(world, ref)
    for name, faults in world.faults.single_faults():
        world, ref = lost_cluster(faults)
        world.run(ref)
        with faults.named(name):
            everything_is_back(world, ref)


def test_two_crashes_create_no_duplicates() -> None:
    world, ref = lost_cluster()
    world.run(ref)
    creating = [number for number, name in enumerate(world.faults.names, 1) if name in ("create_ours", "write_status")]
    for one, two in itertools.combinations(creating, 2):
        world, ref = lost_cluster(Faults(crash_after={one, two}))
        world.run(ref)
        everything_is_back(world, ref)


def test_second_import_adopts_nothing() -> None:
    world, ref = lost_cluster()
    world.run(ref)
    second = world.cluster.add("GatewayBackupImport", "again", {})
    world.run(second)
    status = world.cluster.status(second)
    assert (status["phase"], status["adopted"], status["alreadyOwned"]) == ("Completed", 0, 6)


def test_a_dry_run_creates_nothing() -> None:
    world, ref = lost_cluster(dryRun=True)
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"], status["adopted"]) == ("Completed", "WouldImport", 6)
    assert len(status["wouldAdopt"]) == 6
    assert not [kind for kind, _ in world.cluster.objects if kind == "GatewayBackup"]


def test_only_selected_paths_are_imported() -> None:
    world, ref = lost_cluster(paths=["daily/", "by-hand"])
    world.run(ref)
    assert world.cluster.status(ref)["adopted"] == 3


def test_foreign_files_are_ignored_and_broken_files_reported() -> None:
    world, ref = lost_cluster()
    world.admin.problems = [Problem(code="BackupInvalid", message="not a config")]
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["ignored"], status["found"], status["failed"]) == (1, 5, 5)
    assert (status["phase"], status["reason"]) == ("Failed", "ImportedInPart")
    assert {one["reason"] for one in status["problems"]} == {"BackupInvalid"}


@pytest.mark.parametrize(
    ("code", "ignored", "problems"), [("BackupTooLarge", 1, 0), ("PathNotAllowed", 1, 0), ("BackupUnusable", 0, 1)]
)
def test_file_that_cannot_be_read_prevents_no_other_adoption(code: str, ignored: int, problems: int) -> None:
    world, ref = lost_cluster()
    check = world.admin.check_file

    async def refuse(target: AdminTarget, backup_id: str, path: str) -> Any:
        if not backup_id:
            raise AdminApiError(code, "this file", retryable=False)
        return await check(target, backup_id, path)

    world.admin.check_file = refuse  # type: ignore[method-assign]
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["adopted"], status["ignored"], status["failed"]) == (5, ignored, problems)
    assert [one["reason"] for one in status.get("problems", [])] == [code] * problems


def test_object_that_the_api_server_refuses_prevents_no_other_adoption() -> None:
    world, ref = lost_cluster()
    create = world.cluster.create_ours

    async def refuse(kind: str, namespace: str, body: Any) -> Any:
        if body["spec"].get("existing", {}).get("path") == "by-hand.json.gz":
            raise InvalidError("spec.existing.path: Too long")
        return await create(kind, namespace, body)

    world.cluster.create_ours = refuse  # type: ignore[method-assign]
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", "ImportedInPart")
    assert (status["adopted"], status["failed"]) == (5, 1)
    assert status["problems"] == [
        {"path": "by-hand.json.gz", "reason": "SpecInvalid", "message": "spec.existing.path: Too long"}
    ]


def test_import_fails_if_its_gateway_stays_missing() -> None:
    world, ref = lost_cluster(timeoutSeconds=60)
    world.cluster.present = False
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", "GatewayNotFound")


def listed(path: str, name: str, group: str, number: int) -> BackupEntry:
    """A listed file with a manifest that has this name and group."""
    metadata = {"name": name, "group": group}
    record = backup_record(backup_id=f"{number:032x}", path=path, volume_id="v", metadata=metadata)
    return BackupEntry(kind="backup", path=path, size_bytes=1, modified=record.created, record=record)


SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""RFC 1123, as the API server requires it of names."""
names = st.text(alphabet="abz09-._AÄ/", max_size=70) | st.sampled_from(
    ["same", "a" * 63, "safety", "-x", "x-", "a..b", "a.-b"]
)
files = st.lists(
    st.tuples(names, names, st.sampled_from(["daily/x.json.zst", "x.json", "Ä Ö/ü.json.age", "a/b/c", "manual/y"])),
    max_size=12,
).map(lambda rows: [listed(f"{path}.{n}", name, group, n) for n, (name, group, path) in enumerate(rows)])
THING = Import.parse(
    {"metadata": {"namespace": "prod", "name": "i", "uid": "u"}, "spec": {"gatewayRef": {"name": "gw"}}}
)


@given(files, st.integers(0, 12))
@settings(deadline=None, max_examples=300)
def test_names_are_valid_unique_and_stable_after_a_crash(entries: list[BackupEntry], created: int) -> None:
    plan = backup_import.plan(THING, entries, [], "v")
    names_created = [one.name for one in plan.create]
    assert len(names_created) == len(set(names_created)) == len(entries)
    for one in plan.create:
        assert SUBDOMAIN.fullmatch(one.name)
        assert len(one.name) <= 63
        assert backup_import._GROUP.fullmatch(one.group)
    bodies = [backup_import.backup_body(THING, one) for one in plan.create[:created]]
    existing = [Backup.parse({**body, "metadata": {**body["metadata"], "namespace": "prod"}}) for body in bodies]
    second = backup_import.plan(THING, reversed(entries), existing, "v")
    assert second.create == plan.create[created:]
    assert second.waiting == len(bodies)


def test_copy_of_a_backup_gets_no_object() -> None:
    first = listed("daily/x.json.zst", "x", "daily", 1)
    plan = backup_import.plan(THING, [first, first.model_copy(update={"path": "copy/x.json.zst"})], [], "v")
    assert [one.path for one in plan.create] == ["copy/x.json.zst"]
    assert (plan.files, plan.already_owned) == (2, 1)


@pytest.mark.parametrize(
    ("phase", "uid", "expected"),
    [
        ("Completed", "u", (1, 0, 0)),
        ("Completed", "other", (0, 1, 0)),
        ("Running", "other", (0, 1, 0)),
        ("Failed", "u", (0, 0, 1)),
        ("Failed", "other", (0, 0, 1)),
    ],
)
def test_owner_decides_the_outcome_of_a_file(phase: str, uid: str, expected: tuple[int, int, int]) -> None:
    file = listed("daily/x.json.zst", "x", "daily", 1)
    owner = {
        "metadata": {"namespace": "prod", "name": "x", "annotations": {IMPORT_UID: uid}},
        "spec": {"gatewayRef": {"name": "gw"}, "existing": {"path": file.path}},
        "status": {"phase": phase, "path": file.path, "volumeID": "v"},
    }
    plan = backup_import.plan(THING, [file], [Backup.parse(owner)], "v")
    assert (plan.adopted, plan.already_owned, len(plan.failed)) == expected
    assert plan.create == ()
