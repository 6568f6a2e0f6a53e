"""Drills with a crash, or a lost answer, at each call; and each way in which a drill fails.

After any of them the object has ended with the right result, and its pod and NetworkPolicy are deleted. At most one
pod was created, and the live gateway is unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.ports import AdminApiError
from gateway_operator.reconcile.drill.orphans import delete_orphans
from tests.unit.gateway_operator.simulation.fake_cluster import sha
from tests.unit.gateway_operator.simulation.faults import Faults, World, log

pytestmark = pytest.mark.slow

Preparation = Callable[[World], None] | None


def with_drill(faults: Faults | None = None, prepare: Preparation = None, **spec: Any) -> tuple[World, Ref]:
    """A world with a backup of the config "good", another live config, and a new drill of that backup."""
    world = World(faults)
    world.admin.live = "good"
    backup = world.cluster.add("GatewayBackup", "good", {})
    ports, world.ports = world.ports, world.plain
    world.run(backup)
    world.ports = ports
    world.admin.live = "old"
    if prepare is not None:
        prepare(world)
    return world, world.cluster.add("GatewayRestore", "d", {"backupName": "good", "mode": "Drill", **spec})


def check_drill(world: World, ref: Ref, phase: str, reason: str) -> dict[str, Any]:
    """The promises that hold after every drill. Returns the status."""
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == (phase, reason), status
    assert not world.cluster.drill_pods
    assert not world.drills.policies
    assert world.drills.created <= 1
    assert world.drills.without_policy == 0
    live = world.admin
    assert (live.live, live.replaced_times, live.restore_record, live.request_ids) == ("old", 0, None, set())
    assert (live.files_made, world.cluster.restarts) == (1, [])
    finished = {one["type"]: one["status"] for one in status["conditions"]}
    assert (finished["Finished"], finished["Completed"]) == ("True", str(phase == "Completed"))
    level = world.cluster.objects[("GatewayBackup", "good")]["status"]["verification"]["level"]
    assert level == ("Drilled" if reason == "Drilled" else "Verified")
    writes = world.cluster.writes
    world.run(ref)
    assert world.cluster.writes == writes
    return status


def crash(world: World) -> None:
    world.drills.gateway_exits = 1


def never_ready(world: World) -> None:
    world.drills.ready = False


def no_engine(world: World) -> None:
    world.drills.isolation_exit_code = 3
    world.drills.isolation_message = "The pod reached 10.0.0.1 port 8001."


CASES: dict[str, tuple[Preparation, str, str]] = {
    "good": (None, "Completed", "Drilled"),
    "the gateway crashes": (crash, "Failed", "DrillPodFailed"),
    "the gateway is never ready": (never_ready, "Failed", "DrillTimedOut"),
    "no policy engine": (no_engine, "Failed", "NotIsolated"),
}


def undisturbed(case: str) -> Faults:
    """The calls of a run without faults."""
    world, ref = with_drill(Faults(), CASES[case][0], timeoutSeconds=10)
    world.run(ref)
    return world.faults


def crashes(calls: int, step: int) -> Iterator[tuple[str, Faults]]:
    """Two crashes, each after one of the calls; ``step`` is the distance between the calls."""
    for one in range(1, calls + 1, step):
        for two in range(one + 1, calls + 5, step):
            yield f"after {one}, {two}", Faults(crash_after={one, two})


@pytest.mark.parametrize("case", CASES)
def test_drill_ends_and_cleans_up_after_any_crash_or_lost_answer(case: str) -> None:
    prepare, phase, reason = CASES[case]
    for name, faults in undisturbed(case).single_faults():
        world, ref = with_drill(faults, prepare, timeoutSeconds=10)
        world.run(ref)
        with faults.named(name):
            check_drill(world, ref, phase, reason)


def test_drill_ends_and_cleans_up_after_two_crashes() -> None:
    for name, faults in crashes(undisturbed("good").calls, 3):
        world, ref = with_drill(faults, timeoutSeconds=60)
        world.run(ref)
        with faults.named(name):
            check_drill(world, ref, "Completed", "Drilled")


def test_status_of_a_good_drill_has_times_counts_and_the_pod() -> None:
    world, ref = with_drill()
    world.run(ref)
    status = check_drill(world, ref, "Completed", "Drilled")
    drill = status["drill"]
    assert drill["image"] == "gateway:1"
    assert drill["isolated"] is True
    assert drill["counts"]["users"] == 1
    assert drill["totalSeconds"] >= drill["readySeconds"] >= 0
    assert status["restoredDigest"] == sha("good")
    assert [one["name"] for one in status["steps"]] == ["Validating", "Drilling"]
    assert "requestID" not in status


def broken(world: World) -> None:
    world.drills.admin.failing = [AdminApiError("BackupCorrupt", "the digest differs", retryable=False)] * 9


def missing(world: World) -> None:
    world.admin.backups.clear()


def other_counts(world: World) -> None:
    world.drills.admin.health_fields = {"total_users": 7}


def forbidden(world: World) -> None:
    world.drills.forbidden = True


def rejected(world: World) -> None:
    world.drills.rejected = "ValidatingAdmissionPolicy 'drills' denied the request: the image is another one"


def no_admin_port(world: World) -> None:
    world.cluster.pod_spec = {"containers": [{"name": "gateway", "image": "g"}]}


@pytest.mark.parametrize(
    ("prepare", "reason", "text"),
    [
        (broken, "BackupCorrupt", "the digest differs"),
        (missing, "BackupNotFound", ""),
        (other_counts, "CountsDiffer", "users 1 → 7"),
        (forbidden, "NotAuthorized", "create role gw-backup-drill-pods"),
        (rejected, "DrillPodRejected", "the image is another one"),
        (no_admin_port, "DrillNotPossible", "no container with a port named admin-tls or admin"),
    ],
)
def test_failed_drill_says_why_and_leaves_nothing(prepare: Callable[[World], None], reason: str, text: str) -> None:
    world, ref = with_drill(None, prepare, timeoutSeconds=30)
    world.run(ref)
    status = check_drill(world, ref, "Failed", reason)
    assert text in status["message"]


def test_missing_permission_is_a_condition_until_it_is_granted() -> None:
    world, ref = with_drill(None, forbidden, timeoutSeconds=60)
    states: list[str] = []
    write = world.cluster.write_status

    async def write_and_grant(meta: Meta, status: Mapping[str, Any]) -> Json:
        body = await write(meta, status)
        for one in body["status"].get("conditions") or ():
            if one["type"] == "Authorized":
                states.append(one["status"])
                world.drills.forbidden = False
        return body

    world.cluster.write_status = write_and_grant  # type: ignore[method-assign]
    world.run(ref)
    check_drill(world, ref, "Completed", "Drilled")
    assert states[0] == "False"
    assert states[-1] == "True"


def test_accepted_missing_isolation_is_reported_with_the_result() -> None:
    def accepted(world: World) -> None:
        world.drills.isolation_message = "The pod reached 10.0.0.1 port 8001."

    world, ref = with_drill(None, accepted)
    world.run(ref)
    status = check_drill(world, ref, "Completed", "Drilled")
    assert status["drill"]["isolated"] is False
    assert "Isolation was not enforced: The pod reached 10.0.0.1 port 8001." in status["message"]


def test_deleted_drill_leaves_no_pod_and_no_policy() -> None:
    """The fake cluster has no garbage collector, so the operator itself deletes the objects here."""
    world, ref = with_drill(None, never_ready)
    slept: list[int] = []

    async def delete() -> None:
        slept.append(1)
        if world.cluster.drill_pods and len(slept) > 3:
            world.cluster.objects.pop(("GatewayRestore", "d"), None)

    world.clock.on_sleep.append(delete)
    world.run(ref)
    assert ("GatewayRestore", "d") not in world.cluster.objects
    assert not world.cluster.drill_pods
    assert not world.drills.policies


def test_objects_that_cannot_be_deleted_are_named_and_the_drill_ends() -> None:
    def stuck(world: World) -> None:
        world.drills.deletions_fail = True

    world, ref = with_drill(None, stuck)
    world.run(ref)
    status = world.cluster.status(ref)
    assert status["phase"] == "Completed"
    assert "could not be deleted" in status["message"]


def test_drill_of_a_factory_reset_is_refused() -> None:
    world, ref = with_drill(None, None, backupName=None, factoryReset={"confirm": True})
    world.run(ref)
    check_drill(world, ref, "Failed", "SpecInvalid")


def test_start_of_the_operator_deletes_the_objects_of_ended_drills_only() -> None:
    def stuck(world: World) -> None:
        world.drills.deletions_fail = True

    ended, ref = with_drill(None, stuck)
    ended.run(ref)
    ended.drills.deletions_fail = False
    running = World()
    running.cluster.add("GatewayRestore", "d", {"backupName": "good", "mode": "Drill"})
    for world, left in ((ended, 0), (running, 1)):
        name = next(iter(ended.cluster.drill_pods), "d-drill")
        if world is running:
            uid = running.cluster.objects[("GatewayRestore", "d")]["metadata"]["uid"]
            owner = {"kind": "GatewayRestore", "name": "d", "uid": uid, "controller": True}
            meta = {"name": name, "namespace": "prod", "uid": "p", "ownerReferences": [owner]}
            running.cluster.drill_pods[name] = {"metadata": meta}
        asyncio.run(delete_orphans(world.plain, (), log))
        assert len(world.cluster.drill_pods) == left
    assert not ended.drills.policies
