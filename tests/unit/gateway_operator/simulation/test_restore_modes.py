"""Dry runs, factory resets, refused sources and superseded restores, with each crash and each lost answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway_api.contract import RestoreState
from gateway_operator.domain.model.identifiers import Ref
from tests.unit.gateway_operator.simulation.fake_admin_api import EMPTY_CONFIG
from tests.unit.gateway_operator.simulation.faults import Faults, World
from tests.unit.gateway_operator.simulation.test_crash_points import undisturbed, with_restore

pytestmark = pytest.mark.slow

RESET: dict[str, Any] = {"backupName": None, "factoryReset": {"confirm": True}}
SOURCES: dict[str, dict[str, Any]] = {
    "a backup": {},
    "the newest": {"backupName": None, "latest": {}},
    "a factory reset": RESET,
}


@pytest.mark.parametrize("source", SOURCES)
def test_dry_run_changes_nothing_after_any_fault(source: str) -> None:
    spec = {**SOURCES[source], "mode": "DryRun"}
    for name, faults in [("nothing", Faults()), *undisturbed(with_restore, **spec).single_faults()]:
        world, ref = with_restore(faults, **spec)
        before = (set(world.cluster.objects), copy.deepcopy(world.admin.backups), world.admin.files_made)
        world.run(ref)
        status = world.cluster.status(ref)
        assert (status["phase"], status["reason"]) == ("Completed", "WouldRestore"), (name, status)
        assert (set(world.cluster.objects), world.admin.backups, world.admin.files_made) == before
        assert (world.admin.live, world.admin.restore_record) == ("old", None)
        assert not world.admin.request_ids
        assert not status.get("requestID")
        assert status["diff"]["sections"]
        assert [one["name"] for one in status["steps"]] == ["Validating"]
        assert not world.cluster.restarts


def test_dry_run_reports_why_a_restore_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world, ref = with_restore(mode="DryRun")
    pods = world.cluster.pods

    async def without_claim(*arguments: Any, **options: Any) -> Any:
        replica_sets, (pod,) = await pods(*arguments, **options)
        return replica_sets, [{**pod, "spec": {**pod["spec"], "volumes": [{"name": "config", "emptyDir": {}}]}}]

    monkeypatch.setattr(world.cluster, "pods", without_claim)
    world.run(ref)
    status = world.cluster.status(ref)
    assert "is not on a persistent volume" in status["diff"]["obstacle"]
    assert status["message"].endswith(status["diff"]["obstacle"])


def test_factory_reset_has_one_outcome_after_any_fault() -> None:
    for name, faults in [("nothing", Faults()), *undisturbed(with_restore, **RESET).single_faults()]:
        world, ref = with_restore(faults, **RESET)
        world.run(ref)
        status, record = world.cluster.status(ref), world.admin.restore_record
        assert status["phase"] == "Completed", (name, status)
        assert status["source"] == {"factoryReset": True}
        assert record is not None
        assert record.state is RestoreState.committed
        assert (world.admin.live, world.admin.replaced_times) == (EMPTY_CONFIG, 1)
        # The safety backup holds the config that was removed.
        assert sorted(str(content) for _, content in world.admin.backups.values()) == ["good", "old"]


def test_unhealthy_gateway_after_a_factory_reset_is_rolled_back() -> None:
    world, ref = with_restore(**RESET)
    world.admin.unhealthy_on = EMPTY_CONFIG
    world.run(ref)
    assert world.cluster.status(ref)["phase"] == "RolledBack"
    assert world.admin.live == "old"


@pytest.mark.parametrize("source", ["path", "factory reset"])
def test_request_id_without_a_named_backup_does_not_depend_on_the_volume(source: str) -> None:
    """A path and a factory reset run once for a gateway, whatever happens to its backup volume."""
    world, ref = with_restore(**RESET)
    if source == "path":
        path = next(iter(world.admin.backups.values()))[0].path
        world, ref = with_restore(backupName=None, path=path)
    world.run(ref)
    request_id, live = world.cluster.status(ref)["requestID"], world.admin.live
    spec = world.cluster.objects.pop(("GatewayRestore", "r"))["spec"]
    world.admin.volume = "w" * 32
    world.admin.live = "changed since"
    repeated = world.cluster.add("GatewayRestore", "r", spec)
    world.run(repeated)
    status = world.cluster.status(repeated)
    assert (status["reason"], status["requestID"]) == ("AlreadyApplied", request_id)
    assert (live, world.admin.live) == (EMPTY_CONFIG if source != "path" else "good", "changed since")


@pytest.mark.parametrize(
    ("spec", "plan", "reason"),
    [
        ({}, {"source_gateway_id": "other"}, "OtherGateway"),
        (
            {"backupName": None, "factoryReset": {"confirm": True, "rotateAdminKey": True}},
            {"key_remains_accepted": False},
            "AdminKeyWouldBeLost",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["Apply", "DryRun"])
def test_refused_plan_fails_before_the_safety_backup(
    mode: str, spec: dict[str, Any], plan: dict[str, Any], reason: str
) -> None:
    world, ref = with_restore(mode=mode, **spec)
    world.admin.plan_fields = plan
    objects = set(world.cluster.objects)
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", reason)
    assert set(world.cluster.objects) == objects
    assert (world.admin.live, world.admin.restore_record) == ("old", None)


def _left(world: World, ref: Ref) -> None:
    """Run a restore that ends with onFailure Leave, then let the gateway become healthy."""
    world.run(ref)
    assert world.cluster.status(ref)["phase"] == "Failed"
    world.admin.unhealthy_on = None


@pytest.mark.parametrize("supersede", [False, True])
def test_only_supersede_restores_over_one_that_was_left(supersede: bool) -> None:
    world, left = with_restore(unhealthy=True, onFailure="Leave")
    _left(world, left)
    quick = {"timeoutSeconds": 6, "consecutive": 2}
    spec = {"backupName": "good", "healthCheck": quick, "supersede": supersede}
    after = world.cluster.add("GatewayRestore", "after", spec)
    world.run(after)
    status = world.cluster.status(after)
    expected = ("Completed", "Restored") if supersede else ("Failed", "RestorePending")
    assert (status["phase"], status["reason"]) == expected


def test_supersede_never_ends_a_restore_that_runs() -> None:
    world, running = with_restore(unhealthy=True, onFailure="Leave")
    _left(world, running)
    world.cluster.objects[("GatewayRestore", "r")]["status"]["phase"] = "HealthCheck"
    record = world.admin.restore_record
    after = world.cluster.add("GatewayRestore", "after", {"backupName": "good", "supersede": True})
    world.run(after)
    assert world.cluster.status(after)["reason"] == "RestoreInProgress"
    assert world.admin.restore_record == record
