"""Tests of adoption: no new backup is requested, and a file gets one GatewayBackup even after a crash."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway_api.contract import Problem
from gateway_operator.domain.backup.file_ownership import FileOwner, find_owner
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup.run import reconcile_backup
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from tests.unit.gateway_operator.simulation.fake_admin_api import inspection_of
from tests.unit.gateway_operator.simulation.fake_cluster import GATEWAY
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults, World, log
from tests.unit.gateway_operator.simulation.test_crash_points import undisturbed

PATH = "manual/x.json.zst"


def with_file(faults: Faults | None = None, *, foreign: bool = False, **spec: Any) -> tuple[World, Ref]:
    """Simulated ports whose volume holds a file without an owner, and a GatewayBackup that adopts it."""
    world = World(faults)
    maker = world.cluster.add("GatewayBackup", "lost", {"group": "daily"})
    plain, world.ports = world.ports, world.plain
    world.run(maker)
    world.ports = plain
    path = str(world.cluster.status(maker)["path"])
    del world.cluster.objects[("GatewayBackup", "lost")]
    world.cluster.events.clear()
    world.clock.advance(3600)
    if foreign:
        ((stored, _),) = world.admin.backups.values()
        world.admin.backups.clear()
        world.admin.foreign[path] = inspection_of(stored)
    return world, world.cluster.add("GatewayBackup", "b", {"group": "daily", "existing": {"path": path}, **spec})


def adopted(world: World, ref: Ref, *, foreign: bool = False) -> None:
    """Assert that the adoption is complete and no new backup was requested."""
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"], status["origin"]) == ("Completed", "Adopted", "Adopted"), status
    assert world.admin.files_made == 1
    assert status["counts"]["users"] == 1
    assert status["snapshotTime"].startswith("2026-01-01T12:00:0")
    assert status["verification"]["level"] == "Verified"
    assert ("backupID" in status) is not foreign


@pytest.mark.parametrize("foreign", [False, True])
def test_file_is_adopted_after_any_single_crash(foreign: bool) -> None:
    plans = undisturbed(with_file, foreign=foreign).single_faults()
    for name, faults in itertools.chain([("nothing", Faults())], plans):
        world, ref = with_file(faults, foreign=foreign)
        world.run(ref)
        with faults.named(name):
            adopted(world, ref, foreign=foreign)


def test_missing_file_fails_with_file_not_found() -> None:
    world, ref = with_file()
    world.admin.backups.clear()
    world.run(ref)
    assert world.cluster.status(ref)["reason"] == "FileNotFound"


def test_corrupt_file_is_not_adopted() -> None:
    world, ref = with_file()
    world.admin.problems = [Problem(code="BackupCorrupt", message="torn")]
    world.run(ref)
    assert world.cluster.status(ref)["reason"] == "BackupCorrupt"


def test_file_belongs_to_the_backup_that_wrote_it() -> None:
    world = World()
    maker = world.cluster.add("GatewayBackup", "maker", {})
    world.run(maker)
    path = str(world.cluster.status(maker)["path"])
    other = world.cluster.add("GatewayBackup", "other", {"existing": {"path": path}})
    world.run(other)
    status = world.cluster.status(other)
    assert (status["phase"], status["reason"]) == ("Failed", "AlreadyOwned")
    assert "GatewayBackup maker" in status["message"]


def both(order: str, crash: int | None) -> list[str]:
    """The owners after two operators, run by mistake, adopt one file for two objects in this order of steps."""
    world, first = with_file()
    second = world.cluster.add("GatewayBackup", "c", world.cluster.objects[("GatewayBackup", "b")]["spec"])

    async def go() -> None:
        refs = {"b": first, "c": second}
        faults = {one: Faults() for one in refs}
        if crash is not None:
            faults["b"].after.add(crash)
        turns: dict[str, asyncio.Event] = {one: asyncio.Event() for one in refs}
        steps = itertools.chain(order, itertools.cycle("bc"))

        async def operate(one: str) -> None:
            cluster, admin = Paced(world.cluster, turns[one]), Paced(world.admin, turns[one])
            ports = Ports(faults[one].wrap(cluster, False), faults[one].wrap(admin, True), world.clock)
            for _ in range(50):
                try:
                    wait = await reconcile_backup(ports, GatewayLocks(), refs[one], log, GATEWAY)
                except CrashError:
                    continue
                if wait is None:
                    return
            raise AssertionError(f"{one} does not end")

        running = {one: asyncio.create_task(operate(one)) for one in refs}
        while not all(task.done() for task in running.values()):
            turns[next(steps)].set()
            for _ in range(5):
                await asyncio.sleep(0)
        await asyncio.gather(*running.values())

    asyncio.run(go())
    return [ref.name for ref in (first, second) if world.cluster.status(ref)["phase"] == "Completed"]


class Paced:
    """A port whose calls run in a fixed order of steps."""

    def __init__(self, port: Any, turn: asyncio.Event) -> None:
        self._port, self._turn = port, turn

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name == "backup_id":
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            await self._turn.wait()
            self._turn.clear()
            return await method(*arguments, **options)

        return call


def test_exactly_one_of_two_adopts_the_file_in_every_order() -> None:
    for lead in range(0, 24, 2):
        for back in range(0, 24, 3):
            for order in ("b" * lead + "c" * back, "c" * lead + "b" * back, "bc" * lead + "c" * back):
                assert both(order, None) in (["b"], ["c"]), order


@pytest.mark.parametrize("crash", range(1, 16, 2))
def test_exactly_one_of_two_adopts_the_file_after_a_crash(crash: int) -> None:
    for order in ("bc" * 12, "c" * 9 + "b" * 30, "b" * 9 + "c" * 30):
        assert both(order, crash) in (["b"], ["c"]), order


def claim(name: str, created: int, phase: str, *, existing: bool = True, volume: str = "v") -> BackupSummary:
    """The row of another object with the same path."""
    body = {
        "metadata": {
            "namespace": "prod",
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": f"2026-01-01T00:00:{created:02d}Z",
        },
        "spec": {"gatewayRef": {"name": "gw"}, **({"existing": {"path": PATH}} if existing else {})},
        "status": {"phase": phase, "path": PATH, **({"volumeID": volume} if phase else {})},
    }
    return BackupSummary.from_backup(Backup.parse(body))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (claim("older", 1, ""), FileOwner("older")),
        (claim("older", 1, "Completed"), FileOwner("older")),
        (claim("older", 1, "Failed"), None),
        (claim("older", 1, "Running", volume="w"), None),
        (claim("younger", 9, ""), None),
        (claim("younger", 9, "Running"), FileOwner("younger", undecided=True)),
        (claim("younger", 9, "Completed"), FileOwner("younger")),
        (claim("maker", 9, "Running", existing=False), FileOwner("maker")),
        (claim("maker", 9, "Failed", existing=False), None),
    ],
)
def test_owner_of_a_file(other: BackupSummary, expected: FileOwner | None) -> None:
    mine = {
        "metadata": {"namespace": "prod", "name": "b", "uid": "b", "creationTimestamp": "2026-01-01T00:00:05Z"},
        "spec": {"gatewayRef": {"name": "gw"}, "existing": {"path": PATH}},
    }
    assert find_owner(Backup.parse(mine), [other], "v") == expected
