"""Injects each crash and each lost answer, one or two at a time, into a backup and a restore.

After any of them there is exactly one backup file, or one restore with one terminal phase that matches the config.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway_api.contract import RestoreState
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import ADMIN_KEY_SECRET
from gateway_operator.reconcile.backup.run import reconcile_backup
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore_object import reconcile_restore
from tests.unit.gateway_operator.simulation.fake_cluster import GATEWAY, WRONG_KEY
from tests.unit.gateway_operator.simulation.faults import READS, CrashError, Faults, World, log

pytestmark = pytest.mark.slow

TERMINAL = {"Completed", "Failed", "RolledBack", "RollbackFailed"}


def with_backup(faults: Faults | None = None, *, level: str = "Verified") -> tuple[World, Ref]:
    """A world with a new GatewayBackup. ``level`` is the level in the admin API's answer."""
    world = World(faults)
    world.admin.level = level
    return world, world.cluster.add("GatewayBackup", "b", {})


def with_restore(
    faults: Faults | None = None,
    *,
    unhealthy: bool = False,
    reload: str = "Watch",
    live: str | None = "old",
    other_key: bool = False,
    **spec: Any,
) -> tuple[World, Ref]:
    """A world with a backup of the config "good", another live config, and a new GatewayRestore.

    ``unhealthy``: the gateway does not become Ready with the restored config. ``other_key``: the operator's key is
    accepted only until the commit.
    """
    world = World(faults)
    world.admin.live = "good"
    backup = world.cluster.add("GatewayBackup", "good", {})
    plain, world.ports = world.ports, world.plain
    world.run(backup)
    world.ports = plain
    world.admin.live, world.admin.files_made = live, 0
    world.cluster.reload = reload
    world.admin.other_key_in = "good" if other_key else None
    if unhealthy:
        world.admin.unhealthy_on = "good"
    quick = {"timeoutSeconds": 6, "consecutive": 2}
    return world, world.cluster.add("GatewayRestore", "r", {"backupName": "good", "healthCheck": quick, **spec})


def check_backup(world: World, ref: Ref) -> None:
    """There is one file, the status describes it, and another run writes nothing."""
    status = world.cluster.status(ref)
    assert status["phase"] == "Completed", status
    assert world.admin.files_made == 1
    assert len(world.admin.backups) == 1
    assert status["sha256"] == next(iter(world.admin.backups.values()))[0].stored_sha256
    writes = world.cluster.writes
    world.run(ref)
    assert world.cluster.writes == writes


def check_restore(world: World, ref: Ref, previous: str | None = "old") -> str:
    """The restore is committed, rolled back or not applied, and the returned phase says which."""
    status, record = world.cluster.status(ref), world.admin.restore_record
    phase = status["phase"]
    assert phase in TERMINAL
    assert len(world.admin.request_ids) <= 1
    assert world.admin.replaced_times <= 1
    committed = record is not None and record.state is RestoreState.committed
    rolled_back = record is not None and record.state is RestoreState.rolled_back
    match phase:
        case "Completed":
            assert committed
            assert world.admin.live == "good"
        case "RolledBack":
            assert rolled_back
            assert world.admin.live == previous
        case "Failed":
            assert record is None
            assert world.admin.live == previous
        case _:
            raise AssertionError(f"{phase}, although nothing else wrote the config: {status}")
    finished = {one["type"]: one["status"] for one in status["conditions"]}
    assert finished["Finished"] == "True"
    assert finished["Completed"] != finished["Failed"]
    assert len(set(world.cluster.restarts)) == len(world.cluster.restarts) <= 2
    assert all("completionTime" in one for one in status["steps"])
    writes = world.cluster.writes
    world.run(ref)
    assert world.cluster.writes == writes
    safety = [one for (kind, _), one in world.cluster.objects.items() if kind == "GatewayBackup"]
    assert len(safety) <= 2
    return str(phase)


def pairs_of_faults(quiet: Faults) -> Iterator[tuple[str, Faults]]:
    """For each pair of calls: two crashes, or a crash and a lost answer."""
    for one, two in itertools.combinations(range(1, quiet.calls + 4), 2):
        yield f"after {one}, {two}", Faults(crash_after={one, two})
        yield f"before {one}, after {two}", Faults(crash_before={one}, crash_after={two})
        yield f"lost {one}, after {two}", Faults(lost={one}, crash_after={two})


def undisturbed(make: Callable[..., tuple[World, Ref]], **how: Any) -> Faults:
    """The calls that a run without faults makes."""
    world, ref = make(Faults(), **how)
    world.run(ref)
    return world.faults


@pytest.mark.parametrize("level", ["Verified", "Stored"])
@pytest.mark.parametrize("plans", [Faults.single_faults, pairs_of_faults])
def test_backup_completes_once_after_any_crash_or_lost_answer(
    plans: Callable[[Faults], Iterator[tuple[str, Faults]]], level: str
) -> None:
    """With ``Stored``, the answer does not have the required level, and the file is verified afterwards."""
    for name, faults in plans(undisturbed(with_backup, level=level)):
        world, ref = with_backup(faults, level=level)
        world.run(ref)
        try:
            check_backup(world, ref)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}; {faults.names}") from error


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "healthy": ({}, "Completed"),
    "healthy, restarted": ({"reload": "Restart"}, "Completed"),
    "unhealthy": ({"unhealthy": True}, "RolledBack"),
    "unhealthy, restarted": ({"unhealthy": True, "reload": "Restart"}, "RolledBack"),
    "broken before": ({"live": "broken"}, "Completed"),
    "missing before": ({"live": None}, "Completed"),
    "no safety backup": ({"safetyBackup": "Skip"}, "Completed"),
    "other key": ({"other_key": True}, "Completed"),
    "other key, unhealthy": ({"other_key": True, "unhealthy": True}, "RolledBack"),
}


