"""Tests of each retention rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.model.durations import span
from gateway_operator.domain.model.identifiers import SetKind
from gateway_operator.domain.retention.plan import DeletionCause, RetentionDecision, plan
from gateway_operator.domain.retention.policy import FailedLimits, RetentionPolicy, parse
from tests.unit.gateway_operator.summaries import SET_ID, summary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def daily(number: int, **fields: Any) -> list[BackupSummary]:
    """One backup a day, ``d0`` an hour ago."""
    return [summary(f"d{day}", NOW - HOUR - day * DAY, **fields) for day in range(number)]


def names(decisions: list[RetentionDecision]) -> list[str]:
    """The names of the kept backups."""
    return [one.backup.name for one in decisions if one.keep]


def decision_about(decisions: list[RetentionDecision], name: str) -> RetentionDecision:
    """The decision about the backup of that name."""
    return next(one for one in decisions if one.backup.name == name)


def test_without_a_policy_all_are_kept_without_reasons() -> None:
    decisions = plan(daily(50), RetentionPolicy(), NOW)
    assert len(names(decisions)) == 50
    assert {one.reasons for one in decisions} == {()}
    assert {one.expires_at for one in decisions} == {None}


@pytest.mark.parametrize(
    "spec", [{}, {"keepLast": 0}, {"keepWithin": "0s"}, {"minKeep": 3}, {"failed": {"keepLast": 0}}]
)
def test_rule_of_zero_is_no_rule(spec: dict[str, object]) -> None:
    assert len(names(plan(daily(9), parse(spec), NOW))) == 9


def test_keep_last_keeps_the_newest() -> None:
    decisions = plan(daily(5), RetentionPolicy(keep_last=2), NOW)
    assert names(decisions) == ["d0", "d1"]
    assert decision_about(decisions, "d0").reasons == ("minKeep", "keepLast")
    assert decision_about(decisions, "d2") == (daily(5)[2], DeletionCause.retention, ("no rule keeps it",), None)


def test_each_calendar_rule_keeps_the_newest_of_its_periods() -> None:
    policy = RetentionPolicy(keep_hourly=1, keep_daily=2, keep_weekly=2, keep_monthly=2, keep_yearly=2)
    decisions = plan(daily(400), policy, NOW)
    assert {one.backup.name: one.reasons for one in decisions if one.keep} == {
        "d0": ("minKeep", "keepHourly 2026-11-24T11", "keepDaily 2026-11-24", "keepWeekly 2026-W48",
               "keepMonthly 2026-11", "keepYearly 2026"),
        "d1": ("keepDaily 2026-11-23",),
        "d2": ("keepWeekly 2026-W47",),
        "d24": ("keepMonthly 2026-10",),
        "d328": ("keepYearly 2025",),
    }  # fmt: skip


def test_periods_without_a_backup_do_not_count() -> None:
    entries = [summary("new", NOW - HOUR), summary("old", NOW - 900 * DAY)]
    assert names(plan(entries, RetentionPolicy(keep_daily=2), NOW)) == ["new", "old"]


def test_keep_within_counts_from_now() -> None:
    decisions = plan(daily(5), RetentionPolicy(keep_within=2 * DAY), NOW + 30 * DAY)
    assert names(decisions) == ["d0"]
    assert decision_about(decisions, "d0").reasons == ("minKeep",)
    young = plan(daily(5), RetentionPolicy(keep_within=2 * DAY), NOW)
    assert names(young) == ["d0", "d1"]
    assert decision_about(young, "d1") == (daily(5)[1], None, ("keepWithin 2d",), NOW + 2 * DAY - DAY - HOUR)


def test_max_age_overrides_rules() -> None:
    decisions = plan(daily(9), RetentionPolicy(keep_last=8, max_age=3 * DAY), NOW)
    assert names(decisions) == ["d0", "d1", "d2"]
    assert decision_about(decisions, "d3").reasons == ("older than maxAge 3d",)
    assert decision_about(decisions, "d2").expires_at == daily(9)[2].time + 3 * DAY


def test_max_age_alone_keeps_all_younger_backups() -> None:
    decisions = plan(daily(9), RetentionPolicy(max_age=3 * DAY), NOW)
    assert names(decisions) == ["d0", "d1", "d2"]
    assert decision_about(decisions, "d2").reasons == ("maxAge 3d",)


def test_backup_past_its_ttl_does_not_count_for_rules() -> None:
    entries = daily(4)
    entries[1] = replace(entries[1], ttl=HOUR)
    decisions = plan(entries, RetentionPolicy(keep_last=2), NOW)
    assert names(decisions) == ["d0", "d2"]
    assert decision_about(decisions, "d1") == (entries[1], DeletionCause.ttl, ("older than its ttl 1h",), None)


def test_ttl_works_without_a_policy_and_keeps_nothing() -> None:
    entries = [*daily(2), summary("short", NOW - DAY, ttl=HOUR), summary("long", NOW - 3 * DAY, ttl=30 * DAY)]
    assert names(plan(entries, RetentionPolicy(), NOW)) == ["d0", "d1", "long"]
    assert decision_about(plan(entries, RetentionPolicy(), NOW), "long").expires_at == NOW + 27 * DAY
    assert names(plan(entries, RetentionPolicy(keep_last=2), NOW)) == ["d0", "d1"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pinned": True}, "pinned"),
        ({"restores": ("again",)}, "restore again"),
        ({"suspicious": True}, "suspicious"),
    ],
)
@pytest.mark.parametrize("ttl", [None, HOUR])
@pytest.mark.parametrize(
    "policy", [RetentionPolicy(keep_last=1), RetentionPolicy(max_age=HOUR), RetentionPolicy(keep_daily=1, max_age=DAY)]
)
def test_protected_backups_are_kept(
    fields: dict[str, Any], reason: str, ttl: timedelta | None, policy: RetentionPolicy
) -> None:
    entries = [*daily(1), summary("old", NOW - 90 * DAY, ttl=ttl, **fields)]
    decision = decision_about(plan(entries, policy, NOW), "old")
    assert decision.keep
    assert reason in decision.reasons
    assert decision.expires_at is None


def test_restore_protects_a_failed_backup() -> None:
    entry = summary("bad", NOW - DAY, phase="Failed", restores=("again",))
    assert plan([entry], RetentionPolicy(failed=FailedLimits(keep_last=0, max_age=HOUR)), NOW)[0].keep


def test_min_keep_protects_the_newest_verified() -> None:
    entries = daily(6)
    entries[0] = replace(entries[0], level="Stored")
    decisions = plan(entries, RetentionPolicy(max_age=HOUR, min_keep=2), NOW)
    assert names(decisions) == ["d1", "d2"]
    assert decision_about(decisions, "d1").reasons == ("minKeep",)


@pytest.mark.parametrize("state", [one for one in FileState if one is not FileState.present])
@pytest.mark.parametrize("policy", [{"keepLast": 2}, {"maxAge": "1d"}, {"keepDaily": 2}, {"keepWithin": "1h"}])
def test_backup_without_its_file_counts_for_nothing(state: FileState, policy: dict[str, Any]) -> None:
    """The newest backups have lost their files: the older ones that have one stay, and minKeep counts only these."""
    lost = [replace(one, name=f"lost{number}", file=state) for number, one in enumerate(daily(3))]
    files = [replace(one, snapshot_time=one.time - 9 * DAY) for one in daily(2)]
    with_lost, without = plan([*lost, *files], parse(policy), NOW), plan(files, parse(policy), NOW)
    assert [one for one in with_lost if one.backup in files] == without
    assert all(one.keep for one in with_lost if one.backup in lost)


def test_record_of_a_missing_file_goes_after_failed_max_age_since_the_loss() -> None:
    for lost_for, keep in ((DAY, True), (3 * DAY, False)):
        entry = summary("old", NOW - 900 * DAY, file=FileState.absent, file_absent_since=NOW - lost_for, ttl=DAY)
        decision = plan([entry], RetentionPolicy(failed=FailedLimits(max_age=2 * DAY)), NOW)[0]
        assert decision.keep is keep
        assert not decision.deletes_file
        assert (decision.expires_at == NOW + DAY) is keep


@pytest.mark.parametrize("fields", [{"pinned": True}, {"restores": ("r",)}])
def test_protected_record_of_a_missing_file_stays(fields: dict[str, Any]) -> None:
    entry = summary("old", NOW, file=FileState.absent, file_absent_since=NOW - 9 * DAY, **fields)
    assert plan([entry], RetentionPolicy(failed=FailedLimits(max_age=DAY)), NOW)[0].keep


def test_ttl_deletes_an_adopted_file_without_a_manifest() -> None:
    entry = summary("foreign", NOW - DAY, file=FileState.unproven, ttl=HOUR)
    assert [one.cause for one in plan([entry, *daily(1)], RetentionPolicy(keep_last=1), NOW)] == [None, "ttl"]


def test_stored_backups_count_for_rules() -> None:
    entries = daily(4)
    entries[0] = replace(entries[0], level="Stored")
    assert names(plan(entries, RetentionPolicy(keep_last=1), NOW)) == [
        "d0",
        "d1",
    ]  # minKeep protects the only Verified one


def test_backup_before_a_suspicious_one_is_kept_in_addition() -> None:
    entries = daily(6)
    entries[2], entries[3] = replace(entries[2], suspicious=True), replace(entries[3], suspicious=True)
    decisions = plan(entries, RetentionPolicy(keep_last=1), NOW)
    assert names(decisions) == ["d0", "d2", "d3", "d4"]
    assert decision_about(decisions, "d4").reasons == ("before d3",)
    assert decision_about(decisions, "d2").reasons == ("suspicious",)


def test_accepted_suspicious_backup_is_like_any_other() -> None:
    backups = daily(6, suspicious=True, accepted=True)
    assert names(plan(backups, RetentionPolicy(keep_last=1), NOW)) == ["d0"]


def test_failed_backups_do_not_count_for_rules() -> None:
    entries = [
        *daily(3, phase="Failed"),
        *(replace(one, name=f"g{one.name}", snapshot_time=one.time - 5 * DAY) for one in daily(3)),
    ]
    decisions = plan(entries, RetentionPolicy(keep_last=3, keep_daily=3), NOW)
    assert len(names(decisions)) == 6
    decisions = plan(entries, RetentionPolicy(keep_last=3, failed=FailedLimits(keep_last=1)), NOW)
    assert names(decisions) == ["d0", "gd0", "gd1", "gd2"]
    assert decision_about(decisions, "d0").reasons == ("failed.keepLast",)
    assert decision_about(decisions, "d1").cause is DeletionCause.failed


def test_failed_backups_expire_when_all_completed_are_kept() -> None:
    decisions = plan(
        [*daily(3, phase="Failed"), summary("good", NOW - 99 * DAY)],
        RetentionPolicy(failed=FailedLimits(max_age=DAY)),
        NOW,
    )
    assert names(decisions) == ["d0", "good"]
    assert decision_about(decisions, "d0").expires_at == NOW - HOUR + DAY


@pytest.mark.parametrize("phase", ["", "Pending", "Running", "Verifying"])
def test_unfinished_backup_is_never_deleted(phase: str) -> None:
    entry = summary("now", NOW - 999 * DAY, phase=phase, ttl=HOUR)
    decision = plan([entry, *daily(1)], RetentionPolicy(keep_last=1, max_age=HOUR, failed=FailedLimits(0, HOUR)), NOW)[
        -1
    ]
    assert decision == (entry, None, (), None)


@pytest.mark.parametrize("fields", [{"deleting_since": NOW}, {"phase": "Deleting"}])
def test_backup_being_deleted_counts_for_nothing(fields: dict[str, Any]) -> None:
    entries = daily(3)
    entries[0] = replace(entries[0], **fields)
    assert names(plan(entries, RetentionPolicy(keep_last=1), NOW)) == ["d1"]


def test_failures_of_others_push_out_no_failure_of_the_schedule() -> None:
    group = replace(SET_ID, kind=SetKind.Group)
    others = [summary(f"o{number}", NOW - HOUR, phase="Failed", set_id=group) for number in range(5)]
    decisions = plan([*daily(2, phase="Failed"), *others], RetentionPolicy(failed=FailedLimits(keep_last=2)), NOW)
    assert names(decisions) == ["o4", "o3", "d0", "d1"]


def test_dry_run_shows_no_expiry() -> None:
    assert decision_about(plan(daily(2), RetentionPolicy(max_age=9 * DAY, dry_run=True), NOW), "d1").expires_at is None


def test_limit_beyond_year_9999_is_no_error() -> None:
    decisions = plan(daily(2), parse({"maxAge": "99999w", "keepWithin": "99999w99999d"}), NOW)
    assert names(decisions) == ["d0", "d1"]
    assert decisions[1].expires_at is not None or decisions[1].expires_at is None


BERLIN = ZoneInfo("Europe/Berlin")


def backups_at(*times: datetime) -> list[BackupSummary]:
    """Backups with these snapshot times."""
    return [summary(f"b{number}", time) for number, time in enumerate(times)]


def test_days_follow_the_time_zone() -> None:
    late = backups_at(datetime(2026, 7, 1, 21, 59, tzinfo=UTC), datetime(2026, 7, 1, 22, 1, tzinfo=UTC))
    now = datetime(2026, 7, 2, tzinfo=UTC)
    assert names(plan(late, RetentionPolicy(keep_daily=9), now)) == ["b1"]
    assert names(plan(late, RetentionPolicy(keep_daily=9, zone=BERLIN), now)) == ["b1", "b0"]


def test_day_of_25_hours_is_one_day_with_25_hours() -> None:
    night = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin, where 02:00 to 03:00 comes twice
    hours = backups_at(*(night + number * HOUR for number in range(25)))
    now = night + DAY + HOUR
    assert names(plan(hours, RetentionPolicy(keep_daily=9, zone=BERLIN), now)) == ["b24"]
    decisions = plan(hours, RetentionPolicy(keep_hourly=25, zone=BERLIN), now)
    assert len(names(decisions)) == 25
    assert decision_about(decisions, "b2").reasons == ("keepHourly 2026-10-25T02",)
    assert decision_about(decisions, "b3").reasons == ("keepHourly 2026-10-25T02+0100",)
    after = backups_at(night + 25 * HOUR)
    assert (
        len(names(plan([*hours[1:], replace(after[0], name="next")], RetentionPolicy(keep_daily=9, zone=BERLIN), now)))
        == 2
    )


def test_a_day_of_23_hours_is_one_day() -> None:
    night = datetime(2026, 3, 28, 23, tzinfo=UTC)
    hours = backups_at(*(night + number * HOUR for number in range(23)))
    now = night + DAY
    assert names(plan(hours, RetentionPolicy(keep_daily=9, zone=BERLIN), now)) == ["b22"]
    assert len(names(plan(hours, RetentionPolicy(keep_hourly=99, zone=BERLIN), now))) == 23


def test_iso_week_starts_on_monday_across_years() -> None:
    days = backups_at(
        datetime(2027, 1, 3, tzinfo=UTC), datetime(2027, 1, 4, tzinfo=UTC), datetime(2026, 12, 28, tzinfo=UTC)
    )
    decisions = plan(days, RetentionPolicy(keep_weekly=9), datetime(2027, 2, 1, tzinfo=UTC))
    assert names(decisions) == ["b1", "b0"]
    assert decision_about(decisions, "b0").reasons == ("keepWeekly 2026-W53",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"timeZone": "Mars/Olympus"}, "timeZone 'Mars/Olympus' is not in the time zone database."),
        ({"timeZone": "../../etc/passwd"}, "is not in the time zone database."),
        ({"timeZone": "Europe/"}, "is not in the time zone database."),
        ({"keepLast": "7"}, "keepLast must be a whole number of at least 0, not '7'."),
        ({"keepDaily": -1}, "keepDaily must be a whole number of at least 0, not '-1'."),
        ({"maxAge": "1y"}, "maxAge must be a duration such as 30d or 36h, not '1y'."),
        ({"failed": {"maxAge": ""}}, "maxAge must be a duration"),
    ],
)
def test_invalid_policy_names_the_field(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", "\\(").replace("..", "")):
        parse(spec)


def test_all_policy_fields_are_parsed() -> None:
    spec = {
        "keepLast": 1, "keepHourly": 2, "keepDaily": 3, "keepWeekly": 4, "keepMonthly": 5, "keepYearly": 6,
        "keepWithin": "7d", "maxAge": "52w", "minKeep": 8, "timeZone": "Europe/Berlin",
        "failed": {"keepLast": 0, "maxAge": "2d"}, "includeAdopted": True, "dryRun": True,
    }  # fmt: skip
    assert parse(spec) == RetentionPolicy(
        1, 2, 3, 4, 5, 6, 7 * DAY, 364 * DAY, 8, BERLIN, FailedLimits(0, 2 * DAY), include_adopted=True, dry_run=True,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["0s", "1s", "2d", "1d12h", "3m4s", "36d5h"])
def test_span_is_the_inverse_of_parse(text: str) -> None:
    from gateway_operator.domain.model.durations import parse as duration

    assert span(duration(text)) == text
