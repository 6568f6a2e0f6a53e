"""Tests of the safety checks that prevent deletions, and of the result of a pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.retention.guards import DeletionHold, SetObservation, first_hold
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.policy import FailedLimits, RetentionPolicy
from gateway_operator.domain.retention.result import deletion_event, explain, summarize
from tests.unit.gateway_operator.retention.test_plan import daily
from tests.unit.gateway_operator.retention.test_plan_properties import histories, policies
from tests.unit.gateway_operator.summaries import summary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FINE = SetObservation(True, NOW, NOW, 7, 8, annotate_target="gwbs nightly")


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
def test_first_hold(change: dict[str, object], reason: str | None) -> None:
    hold = first_hold(replace(FINE, **change), NOW)  # type: ignore[arg-type]
    assert (hold.reason if hold else None) == reason


def test_hold_message_has_the_acknowledge_command() -> None:
    hold = first_hold(replace(FINE, inventory=3), NOW)
    assert hold is not None
    assert hold.message == (
        "Nothing is deleted: 3 of 8 good backups are left since the last pass. To acknowledge this change: "
        "kubectl annotate gwbs nightly --overwrite mcpgateway.dev/accept-inventory=3/8"
    )


holds = st.sampled_from([DeletionHold("ClockBehind", "No."), DeletionHold("InventoryShrank", "No.")])  # type: ignore[arg-type]


@given(histories, policies, holds)
@settings(max_examples=200, deadline=None)
def test_nothing_is_deleted_under_a_hold(
    entries: list[BackupSummary], policy: RetentionPolicy, hold: DeletionHold
) -> None:
    decisions = plan(entries, policy, NOW)
    outcome = summarize(decisions, policy, hold)
    assert outcome.deletions == ()
    assert not outcome.applied
    assert outcome.inventory is None, "a hold must keep the recorded inventory"
    assert summarize(decisions, "timeZone is wrong.", None).deletions == ()


@given(histories, policies)
@settings(max_examples=200, deadline=None)
def test_pass_deletes_oldest_first_what_the_plan_deletes(entries: list[BackupSummary], policy: RetentionPolicy) -> None:
    decisions = plan(entries, policy, NOW)
    outcome = summarize(decisions, policy, None)
    going = [one for one in decisions if not one.keep and (one.cause == "ttl" or not policy.dry_run)]
    assert list(outcome.deletions) == going[::-1]
    assert outcome.inventory == outcome.kept
    assert all(deletion_event(one).message for one in going)
    assert len(explain(decisions)) == len(decisions)


@pytest.mark.parametrize(
    ("policy", "reason", "message", "deleted"),
    [
        (RetentionPolicy(), "NoPolicy", "No rule deletes a backup: all are kept.", 0),
        (RetentionPolicy(keep_last=2), "Applied", "2 backups are kept.", 3),
        (RetentionPolicy(keep_last=2, dry_run=True), "DryRun", "A dry run: 3 of 5 would be deleted.", 0),
        (RetentionPolicy(failed=FailedLimits(keep_last=1)), "Applied", "5 backups are kept.", 0),
    ],
)
def test_message_of_a_pass(policy: RetentionPolicy, reason: str, message: str, deleted: int) -> None:
    outcome = summarize(plan(daily(5), policy, NOW), policy, None)
    assert (outcome.reason, outcome.message, len(outcome.deletions)) == (reason, message, deleted)


def test_dry_run_does_not_prevent_ttl() -> None:
    entries = [*daily(3), summary("brief", NOW - timedelta(hours=3), ttl=timedelta(hours=1))]
    policy = RetentionPolicy(keep_last=1, dry_run=True)
    assert [one.backup.name for one in summarize(plan(entries, policy, NOW), policy, None).deletions] == ["brief"]


def test_explain_rows() -> None:
    entries = [*daily(2), summary("now", NOW, phase="", level="")]
    rows = explain(plan(entries, RetentionPolicy(max_age=timedelta(hours=9)), NOW))
    assert [tuple(row) for row in rows] == [
        ("now", "2026-11-24T12:00:00Z", "Pending", "", "keep", "no rule deletes it", ""),
        ("d0", "2026-11-24T11:00:00Z", "Completed", "Verified", "keep", "minKeep, maxAge 9h", ""),
        ("d1", "2026-11-23T11:00:00Z", "Completed", "Verified", "delete", "older than maxAge 9h", ""),
    ]
