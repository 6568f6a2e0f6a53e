"""Backups that queue for one gateway share a look at it; whatever is not well makes the next one look for itself."""

from __future__ import annotations

import asyncio
import logging

from gateway_operator.domain.calls import Gone, Health, StoredBackup
from gateway_operator.domain.objects import GatewayRef, Ref
from gateway_operator.ports import AdminApiError, AdminTarget
from gateway_operator.reconcile.backup import reconcile_backup
from gateway_operator.reconcile.gateways import SHARED, Turns
from tests.unit.operator.worlds import World

GATEWAY = GatewayRef("Deployment", "gw")
log = logging.getLogger("tests")


def backups(world: World, count: int) -> list[Ref]:
    spec = {"gatewayRef": {"name": "gw"}}
    return [world.cluster.add("GatewayBackup", f"b-{number}", spec) for number in range(count)]


def together(world: World, refs: list[Ref]) -> None:
    health = world.admin.health

    async def over_the_network(target: AdminTarget) -> Health:
        await asyncio.sleep(0)
        return await health(target)

    async def run() -> None:
        turns = Turns()
        await asyncio.gather(*(reconcile_backup(world.ports, turns, ref, log, GATEWAY) for ref in refs))

    world.admin.health = over_the_network  # type: ignore[method-assign]
    asyncio.run(run())


def looks(world: World) -> int:
    return world.faults.names.count("workload")


def phases(world: World, refs: list[Ref]) -> set[str]:
    return {str(world.cluster.status(ref)["phase"]) for ref in refs}


def test_those_that_queue_share_a_look() -> None:
    world = World()
    refs = backups(world, 5)
    together(world, refs)
    assert phases(world, refs) == {"Completed"}
    assert looks(world) == 1
    assert world.faults.names.count("health") == 5  # which volume it is, everyone asks
    assert world.faults.names.count("secret") == 1


def test_one_that_comes_alone_looks_for_itself() -> None:
    world, turns = World(), Turns()

    async def one_by_one() -> None:
        for ref in backups(world, 3):
            await reconcile_backup(world.ports, turns, ref, log, GATEWAY)

    asyncio.run(one_by_one())
    assert looks(world) == 3


def test_a_look_is_shared_for_a_moment_only() -> None:
    world = World()
    read = world.admin.read_backup

    async def slow(target: AdminTarget, backup_id: str) -> StoredBackup | Gone:
        world.clock.advance(SHARED / 2)
        return await read(target, backup_id)

    world.admin.read_backup = slow  # type: ignore[method-assign]
    refs = backups(world, 6)
    together(world, refs)
    assert phases(world, refs) == {"Completed"}
    assert looks(world) == 3


def test_a_clock_that_is_put_back_does_not_prolong_it() -> None:
    world = World()
    read = world.admin.read_backup

    async def back(target: AdminTarget, backup_id: str) -> StoredBackup | Gone:
        world.clock.advance(-3600)
        return await read(target, backup_id)

    world.admin.read_backup = back  # type: ignore[method-assign]
    together(world, backups(world, 3))
    assert looks(world) == 3


def test_after_a_call_that_failed_the_next_one_looks_for_itself() -> None:
    world = World()
    world.admin.failing = [AdminApiError("Unreachable", "gone", retryable=True) for _ in range(2)]
    refs = backups(world, 4)
    together(world, refs)
    assert looks(world) == 3
    assert phases(world, refs) == {"Completed", "Running"}


def test_a_gateway_that_was_not_found_is_looked_for_by_everyone() -> None:
    world = World()
    world.cluster.present = False
    together(world, backups(world, 3))
    assert looks(world) == 3
