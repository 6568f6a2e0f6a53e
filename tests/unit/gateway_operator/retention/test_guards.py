"""Tests of the safety checks that prevent deletions, and of the result of a pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.names import APPROVE_DELETIONS
from gateway_operator.domain.retention.guards import DeletionHold, SetObservation, approvable_holds, first_hold
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.policy import FailedLimits, RetentionPolicy
from gateway_operator.domain.retention.result import FORGET, deletion_event, explain, summarize
from gateway_operator.domain.retention.volume import SetInventory
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from tests.unit.gateway_operator.retention.test_plan import daily
from tests.unit.gateway_operator.retention.test_plan_properties import histories, policies
from tests.unit.gateway_operator.summaries import summary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FINE = SetObservation(True, NOW, NOW, present=8, left_before=8)


def schedule(generation: int = 1, uid: str = "u", approve: str = "") -> GatewayBackupSchedule:
    """A schedule with this annotation."""
    meta = {"namespace": "prod", "name": "nightly", "uid": uid, "generation": generation}
    return GatewayBackupSchedule.parse({"metadata": {**meta, "annotations": {APPROVE_DELETIONS: approve}}})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"complete": False}, "ListingIncomplete"),
        ({"files_problem": "It does not answer."}, "ListingIncomplete"),
        ({"newest": NOW + timedelta(minutes=2)}, "ClockBehind"),
        ({"newest": NOW + timedelta(seconds=30)}, None),
        ({"newest": NOW - timedelta(days=400)}, None),
        ({"newest": None}, None),
        ({"server_time": NOW - timedelta(days=365)}, "ClockDiffers"),
        ({"server_time": NOW + timedelta(days=1)}, "ClockDiffers"),
        ({"server_time": NOW + timedelta(seconds=30)}, None),
        ({"server_time": None}, None),
        ({"inventory": SetInventory(8, tuple("abcd"))}, "InventoryShrank"),
        ({"inventory": SetInventory(8, tuple("abc"))}, None),
        ({"inventory": SetInventory(8, tuple("ab"), tuple("xy"))}, "InventoryShrank"),
        ({"inventory": SetInventory(8, (), tuple("wxyz"))}, "InventoryShrank"),
        ({"inventory": SetInventory(1, ("a",))}, "InventoryShrank"),
        ({"deletions": "abcd"}, "LargeDeletion"),
        ({"deletions": "abc"}, None),
        ({"deletions": "abc", "present": 6}, "LargeDeletion"),
        ({"deletions": "ab", "present": 3}, None),
        ({"deletions": "abcd", "present": 9, "left_before": 8}, None),
        ({"deletions": "abcd", "present": 30, "left_before": 8}, None),
        ({"deletions": "abcd", "present": 8, "left_before": None}, "LargeDeletion"),
        ({"deletions": "abc", "present": 8, "left_before": None}, None),
        ({"deletions": "abc", "present": 8, "left_before": 12}, "LargeDeletion"),
    ],
)
def test_first_hold(change: dict[str, object], reason: str | None) -> None:
    hold = first_hold(replace(FINE, schedule=schedule(), **change), NOW)  # type: ignore[arg-type]
    assert (hold.reason if hold else None) == reason


LOSS = replace(FINE, inventory=SetInventory(8, tuple("abcd")), deletions="abcde", schedule=schedule())


def test_each_hold_is_approved_by_its_own_nonce() -> None:
    holds = approvable_holds(LOSS)
    assert [one.reason for one in holds] == ["InventoryShrank", "LargeDeletion"]
    assert "kubectl gateway retention approve -n prod nightly" in holds[0].message
    assert holds[1].nonce in holds[1].message
    for number, left in ((1, "LargeDeletion"), (2, None)):
        approved = ",".join(one.nonce for one in holds[:number])
        hold = first_hold(replace(LOSS, schedule=schedule(approve=approved)), NOW)
        assert (hold.reason if hold else None) == left


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": schedule(generation=2)},
        {"schedule": schedule(uid="created-again")},
        {"inventory": SetInventory(9, tuple("abcde"))},
        {"inventory": SetInventory(8, tuple("abc"), ("x",))},
    ],
    ids=["other policy", "created again", "larger loss", "other loss"],
)
def test_approval_ends_with_the_policy_and_the_loss(change: dict[str, Any]) -> None:
    nonce = approvable_holds(LOSS)[0].nonce
    other = replace(LOSS, **change)
    assert nonce not in {one.nonce for one in approvable_holds(other)}
    assert [one.nonce for one in approvable_holds(replace(LOSS, present=20))] == [nonce]


@pytest.mark.parametrize("text", ["true", "yes", "*", "", ",", "InventoryShrank"])
def test_guessed_approval_has_no_effect(text: str) -> None:
    hold = first_hold(replace(LOSS, schedule=schedule(approve=text)), NOW)
    assert hold is not None
    assert hold.reason == "InventoryShrank"


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
    assert outcome.inventory == (outcome.kept if outcome.applied else FORGET)
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
