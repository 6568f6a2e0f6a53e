"""Freezes the leader at each call until another leader has finished its work, and then continues it.

This is the worst case of high availability: the frozen one was allowed to act when it decided, and sends its request
late. Its requests must have no second effect, and its writes must change no status.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from gateway_operator.domain.drill.pod_state import belongs_to
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.leadership import NotLeaderError
from gateway_operator.ports import ConflictError
from gateway_operator.reconcile.drill.orphans import delete_orphans
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE
from tests.unit.gateway_operator.simulation.faults import Faults, World, log
from tests.unit.gateway_operator.simulation.test_crash_points import (
    CASES,
    check_backup,
    check_restore,
    undisturbed,
    with_backup,
    with_restore,
)
from tests.unit.gateway_operator.simulation.test_drills import check_drill, with_drill
from tests.unit.gateway_operator.simulation.test_name_used import check_imported, recreated_cluster

pytestmark = pytest.mark.slow


def _run_another(world: World, ref: Ref) -> None:
    """Another operator finishes the object. It has a thread, because the frozen one holds this thread's event loop."""
    own, world.ports = world.ports, world.plain
    thread = threading.Thread(target=world.run, args=(ref,))
    thread.start()
    thread.join()
    world.ports = own


def _freeze(make: Callable[..., tuple[World, Ref]], number: int, *, sent: bool, **how: Any) -> tuple[World, Ref]:
    """Run to the end, with a freeze before or after the call. The object must stay as the other one has left it."""
    left: list[str] = []

    def another() -> None:
        _run_another(world, ref)
        left.append(world.cluster.objects[(ref.kind, ref.name)]["metadata"]["resourceVersion"])

    faults = Faults(meanwhile={number: another}) if sent else Faults(frozen={number: another})
    world, ref = make(faults, **how)
    with suppress(ConflictError):  # the work queue requeues the object
        world.run(ref)
    world.run(ref)
    version = world.cluster.objects[(ref.kind, ref.name)]["metadata"]["resourceVersion"]
    assert left == [version], f"frozen at call {number} of {faults.names}"
    return world, ref


@pytest.mark.parametrize("sent", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("level", ["Verified", "Stored"])
def test_frozen_backup_makes_no_second_file_and_writes_no_status(level: str, sent: bool) -> None:
    for number in range(1, undisturbed(with_backup, level=level).calls + 1):
        check_backup(*_freeze(with_backup, number, sent=sent, level=level))


@pytest.mark.parametrize("sent", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("case", ["healthy", "healthy, restarted", "unhealthy", "unhealthy, restarted"])
def test_frozen_restore_has_one_effect_and_writes_no_status(case: str, sent: bool) -> None:
    how, expected = CASES[case]
    for number in range(1, undisturbed(with_restore, **how).calls + 1):
        assert check_restore(*_freeze(with_restore, number, sent=sent, **how)) == expected, number


def _freeze_drill(number: int) -> tuple[World, Ref]:
    """Run a drill with a freeze before the call. Afterwards only this one call goes out: the others are refused."""

    def another() -> None:
        _run_another(world, ref)
        faults.is_leader = False

    faults = Faults(frozen={number: another})
    world, ref = with_drill(faults)
    with suppress(NotLeaderError):
        world.run(ref)
    faults.is_leader = True
    return world, ref


def test_frozen_drill_leaves_at_most_objects_that_are_deleted_later() -> None:
    """A late creation makes an object that belongs to an ended drill. The next leader deletes a pod of it."""
    world, ref = with_drill(Faults())
    world.run(ref)
    creations = {number for number, name in enumerate(world.faults.names, 1) if name.startswith("create_")}
    assert len(creations) == 2
    for number in range(1, world.faults.calls + 1):
        world, ref = _freeze_drill(number)
        if number in creations:
            late = [*world.cluster.drill_pods.values(), *world.drills.policies.values()]
            assert [belongs_to(one, ref.uid) for one in late] == [True]
            assert all("activeDeadlineSeconds" in pod["spec"] for pod in world.cluster.drill_pods.values())
            asyncio.run(delete_orphans(world.plain, [NAMESPACE], log))
            assert not world.cluster.drill_pods
            assert world.cluster.status(ref)["reason"] == "Drilled"
        else:
            check_drill(world, ref, "Completed", "Drilled")


@pytest.mark.parametrize("sent", [False, True], ids=["before the call", "after the call"])
def test_frozen_import_replaces_no_object_twice(sent: bool) -> None:
    world, ref = recreated_cluster(Faults())
    world.run(ref)
    for number in range(1, world.faults.calls + 1):
        check_imported(*_freeze(recreated_cluster, number, sent=sent))
