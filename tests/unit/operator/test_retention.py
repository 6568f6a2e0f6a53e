"""The rules of retention, one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway_operator.domain.backup_index import BackupSummary
from gateway_operator.domain.retention import Cause, Decision, Limits, Policy, plan, span
from gateway_operator.domain.retention_policy import parse
from tests.unit.operator.summaries import summary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def daily(number: int, **fields: Any) -> list[BackupSummary]:
    """One backup a day, ``d0`` an hour ago."""
    return [summary(f"d{day}", NOW - HOUR - day * DAY, **fields) for day in range(number)]


def names(decisions: list[Decision]) -> list[str]:
    """Those that are kept."""
    return [one.backup.name for one in decisions if one.keep]


def of(decisions: list[Decision], name: str) -> Decision:
    """What becomes of one."""
    return next(one for one in decisions if one.backup.name == name)


def test_without_a_policy_everything_is_kept_and_nothing_is_said() -> None:
    decisions = plan(daily(50), Policy(), NOW)
    assert len(names(decisions)) == 50
    assert {one.reasons for one in decisions} == {()}
    assert {one.expires_at for one in decisions} == {None}


@pytest.mark.parametrize(
    "spec", [{}, {"keepLast": 0}, {"keepWithin": "0s"}, {"minKeep": 3}, {"failed": {"keepLast": 0}}]
)
def test_a_rule_of_nought_is_no_rule(spec: dict[str, object]) -> None:
    assert len(names(plan(daily(9), parse(spec), NOW))) == 9


def test_keep_last_keeps_the_newest() -> None:
    decisions = plan(daily(5), Policy(keep_last=2), NOW)
    assert names(decisions) == ["d0", "d1"]
    assert of(decisions, "d0").reasons == ("minKeep", "keepLast")
    assert of(decisions, "d2") == (daily(5)[2], Cause.retention, ("no rule keeps it",), None)


def test_each_unit_keeps_its_newest_and_says_which() -> None:
    policy = Policy(keep_hourly=1, keep_daily=2, keep_weekly=2, keep_monthly=2, keep_yearly=2)
    decisions = plan(daily(400), policy, NOW)
    assert {one.backup.name: one.reasons for one in decisions if one.keep} == {
        "d0": ("minKeep", "keepHourly 2026-11-24T11", "keepDaily 2026-11-24", "keepWeekly 2026-W48",
               "keepMonthly 2026-11", "keepYearly 2026"),
        "d1": ("keepDaily 2026-11-23",),
        "d2": ("keepWeekly 2026-W47",),
        "d24": ("keepMonthly 2026-10",),
        "d328": ("keepYearly 2025",),
    }  # fmt: skip


def test_units_without_a_backup_are_not_counted() -> None:
    entries = [summary("new", NOW - HOUR), summary("old", NOW - 900 * DAY)]
    assert names(plan(entries, Policy(keep_daily=2), NOW)) == ["new", "old"]


def test_within_goes_by_the_clock_and_not_by_the_newest() -> None:
    decisions = plan(daily(5), Policy(keep_within=2 * DAY), NOW + 30 * DAY)
    assert names(decisions) == ["d0"]
    assert of(decisions, "d0").reasons == ("minKeep",)
    young = plan(daily(5), Policy(keep_within=2 * DAY), NOW)
    assert names(young) == ["d0", "d1"]
    assert of(young, "d1") == (daily(5)[1], None, ("keepWithin 2d",), NOW + 2 * DAY - DAY - HOUR)


def test_the_greatest_age_is_stronger_than_a_rule() -> None:
    decisions = plan(daily(9), Policy(keep_last=8, max_age=3 * DAY), NOW)
    assert names(decisions) == ["d0", "d1", "d2"]
    assert of(decisions, "d3").reasons == ("older than maxAge 3d",)
    assert of(decisions, "d2").expires_at == daily(9)[2].time + 3 * DAY


def test_the_greatest_age_alone_keeps_all_that_is_younger() -> None:
    decisions = plan(daily(9), Policy(max_age=3 * DAY), NOW)
    assert names(decisions) == ["d0", "d1", "d2"]
    assert of(decisions, "d2").reasons == ("maxAge 3d",)


def test_one_that_has_outlived_its_ttl_takes_no_place() -> None:
    entries = daily(4)
    entries[1] = replace(entries[1], ttl=HOUR)
    decisions = plan(entries, Policy(keep_last=2), NOW)
    assert names(decisions) == ["d0", "d2"]
    assert of(decisions, "d1") == (entries[1], Cause.ttl, ("older than its ttl 1h",), None)


def test_a_ttl_needs_no_policy_and_is_no_promise_to_keep() -> None:
    entries = [*daily(2), summary("short", NOW - DAY, ttl=HOUR), summary("long", NOW - 3 * DAY, ttl=30 * DAY)]
    assert names(plan(entries, Policy(), NOW)) == ["d0", "d1", "long"]
    assert of(plan(entries, Policy(), NOW), "long").expires_at == NOW + 27 * DAY
    assert names(plan(entries, Policy(keep_last=2), NOW)) == ["d0", "d1"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pinned": True}, "pinned"),
        ({"restores": ("again",)}, "restore again"),
        ({"adopted": True}, "adopted"),
        ({"suspicious": True}, "suspicious"),
    ],
)
@pytest.mark.parametrize("ttl", [None, HOUR])
@pytest.mark.parametrize("policy", [Policy(keep_last=1), Policy(max_age=HOUR), Policy(keep_daily=1, max_age=DAY)])
def test_kept_whatever_the_policy_and_the_ttl_say(
    fields: dict[str, Any], reason: str, ttl: timedelta | None, policy: Policy
) -> None:
    entries = [*daily(1), summary("old", NOW - 90 * DAY, ttl=ttl, **fields)]
    found = of(plan(entries, policy, NOW), "old")
    assert found.keep
    assert reason in found.reasons
    assert found.expires_at is None


def test_a_restore_keeps_a_failed_one_too() -> None:
    entry = summary("bad", NOW - DAY, phase="Failed", restores=("again",))
    assert plan([entry], Policy(failed=Limits(keep_last=0, max_age=HOUR)), NOW)[0].keep


def test_the_newest_verified_are_kept() -> None:
    entries = daily(6)
    entries[0] = replace(entries[0], level="Stored")
    decisions = plan(entries, Policy(max_age=HOUR, min_keep=2), NOW)
    assert names(decisions) == ["d1", "d2"]
    assert of(decisions, "d1").reasons == ("minKeep",)


def test_the_newest_verified_are_kept_on_each_volume() -> None:
    entries = [replace(one, volume_id=f"v{number % 2}") for number, one in enumerate(daily(6))]
    assert names(plan(entries, Policy(max_age=HOUR), NOW)) == ["d0", "d1"]


def test_stored_ones_count_for_the_rules() -> None:
    entries = daily(4)
    entries[0] = replace(entries[0], level="Stored")
    assert names(plan(entries, Policy(keep_last=1), NOW)) == ["d0", "d1"]  # the second is the only Verified that must


def test_the_one_before_a_suspicious_one_is_kept_and_neither_counts_against_the_others() -> None:
    entries = daily(6)
    entries[2], entries[3] = replace(entries[2], suspicious=True), replace(entries[3], suspicious=True)
    decisions = plan(entries, Policy(keep_last=1), NOW)
    assert names(decisions) == ["d0", "d2", "d3", "d4"]
    assert of(decisions, "d4").reasons == ("before d3",)
    assert of(decisions, "d2").reasons == ("suspicious",)


def test_accepted_suspicious_backup_is_like_any_other() -> None:
    backups = daily(6, suspicious=True, accepted=True)
    assert names(plan(backups, Policy(keep_last=1), NOW)) == ["d0"]


def test_failed_ones_never_count() -> None:
    entries = [
        *daily(3, phase="Failed"),
        *(replace(one, name=f"g{one.name}", snapshot_time=one.time - 5 * DAY) for one in daily(3)),
    ]
    decisions = plan(entries, Policy(keep_last=3, keep_daily=3), NOW)
    assert len(names(decisions)) == 6
    decisions = plan(entries, Policy(keep_last=3, failed=Limits(keep_last=1)), NOW)
    assert names(decisions) == ["d0", "gd0", "gd1", "gd2"]
    assert of(decisions, "d0").reasons == ("failed.keepLast",)
    assert of(decisions, "d1").cause is Cause.failed


def test_failed_ones_go_by_age_even_where_all_good_ones_are_kept() -> None:
    decisions = plan(
        [*daily(3, phase="Failed"), summary("good", NOW - 99 * DAY)], Policy(failed=Limits(max_age=DAY)), NOW
    )
    assert names(decisions) == ["d0", "good"]
    assert of(decisions, "d0").expires_at == NOW - HOUR + DAY


@pytest.mark.parametrize("phase", ["", "Pending", "Running", "Verifying"])
def test_an_unfinished_one_is_never_touched(phase: str) -> None:
    entry = summary("now", NOW - 999 * DAY, phase=phase, ttl=HOUR)
    decision = plan([entry, *daily(1)], Policy(keep_last=1, max_age=HOUR, failed=Limits(0, HOUR)), NOW)[-1]
    assert decision == (entry, None, (), None)


@pytest.mark.parametrize("fields", [{"deleting_since": NOW}, {"phase": "Deleting"}])
def test_backup_being_deleted_counts_for_nothing(fields: dict[str, Any]) -> None:
    entries = daily(3)
    entries[0] = replace(entries[0], **fields)
    assert names(plan(entries, Policy(keep_last=1), NOW)) == ["d1"]


def test_adopted_ones_wait_for_a_person_or_a_policy() -> None:
    entries = [
        *daily(1),
        *(replace(one, name=f"a{one.name}", snapshot_time=one.time - DAY, adopted=True) for one in daily(3)),
    ]
    assert len(names(plan(entries, Policy(keep_last=2), NOW))) == 4
    assert names(plan(entries, Policy(keep_last=2, include_adopted=True), NOW)) == ["d0", "ad0"]


def test_a_policy_of_a_backup_binds_those_that_carry_one() -> None:
    entries = [replace(one, policy={} if number % 2 == 0 else None) for number, one in enumerate(daily(6))]
    decisions = plan(entries, Policy(keep_last=2, own_only=True), NOW)
    assert names(decisions) == ["d0", "d1", "d2", "d3", "d5"]
    assert of(decisions, "d3").reasons == ("no policy of its own",)


def test_a_dry_run_promises_no_end() -> None:
    assert of(plan(daily(2), Policy(max_age=9 * DAY, dry_run=True), NOW), "d1").expires_at is None


def test_a_limit_of_ten_thousand_years_is_no_error() -> None:
    decisions = plan(daily(2), parse({"maxAge": "99999w", "keepWithin": "99999w99999d"}), NOW)
    assert names(decisions) == ["d0", "d1"]
    assert decisions[1].expires_at is not None or decisions[1].expires_at is None


BERLIN = ZoneInfo("Europe/Berlin")


def at(*times: datetime) -> list[BackupSummary]:
    """Backups of these times."""
    return [summary(f"b{number}", time) for number, time in enumerate(times)]


def test_days_are_those_of_the_time_zone() -> None:
    late = at(datetime(2026, 7, 1, 21, 59, tzinfo=UTC), datetime(2026, 7, 1, 22, 1, tzinfo=UTC))
    now = datetime(2026, 7, 2, tzinfo=UTC)
    assert names(plan(late, Policy(keep_daily=9), now)) == ["b1"]
    assert names(plan(late, Policy(keep_daily=9, zone=BERLIN), now)) == ["b1", "b0"]


def test_a_day_of_25_hours_is_one_day_and_its_doubled_hour_is_two() -> None:
    night = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin, where 02:00 to 03:00 comes twice
    hours = at(*(night + number * HOUR for number in range(25)))
    now = night + DAY + HOUR
    assert names(plan(hours, Policy(keep_daily=9, zone=BERLIN), now)) == ["b24"]
    decisions = plan(hours, Policy(keep_hourly=25, zone=BERLIN), now)
    assert len(names(decisions)) == 25
    assert of(decisions, "b2").reasons == ("keepHourly 2026-10-25T02",)
    assert of(decisions, "b3").reasons == ("keepHourly 2026-10-25T02+0100",)
    after = at(night + 25 * HOUR)
    assert len(names(plan([*hours[1:], replace(after[0], name="next")], Policy(keep_daily=9, zone=BERLIN), now))) == 2


def test_a_day_of_23_hours_is_one_day() -> None:
    night = datetime(2026, 3, 28, 23, tzinfo=UTC)
    hours = at(*(night + number * HOUR for number in range(23)))
    now = night + DAY
    assert names(plan(hours, Policy(keep_daily=9, zone=BERLIN), now)) == ["b22"]
    assert len(names(plan(hours, Policy(keep_hourly=99, zone=BERLIN), now))) == 23


def test_an_iso_week_begins_on_monday_and_may_belong_to_another_year() -> None:
    days = at(datetime(2027, 1, 3, tzinfo=UTC), datetime(2027, 1, 4, tzinfo=UTC), datetime(2026, 12, 28, tzinfo=UTC))
    decisions = plan(days, Policy(keep_weekly=9), datetime(2027, 2, 1, tzinfo=UTC))
    assert names(decisions) == ["b1", "b0"]
    assert of(decisions, "b0").reasons == ("keepWeekly 2026-W53",)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"timeZone": "Mars/Olympus"}, "timeZone 'Mars/Olympus' is not in the time zone database."),
        ({"timeZone": "../../etc/passwd"}, "is not in the time zone database."),
        ({"timeZone": "Europe/"}, "is not in the time zone database."),
        ({"keepLast": "7"}, "keepLast is a whole number from 0 on, not '7'."),
        ({"keepDaily": -1}, "keepDaily is a whole number from 0 on, not '-1'."),
        ({"maxAge": "1y"}, "maxAge is a duration such as 30d or 36h, not '1y'."),
        ({"failed": {"maxAge": ""}}, "maxAge is a duration"),
    ],
)
def test_what_cannot_be_understood_is_said(spec: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", "\\(").replace("..", "")):
        parse(spec)


def test_a_whole_policy_is_read() -> None:
    spec = {
        "keepLast": 1, "keepHourly": 2, "keepDaily": 3, "keepWeekly": 4, "keepMonthly": 5, "keepYearly": 6,
        "keepWithin": "7d", "maxAge": "52w", "minKeep": 8, "timeZone": "Europe/Berlin",
        "failed": {"keepLast": 0, "maxAge": "2d"}, "includeAdopted": True, "dryRun": True,
    }  # fmt: skip
    assert parse(spec, own_only=True) == Policy(
        1, 2, 3, 4, 5, 6, 7 * DAY, 364 * DAY, 8, BERLIN, Limits(0, 2 * DAY), include_adopted=True, dry_run=True,
        own_only=True,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["0s", "1s", "2d", "1d12h", "3m4s", "36d5h"])
def test_a_span_reads_as_a_spec_writes_it(text: str) -> None:
    from gateway_operator.domain.durations import parse as duration

    assert span(duration(text)) == text
