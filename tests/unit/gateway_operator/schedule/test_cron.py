"""Tests of the next time of a cron expression: examples, a scan of every minute, and answers of robfig/cron."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.schedule.cron import next_time

EXPECTED = json.loads((Path(__file__).with_name("robfig_cron.json")).read_text())


def at(text: str) -> datetime:
    """The time in UTC from text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "due"),
    [
        ("0 2 * * *", "UTC", "2026-01-01T01:59:59", "2026-01-01T02:00:00"),
        ("0 2 * * *", "UTC", "2026-01-01T02:00:00", "2026-01-02T02:00:00"),
        ("0 2 * * *", "Europe/Berlin", "2026-01-01T00:00:00", "2026-01-01T01:00:00"),
        ("*/15 * * * *", "UTC", "2026-01-01T00:14:30", "2026-01-01T00:15:00"),
        ("5/20 * * * *", "UTC", "2026-01-01T00:26:00", "2026-01-01T00:45:00"),
        ("@hourly", "Asia/Kolkata", "2026-01-01T00:00:00", "2026-01-01T00:30:00"),
        ("0 0 13 * fri", "UTC", "2026-03-01T00:00:00", "2026-03-06T00:00:00"),
        ("0 0 13 * ?", "UTC", "2026-03-01T00:00:00", "2026-03-13T00:00:00"),
        ("0 0 */2 * fri", "UTC", "2026-03-06T00:00:00", "2026-03-07T00:00:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 30 2 *", "UTC", "2026-01-01T00:00:00", None),
        # Summer time begins: 02:30 does not exist on that day. Summer time ends: 02:30 exists twice.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00", "2026-03-30T00:30:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-25T01:30:00"),
        # A zone whose clock skips midnight, and one that shifts by half an hour.
        ("0 0 * * *", "America/Havana", "2026-03-07T12:00:00", "2026-03-09T04:00:00"),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00", "2026-10-04T15:15:00"),
    ],
)
def test_next_time_in_the_zone(schedule: str, zone: str, now: str, due: str | None) -> None:
    assert next_time(schedule, zone, at(now)) == (at(due) if due else None)


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: f"{case['schedule']} {case['zone']} {case['after']}")
def test_next_time_equals_robfig_cron(case: dict[str, str]) -> None:
    """Answers of robfig/cron v3.0.1, the parser of the CronJob controller (robfig_cron.md)."""
    due = next_time(case["schedule"], case["zone"], at(case["after"]))
    assert due == (at(case["next"]) if case["next"] else None)


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "5-1 * * * *",
     "*/0 * * * *", "a * * * *", "1, * * * *", "@every 1h", "@reboot", "-1 * * * *", "1-2-3 * * * *", "٣ * * * *"],
)  # fmt: skip
def test_an_invalid_expression_has_no_next_time(schedule: str) -> None:
    assert next_time(schedule, "UTC", at("2026-01-01T00:00:00")) is None


def test_unknown_zone_has_no_next_time() -> None:
    for zone in ("Mars/Olympus", "", "../etc/passwd", "/etc/localtime"):
        assert next_time("0 2 * * *", zone, at("2026-01-01T00:00:00")) is None


# Without zones whose clocks skip midnight or change by half an hour: robfig_cron.md says why.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia")


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 59), st.integers(0, 23), st.sampled_from(ZONES),
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - the zone is added below
)  # fmt: skip
def test_a_daily_time_is_the_first_minute_whose_wall_clock_fits(
    minute: int, hour: int, zone: str, naive: datetime
) -> None:
    after = naive.replace(tzinfo=UTC)
    moment = after.replace(second=0, microsecond=0)
    tz = ZoneInfo(zone)
    while True:
        moment += timedelta(minutes=1)
        local = moment.astimezone(tz)
        if (local.hour, local.minute) == (hour, minute):
            break
    assert next_time(f"{minute} {hour} * * *", zone, after) == moment
