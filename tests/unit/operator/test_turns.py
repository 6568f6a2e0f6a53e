"""Backups that queue for one gateway share a look at it; whatever is not well makes the next one look for itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from gateway_api.contract import BackupRecord, SystemHealthData
from gateway_operator.domain.calls import NotFound
from gateway_operator.domain.objects import GatewayRef, Ref
from gateway_operator.ports import AdminApiError, AdminTarget, ForbiddenError
from gateway_operator.reconcile import gateways
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

    async def over_the_network(target: AdminTarget) -> SystemHealthData:
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


def one_after_the_other(world: World, count: int, between: Callable[[int], object] = lambda _: None) -> list[Ref]:
    turns, refs = Turns(), backups(world, count)

    async def run() -> None:
        for number, ref in enumerate(refs):
            await reconcile_backup(world.ports, turns, ref, log, GATEWAY)
            world.clock.advance(60)
            between(number)

    asyncio.run(run())
    return refs


def test_a_gateway_that_is_as_it_was_is_found_again_by_name() -> None:
    world = World()
    refs = one_after_the_other(world, 3)
    assert phases(world, refs) == {"Completed"}
    assert world.faults.names.count("pods") == 1  # the lists
    assert world.faults.names.count("pod") == 2
    assert (looks(world), world.faults.names.count("secret")) == (3, 3)  # each read anew


def test_another_pod_is_looked_for() -> None:
    world = World()

    def replace(number: int) -> None:
        world.cluster.pod_name = f"gw-{number + 2}"

    refs = one_after_the_other(world, 3, replace)
    assert [world.cluster.status(ref)["pod"] for ref in refs] == ["gw-1", "gw-2", "gw-3"]
    assert world.faults.names.count("pods") == 3


def test_a_gateway_that_is_gone_is_not_found_by_its_old_names() -> None:
    world = World()
    refs = one_after_the_other(world, 2, lambda _: setattr(world.cluster, "present", False))
    assert [world.cluster.status(ref)["reason"] for ref in refs] == ["BackedUp", "GatewayNotFound"]


def test_a_read_that_is_not_allowed_or_fails_makes_the_whole_look() -> None:
    world = World()

    async def forbidden(*_: object) -> None:
        raise ForbiddenError("replicasets is forbidden")

    world.cluster.pod = forbidden  # type: ignore[method-assign, assignment]
    refs = one_after_the_other(world, 2)
    assert phases(world, refs) == {"Completed"}
    assert world.faults.names.count("pods") == 2


def test_a_secret_that_is_gone_has_the_whole_looks_words() -> None:
    world = World()
    refs = one_after_the_other(world, 2, lambda _: world.cluster.secrets.clear())
    assert [world.cluster.status(ref)["reason"] for ref in refs] == ["BackedUp", "AdminKeyMissing"]


def test_after_a_backup_that_failed_the_gateway_is_looked_for_as_if_for_the_first_time() -> None:
    world = World()
    one_after_the_other(world, 1)
    world.admin.failing = [AdminApiError("Unreachable", "gone", retryable=True) for _ in range(2)]
    before = world.faults.names.count("pods")
    turns, (first, second) = Turns(), backups(world, 3)[1:]

    async def run() -> None:
        await reconcile_backup(world.ports, turns, first, log, GATEWAY)
        await reconcile_backup(world.ports, turns, second, log, GATEWAY)

    asyncio.run(run())
    assert world.faults.names.count("pods") == before + 2


def test_a_look_at_what_is_finished_forgets_nothing() -> None:
    world, turns = World(), Turns()
    first, second = backups(world, 2)

    async def run() -> None:
        for ref in (first, first, second):
            await reconcile_backup(world.ports, turns, ref, log, GATEWAY)

    asyncio.run(run())
    assert world.faults.names.count("pods") == 1


def test_no_more_gateways_are_remembered_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "SIGHTINGS", 2)
    world, turns = World(), Turns()

    async def run() -> None:
        for name in ("a", "b", "c", "a", "c"):
            ref = world.cluster.add("GatewayBackup", f"of-{name}-{world.faults.calls}", {"gatewayRef": {"name": name}})
            await reconcile_backup(world.ports, turns, ref, log, GatewayRef("Deployment", name))

    asyncio.run(run())
    assert world.faults.names.count("pods") == 4  # c alone was still known


def test_a_look_is_shared_for_a_moment_only() -> None:
    world = World()
    read = world.admin.read_backup

    async def slow(target: AdminTarget, backup_id: str) -> BackupRecord | NotFound:
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

    async def back(target: AdminTarget, backup_id: str) -> BackupRecord | NotFound:
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
