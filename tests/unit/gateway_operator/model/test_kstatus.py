"""Every kind in every phase, as kstatus reads it. Flux and `helm --wait` use kstatus.

``kstatus`` below has the rules of ``pkg/kstatus/status`` of kubernetes-sigs/cli-utils (5895ad6) for custom resources.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import BACKUP_KIND, IMPORT_KIND, RESTORE_KIND
from gateway_operator.domain.model.resources import Backup, Meta
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import AdminApiError
from gateway_operator.reconcile.backup.object import reconcile_backup_object
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.status_writer import update_status
from tests.unit.gateway_operator.simulation.faults import World
from tests.unit.gateway_operator.simulation.test_crash_points import with_backup, with_restore

NEW = {"observedGeneration": -1}
"""The default status of the CRDs. kstatus takes an object without any status for a finished one."""


def kstatus(body: Mapping[str, Any]) -> str:
    """The result of kstatus for a custom resource."""
    metadata, status = body["metadata"], body.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if "generation" in metadata and status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = status.get("conditions") or ()
    for condition in conditions:
        if (condition["type"], condition["status"]) == ("Reconciling", "True"):
            return "InProgress"
        if (condition["type"], condition["status"]) == ("Stalled", "True"):
            return "Failed"
    for condition in conditions:
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"


def wait_ends(body: Mapping[str, Any], kind: str) -> bool:
    """Whether `kubectl wait --for=condition=KIND` ends. It ignores a condition of an older generation."""
    generation = body["metadata"].get("generation", 0)
    return any(
        (one["type"], one["status"]) == (kind, "True") and one.get("observedGeneration", generation) >= generation
        for one in body["status"]["conditions"]
    )


PHASES = [
    *((BACKUP_KIND, phase, "InProgress") for phase in ("Pending", "Running", "Verifying")),
    (BACKUP_KIND, "Completed", "Current"),
    (BACKUP_KIND, "Failed", "Failed"),
    *(
        (RESTORE_KIND, phase, "InProgress")
        for phase in ("Pending", "Validating", "SafetyBackup", "Restoring", "Restarting", "HealthCheck", "RollingBack")
    ),
    (RESTORE_KIND, "Completed", "Current"),
    *((RESTORE_KIND, phase, "Failed") for phase in ("Failed", "RolledBack", "RollbackFailed")),
    *((IMPORT_KIND, phase, "InProgress") for phase in ("Pending", "Running")),
    (IMPORT_KIND, "Completed", "Current"),
    (IMPORT_KIND, "Failed", "Failed"),
]
PARSERS: dict[str, Any] = {BACKUP_KIND: Backup.parse, RESTORE_KIND: Restore.parse, IMPORT_KIND: Import.parse}


@pytest.mark.parametrize("before", ["Pending", "Failed", "Completed"])
@pytest.mark.parametrize(("kind", "phase", "expected"), PHASES)
def test_each_phase_has_the_state_that_people_expect(kind: str, phase: str, expected: str, before: str) -> None:
    world = World()
    ref = world.cluster.add(kind, "x", {})
    body = world.cluster.objects[(kind, "x")]
    body["metadata"]["generation"] = 3

    async def write(status: dict[str, Any]) -> None:
        resource = PARSERS[kind](await world.cluster.read(ref))
        await update_status(world.plain, PARSERS[kind], resource, status, None, logging.getLogger("tests"))

    asyncio.run(write({"phase": before, "reason": "Some", "message": "It is so."}))
    asyncio.run(write({"phase": phase, "reason": "Other", "message": "It is so."}))
    assert kstatus(body) == expected
    kinds = [one["type"] for one in body["status"]["conditions"]]
    assert len(set(kinds)) == len(kinds)
    assert {"Reconciling", "Stalled"} & set(kinds) == {"InProgress": {"Reconciling"}, "Failed": {"Stalled"}}.get(
        expected, set()
    )
    writes = world.cluster.writes
    asyncio.run(write({"phase": phase, "reason": "Other", "message": "It is so."}))
    assert world.cluster.writes == writes


def states_of(world: World, ref: Ref) -> list[str]:
    """The results of kstatus for a new object and after each status write until its end."""
    body = world.cluster.objects[(ref.kind, ref.name)]
    body["status"] = dict(NEW)
    states = [kstatus(body)]
    write = world.cluster.write_status

    async def observed(meta: Meta, status: Mapping[str, Any]) -> Any:
        result = await write(meta, status)
        if meta.ref == ref:
            states.append(kstatus(body))
        return result

    world.cluster.write_status = observed  # type: ignore[method-assign]
    world.run(ref)
    return states


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("kind", PARSERS)
def test_object_is_in_progress_until_its_end(kind: str, fails: bool) -> None:
    world, ref = with_backup() if kind == BACKUP_KIND else with_restore()
    if kind == IMPORT_KIND:
        ref = world.cluster.add(IMPORT_KIND, "i", {})
    if fails:
        world.admin.failing = [AdminApiError("Forbidden", "no", retryable=False)] * 99
    *states, last = states_of(world, ref)
    assert set(states) == {"InProgress"}
    assert last == ("Failed" if fails else "Current")


def test_spec_change_of_a_finished_backup_is_observed() -> None:
    world, ref = with_backup()
    world.run(ref)
    body = world.cluster.objects[(ref.kind, ref.name)]
    body["metadata"]["generation"] += 1
    assert kstatus(body) == "InProgress"
    assert not wait_ends(body, "Completed")
    assert asyncio.run(reconcile_backup_object(world.plain, GatewayLocks(), Backup.parse(body))) is None
    assert kstatus(body) == "Current"
    assert wait_ends(body, "Completed")
    assert wait_ends(body, "Finished")


@pytest.mark.parametrize("kind", PARSERS)
def test_each_status_write_renews_the_generation_of_all_conditions(kind: str) -> None:
    world = World()
    ref = world.cluster.add(kind, "x", {})
    body = world.cluster.objects[(kind, "x")]
    other = {"type": "Authorized", "status": "True", "reason": "Granted", "message": "It is so."}
    body["status"] = {"phase": "Pending", "conditions": [{**other, "observedGeneration": 1}]}
    body["metadata"]["generation"] = 2
    resource = PARSERS[kind](asyncio.run(world.cluster.read(ref)))
    status = {"phase": "Completed", "reason": "Some", "message": "It is so."}
    asyncio.run(update_status(world.plain, PARSERS[kind], resource, status, None, logging.getLogger("tests")))
    assert {one["observedGeneration"] for one in body["status"]["conditions"]} == {2}
