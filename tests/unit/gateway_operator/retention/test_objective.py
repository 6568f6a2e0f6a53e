"""Tests of the condition for the recovery point objective."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway_operator.domain.retention.status import check_objective

CREATED = datetime(2026, 11, 20, tzinfo=UTC)
LIMIT = timedelta(hours=26)


@pytest.mark.parametrize(
    ("newest", "now", "met"),
    [
        (None, CREATED + LIMIT, True),
        (None, CREATED + LIMIT + timedelta(seconds=1), False),
        (CREATED + timedelta(days=2), CREATED + timedelta(days=3), True),
        (CREATED + timedelta(days=2), CREATED + timedelta(days=4), False),
        # an adopted backup may be older than the schedule
        (CREATED - timedelta(days=9), CREATED + timedelta(hours=1), False),
        # the clocks differ
        (CREATED + timedelta(days=9), CREATED + timedelta(days=1), True),
    ],
)
def test_only_the_age_of_the_newest_verified_backup_counts(newest: datetime | None, now: datetime, met: bool) -> None:
    result = check_objective(LIMIT, newest, CREATED, now)
    assert result.met is met
    assert result.reason == ("ObjectiveMet" if met else "ObjectiveMissed")
    assert "1d2h" in result.message


def test_the_message_does_not_change_while_nothing_happens() -> None:
    first = check_objective(LIMIT, CREATED, CREATED, CREATED + timedelta(days=3))
    assert first == check_objective(LIMIT, CREATED, CREATED, CREATED + timedelta(days=4))
    assert first.message == (
        "The newest Verified backup is from 2026-11-20T00:00:00Z; objective.maxAge is 1d2h. The objective is missed."
    )
