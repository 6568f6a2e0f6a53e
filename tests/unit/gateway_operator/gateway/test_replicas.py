"""Replicas of a Deployment with volumes of their own: the restore is refused, and retention deletes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.replicas import ReplicaVolumes, ready_replicas, volumes_differ
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.ports import AdminTarget
from tests.unit.gateway_operator.retention.world import RetentionWorld
from tests.unit.gateway_operator.simulation.fake_admin_api import VOLUME
from tests.unit.gateway_operator.simulation.faults import World
from tests.unit.gateway_operator.simulation.test_crash_points import with_restore

DEPLOYMENT = Workload(GatewayRef("Deployment", "gw"), "ns", "w", {})


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([("g", "v"), ("g", "v")], []),
        ([("g", "v"), (None, None)], []),
        ([("g", "v")], []),
        ([], []),
        ([("g", "v"), ("g", "w")], ["backup volume", "p0 has v", "p1 has w"]),
        ([("g", "v"), ("h", "v")], ["config volume", "p0 has g", "p1 has h"]),
        ([("g", None), ("h", "v"), ("g", "w")], ["backup volume", "p1 has v", "p2 has w"]),
    ],
)
def test_volumes_differ_if_two_pods_report_two_ids(ids: list[tuple[str | None, str | None]], words: list[str]) -> None:
    problem = volumes_differ(DEPLOYMENT, [ReplicaVolumes(f"p{number}", *one) for number, one in enumerate(ids)])
    assert (problem is None) == (words == [])
    if problem is not None:
        assert problem.reason == "VolumesDiffer"
        assert not problem.may_pass
        assert all(word in problem.message for word in words)


def test_pods_of_a_stateful_set_are_not_compared() -> None:
    workload = Workload(GatewayRef("StatefulSet", "gw"), "ns", "w", {})
    assert ready_replicas(workload, [{"metadata": {"name": f"gw-{number}"}} for number in range(2)]) == []


def give_second_pod(world: World, volume: str) -> None:
    """Add a second Ready pod, whose admin API reports this volume."""
    pods, health = world.cluster.pods, world.admin.health

    async def two_pods(workload: Workload, *, cached: bool = False) -> tuple[list[Any], list[Any]]:
        replica_sets, (first,) = await pods(workload, cached=cached)
        second = copy.deepcopy(dict(first))
        second["metadata"] |= {"name": "second", "uid": "second", "creationTimestamp": ""}
        return replica_sets, [first, second]

    async def health_of(target: AdminTarget) -> SystemHealthData:
        answer = await health(target)
        return answer.model_copy(update={"volume_id": volume}) if target.endpoint.pod == "second" else answer

    world.cluster.pods = two_pods  # type: ignore[method-assign]
    world.admin.health = health_of  # type: ignore[method-assign]


@pytest.mark.parametrize(("volume", "phase"), [(VOLUME, "Completed"), ("w" * 32, "Failed")])
def test_restore_needs_replicas_that_share_their_volumes(volume: str, phase: str) -> None:
    world, ref = with_restore()
    give_second_pod(world, volume)
    world.run(ref)
    status = world.cluster.status(ref)
    assert status["phase"] == phase
    if phase == "Failed":
        assert status["reason"] == "VolumesDiffer"
        assert [one["name"] for one in status["steps"]] == ["Validating"]
        assert world.admin.live == "old"


def test_retention_deletes_nothing_while_volumes_differ() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 1})
    world.daily(2)
    give_second_pod(world, "w" * 32)
    world.run_passes()
    assert world.names() == {"d0", "d1"}
    assert world.condition() == ("False", "ListingIncomplete")
    conditions = world.status_of("nightly", "GatewayBackupSchedule")["conditions"]
    assert any("VolumesDiffer" in one["message"] for one in conditions)
