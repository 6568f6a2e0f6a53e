"""Another controller removes the restart marker from the pod template: the operator patches once and gives up."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_operator.domain.gateway.workload import Workload
from tests.unit.gateway_operator.simulation.faults import Faults, World
from tests.unit.gateway_operator.simulation.test_crash_points import check_restore, undisturbed, with_restore

pytestmark = pytest.mark.slow


def contested(how: str, faults: Faults | None = None) -> tuple[World, Any, list[str]]:
    """A restore whose marker never stays. ``how``: whether the pods are replaced. Returns the markers patched."""
    world, ref = with_restore(faults, reload="Restart")
    patched: list[str] = []

    async def restart(workload: Workload, marker: str) -> None:
        patched.append(marker)
        if how == "pods replaced":
            world.cluster.pod_name = f"pod-{len(patched)}"

    world.cluster.restart = restart  # type: ignore[method-assign]
    return world, ref, patched


@pytest.mark.parametrize(("how", "phase"), [("pods replaced", "Completed"), ("pods kept", "RolledBack")])
def test_workload_is_patched_once_for_each_restart(how: str, phase: str) -> None:
    world, ref, patched = contested(how)
    world.run(ref)
    assert check_restore(world, ref) == phase
    uid = world.cluster.status(ref)["restart"]["marker"].removesuffix("-rollback")
    assert patched == [uid, f"{uid}-rollback"][: len(patched)]
    assert len(patched) == (1 if phase == "Completed" else 2)
    if phase == "RolledBack":
        status = world.cluster.status(ref)
        assert status["reason"] == "RestartFailed"
        assert "something removed the annotation mcpgateway.dev/restored" in status["message"]


@pytest.mark.parametrize(("how", "phase"), [("pods replaced", "Completed"), ("pods kept", "RolledBack")])
def test_crash_at_any_call_patches_at_most_once_more(how: str, phase: str) -> None:
    def make(faults: Faults) -> tuple[World, Any]:
        return contested(how, faults)[:2]

    for name, faults in undisturbed(make).single_faults():
        world, ref, patched = contested(how, faults)
        world.run(ref)
        assert check_restore(world, ref) == phase, (name, faults.names)
        assert len(patched) <= (2 if phase == "Completed" else 3), (name, faults.names)
