"""The condition BackupVolumeRetained: what it says, when it is read again, and without a permission."""

from __future__ import annotations

import pytest

from gateway_operator.domain.gateway.volumes import BACKUP_VOLUME_RETAINED
from gateway_operator.ports import AdminApiError, ClusterError
from tests.unit.gateway_operator.retention.world import RetentionWorld

MINUTE, LISTING = 61, 601


def reads(world: RetentionWorld) -> int:
    """How often a PersistentVolume was read."""
    return world.faults.names.count("persistent_volume")


def test_condition_follows_the_reclaim_policy_and_warns_once() -> None:
    world = RetentionWorld()
    world.schedule()
    world.cluster.reclaim_policy = "Delete"
    controller = world.run_passes(ports=world.ports)
    assert world.condition(BACKUP_VOLUME_RETAINED) == ("False", "BackupVolumeDeletedWithClaim")
    world.run_passes(controller=controller)
    assert reads(world) == 1, "a pass in which no check is due reads nothing"
    world.cluster.reclaim_policy = "Retain"
    world.clock.advance(MINUTE)
    world.run_passes(controller=controller)
    assert world.condition(BACKUP_VOLUME_RETAINED) == ("True", "BackupVolumeRetained")
    notes = [(note.reason, note.warning) for note in world.cluster.events if "BackupVolume" in note.reason]
    assert notes == [("BackupVolumeDeletedWithClaim", True), ("BackupVolumeRetained", False)]
    # Without a problem only a listing reads it again.
    world.clock.advance(MINUTE)
    world.run_passes(controller=controller)
    assert reads(world) == 2
    world.clock.advance(LISTING)
    world.run_passes(controller=controller)
    assert reads(world) == 3


def test_missing_permission_is_unknown_and_names_the_commands() -> None:
    world = RetentionWorld()
    world.schedule()
    world.cluster.volumes_forbidden = True
    controller = world.run_passes(ports=world.ports)
    assert world.condition(BACKUP_VOLUME_RETAINED) == ("Unknown", "NotAuthorized")
    assert world.condition("RetentionApplied")[1] == "NoPolicy"
    status = world.status_of("nightly", "GatewayBackupSchedule")["conditions"]
    message = next(one["message"] for one in status if one["type"] == BACKUP_VOLUME_RETAINED)
    assert "kubectl create clusterrole" in message
    assert not [note for note in world.cluster.events if note.reason == "NotAuthorized"]
    world.clock.advance(MINUTE)
    world.run_passes(controller=controller)
    assert reads(world) == 1, "each minute a refused request would fill the audit log of the cluster"


@pytest.mark.parametrize("call", ["volume_claim", "persistent_volume", "health"])
def test_unanswered_request_changes_nothing(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> None:
        raise ClusterError("503")

    world = RetentionWorld()
    world.schedule()
    controller = world.run_passes(ports=world.ports)
    before = world.condition(BACKUP_VOLUME_RETAINED)
    world.cluster.reclaim_policy = "Delete"
    world.clock.advance(LISTING)
    if call == "health":
        world.admin.failing = [AdminApiError("Unreachable", "refused", retryable=True)]
    else:
        monkeypatch.setattr(world.cluster, call, refused)
    world.run_passes(controller=controller)
    assert world.condition(BACKUP_VOLUME_RETAINED) == before == ("True", "BackupVolumeRetained")
    monkeypatch.undo()
    world.admin.failing = []
    world.clock.advance(LISTING)
    world.run_passes(controller=controller)
    assert world.condition(BACKUP_VOLUME_RETAINED)[0] == "False"
