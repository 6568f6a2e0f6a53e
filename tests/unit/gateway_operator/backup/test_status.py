"""Tests of the terminal status of a backup: level, changes, the condition Suspicious and expiry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.contract import Counts, Problem
from gateway_operator.domain.backup import changes
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.admin_api import counts_status
from gateway_operator.domain.model.identifiers import Ref
from tests.unit.gateway_operator.backup.test_index import backup
from tests.unit.gateway_operator.simulation.faults import World

BEFORE = BackupSummary.from_backup(backup(1))


def of(*numbers: int, **fields: int) -> dict[str, int]:
    """``status.counts``: configs, projects, users, API keys, disabled API keys."""
    names = ("configs", "projects", "users", "api_keys", "disabled_api_keys")
    return counts_status(Counts(**dict(zip(names, numbers, strict=False)), **fields))


counts = st.lists(st.integers(0, 30), min_size=5, max_size=5).map(lambda numbers: of(*numbers))


def earlier(counts_before: dict[str, int] | None, size: int | None = 100, digest: str = "a") -> BackupSummary:
    """The row of the previous backup."""
    return replace(BEFORE, counts=counts_before, content_bytes=size, content_digest=digest)


@pytest.mark.parametrize(
    ("now", "digest", "summary"),
    [
        (of(1, 2, 5, 3, 0), "b", "+2 users"),
        (of(1, 2, 3, 2, 0), "b", "-1 API key"),
        (of(2, 0, 5, 2, 1), "b", "+1 config, -2 projects, +2 users, -1 API key, +1 disabled API key"),
        (of(1, 2, 3, 3, 0), "b", "content changed"),
        (of(1, 2, 3, 3, 0), "a", "unchanged"),
        (None, "b", "content changed"),
        (None, "a", "unchanged"),
    ],
)
def test_summary_of_changes(now: dict[str, int] | None, digest: str, summary: str) -> None:
    result = changes.changes_since(earlier(of(1, 2, 3, 3, 0)), now, 120, digest)
    assert result["summary"] == summary
    assert result["contentBytes"] == 20
    assert result["comparedTo"] == "b1"


@given(counts, counts, st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 100))
def test_losses_only_of_existing_counts_and_fewer_with_a_wider_limit(
    before: dict[str, int], now: dict[str, int], size: int, size_now: int, limit: int
) -> None:
    lost = changes.losses_since(earlier(before, size), now, size_now, limit)
    assert changes.losses_since(earlier(before, size), now, size_now, 100) == []
    assert len(changes.losses_since(earlier(before, size), now, size_now, min(100, limit + 10))) <= len(lost)
    assert changes.losses_since(earlier(now, size_now), now, size_now, limit) == []
    assert len(changes.losses_since(earlier(before, None), now, size_now, limit)) <= len(lost)


@pytest.mark.parametrize(
    ("before", "now", "lost"),
    [
        (of(users=10), of(users=5), []),
        (of(users=10), of(users=4), ["60 % of the users (10 → 4)"]),
        (of(projects=1), of(projects=0), ["100 % of the projects (1 → 0)"]),
        (of(api_keys=10, disabled_api_keys=9), of(api_keys=1), []),
        (
            of(api_keys=10),
            of(api_keys=10, disabled_api_keys=8),
            ["80 % of the API keys (10 → 2)"],
        ),
    ],
)
def test_loss_above_the_limit_is_suspicious(before: dict[str, int], now: dict[str, int], lost: list[str]) -> None:
    assert changes.losses_since(earlier(before), now, 100, 50) == lost


def one_more(world: World, name: str, **spec: Any) -> tuple[Ref, dict[str, Any]]:
    """Run a new backup, one minute later."""
    world.clock.advance(60)
    ref = world.cluster.add("GatewayBackup", name, spec)
    world.run(ref)
    return ref, world.cluster.status(ref)


def conditions(status: dict[str, Any]) -> dict[str, str]:
    """The condition statuses by condition type."""
    return {one["type"]: one["status"] for one in status["conditions"]}


def test_suspicious_backup_is_completed_with_one_warning() -> None:
    world = World()
    world.admin.counts = Counts(configs=1, projects=1, users=10, api_keys=4)
    _, first = one_more(world, "first")
    assert "changes" not in first
    world.admin.counts = Counts(configs=1, projects=1, users=3, api_keys=4)
    world.admin.live = "smaller"
    _, second = one_more(world, "second")
    assert (second["phase"], second["reason"]) == ("Completed", "Suspicious")
    assert conditions(second) == {
        "Finished": "True",
        "Completed": "True",
        "Failed": "False",
        "Suspicious": "True",
        "Ready": "True",
    }
    assert second["changes"]["summary"] == "-7 users"
    assert [(note.reason, note.warning) for note in world.cluster.events] == [
        ("BackedUp", False),
        ("Suspicious", True),
    ]
    world.admin.live = "smaller still"
    _, third = one_more(world, "third")
    assert (third["reason"], third["changes"]["comparedTo"]) == ("Suspicious", "first")
    world.cluster.objects["GatewayBackup", "third"]["spec"]["accepted"] = True
    _, fourth = one_more(world, "fourth")
    assert (fourth["reason"], fourth["changes"]["comparedTo"]) == ("BackedUp", "third")
    assert "Suspicious" not in conditions(fourth)


def test_changes_compare_within_the_set_and_content_within_the_gateway() -> None:
    world = World()
    one_more(world, "daily-1", group="daily")
    world.admin.live = "other"
    one_more(world, "other", group="weekly")
    world.admin.live = "old"
    _, status = one_more(world, "daily-2", group="daily")
    assert status["changes"]["comparedTo"] == "daily-1"
    assert status["changes"]["summary"] == "unchanged"
    assert status["unchangedFrom"] == "daily-1"
    _, status = one_more(world, "weekly-2", group="weekly")
    assert status["changes"]["comparedTo"] == "other"
    assert status["unchangedFrom"] == "daily-1"


def test_ttl_starts_at_the_snapshot_time() -> None:
    world = World()
    _, status = one_more(world, "brief", ttl="1d")
    assert status["expiresAt"] == "2026-01-02T12:01:00Z"
    _, status = one_more(world, "lasting")
    assert "expiresAt" not in status


@pytest.mark.parametrize(("required", "phase"), [("Stored", "Completed"), ("Verified", "Failed")])
def test_level_below_the_required_one_fails(required: str, phase: str) -> None:
    world = World()
    world.admin.level = world.admin.verified_level = "Stored"
    _, status = one_more(world, "b", verification={"level": required})
    assert (status["phase"], status["reason"]) == (phase, "BackedUp" if phase == "Completed" else "NotVerified")
    assert world.faults.names.count("check_file") == (0 if required == "Stored" else 1)


def test_problem_of_a_verification_fails_the_backup() -> None:
    world = World()
    world.admin.level = "Stored"
    world.admin.problems = [Problem(code="BackupCorrupt", message="the file is torn")]
    _, status = one_more(world, "b")
    assert (status["phase"], status["reason"]) == ("Failed", "BackupCorrupt")
    assert "the file is torn" in status["message"]


def test_completion_is_one_status_write() -> None:
    world = World()
    one_more(world, "first", ttl="1d")
    writes = world.cluster.writes
    one_more(world, "second", ttl="1d")
    assert world.cluster.writes - writes == 2  # Running, Completed
