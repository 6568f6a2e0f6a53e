"""Tests of backup sets: nothing that a creator writes into its own object removes another backup."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.gateway_operator.retention.world import DAY, RetentionWorld

MINUTE = timedelta(minutes=1)
ATTACKS: list[dict[str, Any]] = [
    {"retention": {"keepLast": 1}},
    {"retention": {"keepLast": 1, "includeAdopted": True}},
    {"retention": {"maxAge": "1s"}},
    {"labels": {"mcpgateway.dev/schedule": "nightly", "mcpgateway.dev/adopted": "no"}},
    {"annotations": {"mcpgateway.dev/restore-uid": "u", "mcpgateway.dev/delete-file": "requested"}},
    {"annotations": {"mcpgateway.dev/job-uid": "u"}, "job": {"name": "nightly-1", "uid": "u"}},
    {"origin": None},
    {"origin": "Unknown", "schedule": "nightly"},
    {"origin": "Manual", "schedule": "nightly"},
    {"phase": "Failed"},
    {"ttl": "1s"},
]
"""Specs, labels and states of backups that anyone may create."""


def _world() -> RetentionWorld:
    """Backups of a schedule, a restore, a person and a volume, each of them old."""
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 3, "failed": {"keepLast": 2}})
    world.daily(3)
    for number in range(3):
        world.add(f"s{number}", (9 + number) * DAY, group="safety")
        world.add(f"m{number}", (9 + number) * DAY, group="team", ttl="90d")
        world.add(f"a{number}", (9 + number) * DAY, group="nightly", origin="Adopted", schedule="nightly")
    world.add("bad", DAY, phase="Failed")
    return world


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
@pytest.mark.parametrize("group", ["nightly", "safety", "team", "manual"])
def test_created_backups_remove_no_other_backup(group: str, attack: dict[str, Any]) -> None:
    world = _world()
    before, files = world.names(), world.files()
    for number in range(6):
        world.add(f"evil{number}", timedelta(seconds=number), **{"group": group, "origin": "Manual", **attack})
    world.run_passes(passes=2)
    assert before <= world.names()
    assert files <= world.files()


def test_schedule_governs_by_origin_and_not_by_group() -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 2})
    for number in range(4):
        world.add(f"b{number}", number * DAY + MINUTE, group="other", origin="Schedule", schedule="nightly")
        world.add(f"m{number}", number * DAY + MINUTE, group="nightly", origin="Manual")
    world.run_passes()
    assert world.names() == world.files() == {"b0", "b1", "m0", "m1", "m2", "m3"}


@pytest.mark.parametrize("included", [False, True])
def test_adopted_backups_follow_the_schedule_in_their_manifest_if_included(included: bool) -> None:
    world = RetentionWorld()
    world.schedule(retention={"keepLast": 3, "includeAdopted": included})
    world.daily(2)
    for number in range(3):
        world.add(f"a{number}", (5 + number) * DAY, origin="Adopted", schedule="nightly")
        world.add(f"x{number}", (5 + number) * DAY, origin="Adopted")
    world.run_passes()
    others = {"x0", "x1", "x2", "d0", "d1"}
    assert world.names() == others | ({"a0"} if included else {"a0", "a1", "a2"})


def test_ttl_of_a_person_deletes_an_adopted_backup() -> None:
    world = RetentionWorld()
    world.add("old", 9 * DAY, group="nightly", origin="Adopted", ttl="1d")
    world.add("new", DAY, group="nightly", origin="Adopted")
    world.run_passes()
    assert world.names() == {"new"}


def test_failed_record_of_the_group_goes_without_its_file() -> None:
    world = RetentionWorld()
    world.schedule(retention={"failed": {"keepLast": 0}})
    world.daily(1)
    world.add("never-claimed", DAY, phase="Failed", origin=None, schedule=None)
    world.run_passes()
    assert world.names() == {"d0"}
