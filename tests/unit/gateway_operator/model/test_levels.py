"""Drilled is at least Verified, wherever a level is required."""

from __future__ import annotations

import itertools

import pytest

from gateway_operator.domain.model.levels import reaches
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.source import Refusal, resolve
from gateway_operator.domain.retention.sets import BackupSet
from tests.unit.gateway_operator.simulation.fake_cluster import START
from tests.unit.gateway_operator.summaries import SET_ID, summary

ORDER = ("", "Stored", "Verified", "Drilled")


@pytest.mark.parametrize(("level", "required"), list(itertools.product(ORDER, ORDER)))
def test_levels_are_ordered(level: str, required: str) -> None:
    assert reaches(level, required) == (ORDER.index(level) >= ORDER.index(required))
    assert not reaches("Perfect", required)


def backup(name: str, minute: int, level: str) -> Backup:
    return Backup.parse(
        {
            "metadata": {"namespace": "prod", "name": name, "uid": name},
            "spec": {"gatewayRef": {"name": "gw"}},
            "status": {
                "phase": "Completed",
                "volumeID": "v",
                "snapshotTime": f"2026-01-01T12:{minute:02}:00Z",
                "verification": {"level": level},
            },
        }
    )


@pytest.mark.parametrize(("level", "chosen"), [("Drilled", "new"), ("Verified", "new"), ("Stored", "old"), ("", "old")])
def test_latest_takes_a_backup_that_is_at_least_verified(level: str, chosen: str) -> None:
    restore = Restore.parse({"metadata": {"namespace": "prod"}, "spec": {"gatewayRef": {"name": "gw"}, "latest": {}}})
    source = resolve(restore, [backup("old", 1, "Verified"), backup("new", 2, level)], "v")
    assert not isinstance(source, Refusal)
    assert source.backup_name == chosen


@pytest.mark.parametrize(("level", "counts"), [("Drilled", True), ("Verified", True), ("Stored", False)])
def test_objective_counts_a_backup_that_is_at_least_verified(level: str, counts: bool) -> None:
    members = BackupSet(SET_ID, None, "", {"a": summary("a", START, level=level)})
    assert members.newest_verified == (START if counts else None)
