"""A volume without free space while a restore is rolled back: what the operator reports, and how it continues."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway_operator.domain.model.identifiers import Ref
from tests.unit.gateway_operator.simulation.faults import Faults, World
from tests.unit.gateway_operator.simulation.test_crash_points import run_once, with_restore
from tests.unit.gateway_operator.simulation.test_restore_endings import delete, end, stopped_in

pytestmark = pytest.mark.slow

Act = Callable[[World, Ref], None]
CAUSES: dict[str, Act] = {
    "unhealthy": lambda _world, _ref: None,
    "requested": lambda world, ref: end(world, ref, "Rollback"),
    "deleted": delete,
}


def rolling_back_on_a_full_volume(cause: str) -> tuple[World, Ref]:
    """A restore whose rollback was refused once, because the volume is full."""
    world, ref = stopped_in("Restarting", unhealthy=True)
    CAUSES[cause](world, ref)
    world.admin.is_full = True
    run_once(world, ref)
    assert world.cluster.status(ref)["phase"] == "RollingBack"
    return world, ref


@pytest.mark.parametrize("cause", CAUSES)
def test_rollback_waits_for_space_and_says_so(cause: str) -> None:
    world, ref = rolling_back_on_a_full_volume(cause)
    status = world.cluster.status(ref)
    assert "The rollback failed and is repeated: no space left Free space." in status["message"], status
    assert status["lastErrors"][-1]["reason"] == "VolumeFull"
    assert [one.reason for one in world.cluster.events].count("VolumeFull") == 1
    world.admin.is_full = False
    world.run(ref)
    assert world.admin.live == "old"
    if cause != "deleted":
        assert world.cluster.status(ref)["phase"] == "RolledBack"
        assert "no space left" not in world.cluster.status(ref)["message"]


def test_rollback_without_space_fails_in_time_and_names_the_ways_on() -> None:
    world, ref = rolling_back_on_a_full_volume("unhealthy")
    started = world.clock.now()
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("RollbackFailed", "RollbackFailed")
    assert 590 <= (world.clock.now() - started).total_seconds() < 700
    for text in ("no space left Free space.", "The previous config is still kept.", "kubectl gateway restore rollback"):
        assert text in status["message"], status["message"]
    world.admin.is_full = False
    end(world, ref, "Rollback")
    world.run(ref)
    assert (world.cluster.status(ref)["phase"], world.admin.live) == ("RolledBack", "old")


def test_crash_on_a_full_volume_keeps_the_rollback() -> None:
    """A crash at each call from the first refused rollback on. The space is freed after some runs."""
    for number in range(1, 12):
        world, ref = rolling_back_on_a_full_volume("unhealthy")
        world.faults.after = {world.faults.calls + number}
        runs: list[int] = []

        def free(world: World = world, runs: list[int] = runs) -> None:
            runs.append(1)
            world.admin.is_full = len(runs) < 3

        world.after_each_run.append(free)
        world.run(ref)
        assert (world.cluster.status(ref)["phase"], world.admin.live) == ("RolledBack", "old"), number
        assert world.admin.replaced_times == 1


def test_restore_on_a_full_volume_changes_nothing() -> None:
    world, ref = with_restore(Faults(), safetyBackup="Skip")
    world.admin.is_full = True
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"], world.admin.live) == ("Failed", "VolumeFull", "old")
    assert "Free space." in status["message"]
