"""Tests that queued backups share the resolution of a gateway, and that a failure invalidates it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway_api.contract import BackupRecord, SystemHealthData
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.domain.gateway.workload import Endpoint, Workload
from gateway_operator.domain.model.actions import CallBackup, KubernetesEvent
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import AdminApiError, AdminTarget, ForbiddenError
from gateway_operator.reconcile.backup.run import reconcile_backup
from gateway_operator.reconcile.gateway_lock import RESOLUTION_TTL, GatewayLocks, Priority, PriorityLock
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, resolve_gateway
from tests.unit.gateway_operator.simulation.fake_cluster import GATEWAY, NAMESPACE
from tests.unit.gateway_operator.simulation.faults import World

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
        locks = GatewayLocks()
        await asyncio.gather(*(reconcile_backup(world.ports, locks, ref, log, GATEWAY) for ref in refs))

    world.admin.health = over_the_network  # type: ignore[method-assign]
    asyncio.run(run())


def one_after_the_other(world: World, count: int, between: Callable[[int], object] = lambda _: None) -> list[Ref]:
    locks, refs = GatewayLocks(), backups(world, count)

    async def run() -> None:
        for number, ref in enumerate(refs):
            await reconcile_backup(world.ports, locks, ref, log, GATEWAY)
            world.clock.advance(60)
            between(number)

    asyncio.run(run())
    return refs


def calls(world: World, name: str) -> int:
    return world.faults.names.count(name)


def phases(world: World, refs: list[Ref]) -> set[str]:
    return {str(world.cluster.status(ref)["phase"]) for ref in refs}


def test_queued_backups_share_one_resolution() -> None:
    world = World()
    refs = backups(world, 5)
    together(world, refs)
    assert phases(world, refs) == {"Completed"}
    assert [calls(world, name) for name in ("workload", "pods", "pod", "secret")] == [1, 1, 1, 1]
    assert calls(world, "health") == 5  # each asks which volume it is


def test_a_single_backup_always_resolves_its_gateway() -> None:
    world = World()
    one_after_the_other(world, 3)
    assert [calls(world, name) for name in ("workload", "pods", "pod", "secret")] == [3, 3, 3, 3]


def test_a_fresh_backup_needs_two_status_writes_and_no_second_read() -> None:
    world = World()
    (ref,) = one_after_the_other(world, 1)
    assert (world.cluster.writes, calls(world, "read"), calls(world, "read_backup")) == (2, 1, 0)
    assert world.cluster.status(ref)["phase"] == "Completed"


def test_a_replaced_pod_is_resolved_again() -> None:
    world = World()

    def replace(number: int) -> None:
        world.cluster.pod_name = f"gw-{number + 2}"

    refs = one_after_the_other(world, 3, replace)
    assert [world.cluster.status(ref)["pod"] for ref in refs] == ["gw-1", "gw-2", "gw-3"]


def test_a_deleted_gateway_is_not_found() -> None:
    world = World()
    refs = one_after_the_other(world, 2, lambda _: setattr(world.cluster, "present", False))
    assert [world.cluster.status(ref)["reason"] for ref in refs] == ["BackedUp", "GatewayNotFound"]


def test_a_missing_secret_is_reported() -> None:
    world = World()
    refs = one_after_the_other(world, 2, lambda _: world.cluster.secrets.clear())
    assert [world.cluster.status(ref)["reason"] for ref in refs] == ["BackedUp", "AdminKeyMissing"]


def test_a_run_that_uses_no_gateway_invalidates_nothing() -> None:
    world, locks = World(), GatewayLocks()
    first, second = backups(world, 2)

    async def run() -> None:
        kept = locks.get(NAMESPACE, GATEWAY)  # noqa: F841 - the lock and its result exist while somebody holds it
        for ref in (first, first, second):
            await reconcile_backup(world.ports, locks, ref, log, GATEWAY)

    asyncio.run(run())
    assert calls(world, "workload") == 1


def test_a_resolution_is_shared_for_its_ttl() -> None:
    world = World()
    make = world.admin.backup

    async def slow(target: AdminTarget, call: CallBackup) -> BackupRecord:
        world.clock.advance(RESOLUTION_TTL / 2)
        return await make(target, call)

    world.admin.backup = slow  # type: ignore[method-assign]
    refs = backups(world, 6)
    together(world, refs)
    assert phases(world, refs) == {"Completed"}
    assert calls(world, "workload") == 3


def test_a_clock_that_is_set_back_does_not_prolong_a_resolution() -> None:
    world = World()
    make = world.admin.backup

    async def back(target: AdminTarget, call: CallBackup) -> BackupRecord:
        world.clock.advance(-3600)
        return await make(target, call)

    world.admin.backup = back  # type: ignore[method-assign]
    together(world, backups(world, 3))
    assert calls(world, "workload") == 3


def test_after_a_failed_call_the_next_backup_resolves_again() -> None:
    world = World()
    world.admin.failing = [AdminApiError("Unreachable", "gone", retryable=True) for _ in range(2)]
    refs = backups(world, 4)
    together(world, refs)
    assert calls(world, "workload") == 3
    assert phases(world, refs) == {"Completed", "Running"}


def test_an_unresolved_gateway_is_not_shared() -> None:
    world = World()
    world.cluster.present = False
    together(world, backups(world, 3))
    assert calls(world, "workload") == 3


def test_the_event_is_posted_after_the_status_and_outside_the_lock() -> None:
    world, locks = World(), GatewayLocks()
    (ref,) = backups(world, 1)
    locked: list[bool] = []
    post = world.cluster.event

    async def event(about: Ref, posted: KubernetesEvent, at: object) -> None:
        assert world.cluster.status(ref)["phase"] == "Completed"
        locked.append(locks.get(NAMESPACE, GATEWAY).locked())
        await post(about, posted, at)  # type: ignore[arg-type]

    world.cluster.event = event  # type: ignore[method-assign, assignment]
    asyncio.run(reconcile_backup(world.ports, locks, ref, log, GATEWAY))
    assert locked == [False]


def resolved(world: World, *, cached: bool = True, ref: GatewayRef = GATEWAY) -> ResolvedGateway:
    """Resolve the gateway as a backup does; without ``cached`` as a restore does."""

    async def run() -> ResolvedGateway:
        if not cached:
            return await resolve_gateway(world.ports, NAMESPACE, ref)
        lock = GatewayLocks().get(NAMESPACE, ref)
        return await lock.resolve(world.ports, await lock.begin(world.ports))

    return asyncio.run(run())


def test_a_pod_of_an_old_list_is_not_called() -> None:
    """The API server's cache still lists a replaced pod, whose address may belong to another pod."""
    world = World()
    world.cluster.stale_pod, world.cluster.pod_name = "gw-old", "gw-new"
    result = resolved(world)
    assert isinstance(result.gateway, Endpoint)
    assert result.gateway.pod == "gw-new"
    assert [calls(world, name) for name in ("pods", "pod")] == [2, 1]