@pytest.mark.parametrize("case", CASES)
def test_restore_has_one_outcome_after_any_crash_or_lost_answer(case: str) -> None:
    how, expected = CASES[case]
    previous = how.get("live", "old")
    for name, faults in itertools.chain([("nothing", Faults())], undisturbed(with_restore, **how).single_faults()):
        world, ref = with_restore(faults, **how)
        world.run(ref)
        try:
            assert check_restore(world, ref, previous) == expected
            needs_key = expected == "Completed" and "other_key" in how
            assert (ADMIN_KEY_SECRET in world.cluster.status(ref)["message"]) is needs_key
        except (AssertionError, KeyError) as error:
            raise AssertionError(f"{name}: {error!r}; {faults.names}; {world.cluster.status(ref)}") from error


@pytest.mark.parametrize("case", ["healthy", "unhealthy, restarted"])
def test_restore_has_one_outcome_after_two_faults(case: str) -> None:
    """Faults are injected only at calls that change something: an unhealthy gateway causes many reads."""
    how, expected = CASES[case]
    names = undisturbed(with_restore, **how).names
    telling = [n for n, name in enumerate(names, 1) if name not in READS]
    for one, two in itertools.combinations(telling, 2):
        for faults in (
            Faults(crash_after={one, two}),
            Faults(lost={one}, crash_before={two}),
            Faults(crash_before={one}, lost={two}),
        ):
            world, ref = with_restore(faults, **how)
            world.run(ref)
            assert check_restore(world, ref) == expected, (one, two, faults.names)


def test_restore_of_the_same_name_and_spec_is_applied_once() -> None:
    world, ref = with_restore()
    world.run(ref)
    del world.cluster.objects[("GatewayRestore", "r")]
    world.admin.live = "changed since"
    quick = {"timeoutSeconds": 6, "consecutive": 2}
    repeated = world.cluster.add("GatewayRestore", "r", {"backupName": "good", "healthCheck": quick})
    world.run(repeated)
    assert world.cluster.status(repeated)["reason"] == "AlreadyApplied"
    assert world.admin.live == "changed since"


def with_wrong_key_after(number: int, *, right_key_returns: bool) -> tuple[World, Ref]:
    """A restore whose key ends with the commit. During a call a person puts a wrong key into the Secret."""
    world, ref = with_restore(other_key=True)
    right = world.cluster.secrets["gw-admin"]

    def change_secret() -> None:
        wrong = {**right.fields, "admin-key": WRONG_KEY}
        world.cluster.secrets["gw-admin"] = replace(right, fields=wrong, resource_version="2")

    def correct_secret() -> None:
        if right_key_returns and world.cluster.status(ref).get("lastErrors"):
            world.cluster.secrets["gw-admin"] = replace(right, resource_version="3")

    world.faults.meanwhile = {number: change_secret}
    world.after_each_run.append(correct_secret)
    return world, ref


@pytest.mark.parametrize("right_key_returns", [True, False])
def test_wrong_key_in_a_changed_secret_is_no_proof_of_a_commit(right_key_returns: bool) -> None:
    names = undisturbed(with_restore, other_key=True).names
    phases = set()
    for number in range(names.index("commit") - 8, names.index("commit") + 1):
        world, ref = with_wrong_key_after(number, right_key_returns=right_key_returns)
        world.run(ref)
        status, record = world.cluster.status(ref), world.admin.restore_record
        assert record is not None
        committed = record.state is RestoreState.committed
        phases.add((status["phase"], committed))
        if status["phase"] == "Failed":
            assert ADMIN_KEY_SECRET in status["message"], (number, status)
    open_restores = set() if right_key_returns else {("Failed", False), ("RollbackFailed", False)}
    assert phases - {("Completed", True), ("RolledBack", False)} <= open_restores
    assert ("Failed", False) in phases or right_key_returns


def run_once(world: World, ref: Ref) -> None:
    """One reconcile, until it returns or the process ends."""

    async def once() -> None:
        try:
            if ref.kind == "GatewayBackup":
                await reconcile_backup(world.ports, GatewayLocks(), ref, log, GATEWAY)
            else:
                await reconcile_restore(world.ports, GatewayLocks(), ref, log)
        except CrashError:
            return

    asyncio.run(once())


def test_restore_recreated_in_progress_is_completed() -> None:
    for number in range(1, undisturbed(with_restore).calls):
        world, ref = with_restore(Faults(crash_after={number}))
        run_once(world, ref)
        old = world.cluster.objects.pop(("GatewayRestore", "r"))
        fresh = world.cluster.add("GatewayRestore", "r", old["spec"])
        world.run(fresh)
        record = world.admin.restore_record
        assert record is not None
        assert record.state is RestoreState.committed, (number, world.cluster.status(fresh))
        assert world.cluster.status(fresh)["phase"] == "Completed"
        assert world.admin.replaced_times == 1


def test_backup_deleted_in_progress_leaves_no_file() -> None:
    for number in range(1, undisturbed(with_backup).calls + 1):
        world, ref = with_backup(Faults(crash_after={number}))
        body = world.cluster.objects[("GatewayBackup", "b")]
        body["spec"]["deleteFile"] = True
        run_once(world, ref)
        body["metadata"]["deletionTimestamp"] = "2026-01-01T12:10:00Z"
        world.run(ref, forget=True)
        assert world.admin.backups == {}, number
