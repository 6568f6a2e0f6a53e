"""The brakes: when nothing is deleted, and what is said about it. And what a pass says at its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.backup_index import BackupSummary
from gateway_operator.domain.retention import Limits, Policy, plan
from gateway_operator.domain.retention_brakes import Brake, Seen, brake
from gateway_operator.domain.retention_explain import explain
from gateway_operator.domain.retention_outcome import conclude, note
from tests.unit.operator.summaries import summary
from tests.unit.operator.test_retention import daily
from tests.unit.operator.test_retention_properties import histories, policies

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FINE = Seen(True, NOW, NOW, 7, 8, hint="gwbs nightly")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"complete": False}, "ListingIncomplete"),
        ({"newest": NOW + timedelta(minutes=2)}, "ClockBehind"),
        ({"newest": NOW + timedelta(seconds=30)}, None),
        ({"newest": NOW - timedelta(days=400)}, None),
        ({"newest": None, "inventory": 0, "before": 0}, None),
        ({"server_time": NOW - timedelta(days=365)}, "ClockDiffers"),
        ({"server_time": NOW + timedelta(days=1)}, "ClockDiffers"),
        ({"server_time": NOW + timedelta(seconds=30)}, None),
        ({"server_time": None}, None),
        ({"inventory": 4}, "InventoryShrank"),
        ({"inventory": 5}, None),
        ({"inventory": 0}, "InventoryShrank"),
        ({"inventory": 0, "before": None}, None),
        ({"inventory": 4, "accepted": "4/8"}, None),
        ({"inventory": 5, "accepted": "4/8"}, None),
        ({"inventory": 3, "accepted": "4/8"}, "InventoryShrank"),
        ({"inventory": 4, "accepted": "4/9"}, "InventoryShrank"),
        ({"inventory": 4, "accepted": "yes"}, "InventoryShrank"),
        ({"inventory": 4, "accepted": "²/8"}, "InventoryShrank"),
        ({"inventory": 9, "before": 8}, None),
    ],
)
def test_a_brake(change: dict[str, object], reason: str | None) -> None:
    found = brake(replace(FINE, **change), NOW)  # type: ignore[arg-type]
    assert (found.reason if found else None) == reason


def test_the_message_says_how_to_lift_it() -> None:
    found = brake(replace(FINE, inventory=3), NOW)
    assert found is not None
    assert found.message == (
        "Nothing is deleted: of 8 good backups of the last pass 3 are left. If that is right: "
        "kubectl annotate gwbs nightly --overwrite mcpgateway.dev/accept-inventory=3/8"
    )


brakes = st.sampled_from([Brake("ClockBehind", "No."), Brake("InventoryShrank", "No.")])  # type: ignore[arg-type]


@given(histories, policies, brakes)
@settings(max_examples=200, deadline=None)
def test_nothing_is_deleted_when_a_brake_is_on(entries: list[BackupSummary], policy: Policy, on: Brake) -> None:
    decisions = plan(entries, policy, NOW)
    outcome = conclude(decisions, policy, on)
    assert outcome.deletions == ()
    assert not outcome.applied
    assert outcome.inventory is None, "what was known before must not be forgotten"
    assert conclude(decisions, "timeZone is wrong.", None).deletions == ()


@given(histories, policies)
@settings(max_examples=200, deadline=None)
def test_a_pass_deletes_what_the_plan_lets_go_the_oldest_first(entries: list[BackupSummary], policy: Policy) -> None:
    decisions = plan(entries, policy, NOW)
    outcome = conclude(decisions, policy, None)
    going = [one for one in decisions if not one.keep and (one.cause == "ttl" or not policy.dry_run)]
    assert list(outcome.deletions) == going[::-1]
    assert outcome.inventory == outcome.kept
    assert all(note(one).message for one in going)
    assert len(explain(decisions)) == len(decisions)


@pytest.mark.parametrize(
    ("policy", "reason", "message", "deleted"),
    [
        (Policy(), "NoPolicy", "No rule lets a backup go: all are kept.", 0),
        (Policy(keep_last=2), "Applied", "2 backups are kept.", 3),
        (Policy(keep_last=2, dry_run=True), "DryRun", "A dry run: 3 of 5 would be deleted.", 0),
        (Policy(failed=Limits(keep_last=1)), "Applied", "5 backups are kept.", 0),
    ],
)
def test_what_a_pass_says(policy: Policy, reason: str, message: str, deleted: int) -> None:
    outcome = conclude(plan(daily(5), policy, NOW), policy, None)
    assert (outcome.reason, outcome.message, len(outcome.deletions)) == (reason, message, deleted)


def test_a_dry_run_holds_no_ttl_back() -> None:
    entries = [*daily(3), summary("brief", NOW - timedelta(hours=3), ttl=timedelta(hours=1))]
    policy = Policy(keep_last=1, dry_run=True)
    assert [one.backup.name for one in conclude(plan(entries, policy, NOW), policy, None).deletions] == ["brief"]


def test_a_plan_for_people() -> None:
    entries = [*daily(2), summary("now", NOW, phase="", level="")]
    rows = explain(plan(entries, Policy(max_age=timedelta(hours=9)), NOW))
    assert [tuple(row) for row in rows] == [
        ("now", "2026-11-24T12:00:00Z", "Pending", "", "keep", "no rule lets it go", ""),
        ("d0", "2026-11-24T11:00:00Z", "Completed", "Verified", "keep", "minKeep, maxAge 9h", ""),
        ("d1", "2026-11-23T11:00:00Z", "Completed", "Verified", "delete", "older than maxAge 9h", ""),
    ]