@pytest.mark.parametrize("cached", [True, False])
def test_no_pod_is_final_only_when_the_list_is_fresh(cached: bool) -> None:
    world = World()
    cached_calls: list[bool] = []

    async def pods(workload: Workload, *, cached: bool = False) -> tuple[list[Json], list[Json]]:
        cached_calls.append(cached)
        return [], []

    world.cluster.pods = pods  # type: ignore[method-assign]
    result = resolved(world, cached=cached)
    assert isinstance(result.gateway, GatewayProblem)
    assert result.gateway.reason == "NoReadyPod"
    assert cached_calls == ([True, False] if cached else [False])


def test_a_stateful_sets_pod_is_read_once() -> None:
    world = World()
    cached_calls: list[bool] = []

    async def pods(workload: Workload, *, cached: bool = False) -> tuple[list[Json], list[Json]]:
        cached_calls.append(cached)
        return [], []

    world.cluster.pods = pods  # type: ignore[method-assign]
    resolved(world, ref=GatewayRef("StatefulSet", "gw"))
    assert cached_calls == [False]
    assert calls(world, "pod") == 0


class RecordedCluster(KubernetesCluster):
    """The adapter without a connection: it records requests and answers with empty lists."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None]] = []

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        self.requests.append((path.rpartition("/")[2], (query or {}).get("resourceVersion")))
        return {"items": []}


@pytest.mark.parametrize(
    ("kind", "cached", "requests"),
    [
        ("Deployment", True, [("replicasets", "0"), ("pods", "0")]),
        ("Deployment", False, [("replicasets", None), ("pods", None)]),
        ("StatefulSet", True, [("gw-0", None)]),
        ("StatefulSet", False, [("gw-0", None)]),
    ],
)
def test_only_cached_lists_may_be_out_of_date(kind: str, cached: bool, requests: list[tuple[str, str | None]]) -> None:
    cluster = RecordedCluster()
    body = {"spec": {"selector": {"matchLabels": {"app": "gw"}}}}
    asyncio.run(cluster.pods(Workload(GatewayRef(kind, "gw"), NAMESPACE, "w", body), cached=cached))
    assert cluster.requests == requests


def test_the_address_of_the_confirming_read_is_used() -> None:
    world = World()
    read = world.cluster.pod

    async def moved(namespace: str, name: str) -> Json | None:
        body = await read(namespace, name)
        assert body is not None
        return {**body, "status": {**body["status"], "podIP": "10.0.0.2"}}

    world.cluster.pod = moved  # type: ignore[method-assign]
    result = resolved(world)
    assert isinstance(result.gateway, Endpoint)
    assert result.gateway.host == "10.0.0.2"


def test_a_read_that_is_forbidden_names_the_role() -> None:
    world = World()

    async def forbidden(namespace: str, name: str) -> Json | None:
        raise ForbiddenError("pods is forbidden")

    world.cluster.pod = forbidden  # type: ignore[method-assign]
    result = resolved(world)
    assert isinstance(result.gateway, GatewayProblem)
    assert result.gateway.reason == "NotAuthorized"


async def test_restores_go_first_then_schedules_then_others() -> None:
    lock, order = PriorityLock(), []

    async def operation(name: str, priority: Priority) -> None:
        async with lock.hold(priority):
            order.append(name)
            await asyncio.sleep(0)

    names = [("other 1", 2), ("other 2", 2), ("schedule 1", 1), ("restore", 0), ("schedule 2", 1), ("other 3", 2)]
    async with lock.hold(Priority.OTHER):
        tasks = [asyncio.create_task(operation(name, Priority(number))) for name, number in names]
        await asyncio.sleep(0)
        assert order == []
    await asyncio.gather(*tasks)
    assert order == ["restore", "schedule 1", "schedule 2", "other 1", "other 2", "other 3"]


@pytest.mark.parametrize("cancelled", range(4))
async def test_cancelled_waiter_does_not_keep_the_lock(cancelled: int) -> None:
    lock = PriorityLock()
    inside: set[int] = set()
    finished: set[int] = set()

    async def operation(number: int) -> None:
        async with lock.hold(Priority.OTHER):
            assert not inside
            inside.add(number)
            try:
                await asyncio.sleep(0)
            finally:
                inside.discard(number)
            finished.add(number)

    tasks = [asyncio.create_task(operation(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[cancelled].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert finished == {0, 1, 2, 3} - {cancelled}
    async with asyncio.timeout(1), lock.hold(Priority.OTHER):
        pass


async def test_waiter_cancelled_with_the_lock_in_its_hands_passes_it_on() -> None:
    lock = PriorityLock()
    async with lock.hold(Priority.OTHER):
        first = asyncio.create_task(lock._acquire(Priority.OTHER))
        second = asyncio.create_task(lock._acquire(Priority.OTHER))
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first, second], timeout=1)
    assert first.cancelled()
    assert second.done()
    assert not second.cancelled()


def test_safety_backup_of_a_restore_overtakes_waiting_backups() -> None:
    """The name of a safety backup counts only if a restore waits for it."""
    world, locks = World(), GatewayLocks()
    ref = world.cluster.add("GatewayBackup", "r-safety-00000000", {})
    taken: list[Priority] = []

    async def run() -> None:
        lock = locks.get(NAMESPACE, GATEWAY)
        hold = lock.hold

        def recording(priority: Priority) -> Any:
            taken.append(priority)
            return hold(priority)

        lock.hold = recording  # type: ignore[method-assign]
        await reconcile_backup(world.ports, locks, ref, log, GATEWAY)
        lock.safety_backups.add(ref.name)
        await reconcile_backup(world.ports, locks, ref, log, GATEWAY)

    asyncio.run(run())
    assert taken == [Priority.OTHER, Priority.RESTORE]
