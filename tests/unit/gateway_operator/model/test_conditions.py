"""Tests of conditions and their transition times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway_operator.domain.model import conditions, timestamps

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_transition_time_changes_only_with_the_status() -> None:
    first = conditions.with_condition([], "Authorized", False, "NotAuthorized", "no", 1, NOW)
    later = NOW + timedelta(hours=1)
    same = conditions.with_condition(first, "Authorized", False, "NotAuthorized", "still", 2, later)
    assert same[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    assert same[0]["message"] == "still"
    turned = conditions.with_condition(same, "Authorized", True, "Authorized", "yes", 2, later)
    assert turned[0]["lastTransitionTime"] == timestamps.text(later)
    end = conditions.terminal_conditions(turned, True, "BackedUp", "there", 2, later)
    assert [one["type"] for one in end] == ["Authorized", "Finished", "Completed", "Failed"]
