"""Property tests of the retention plan for generated policies and histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.policy import FailedLimits, RetentionPolicy
from tests.unit.gateway_operator.summaries import summary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ZONES = [
    UTC,
    *(ZoneInfo(name) for name in ("Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata")),
]
lengths = st.integers(0, 900).map(lambda hours: timedelta(hours=hours * hours))
maybe_lengths = st.none() | lengths


def history(number: int, seed: int) -> list[BackupSummary]:
    """A set of backups from a seed. Separate Hypothesis draws would take ten times as long."""
    dice = Random(seed)

    def age() -> timedelta:
        # Coarse steps give equal instants and hours. The night of a clock change is included.
        night = NOW - datetime(2026, 10, 24, 21, tzinfo=UTC)
        return dice.choice(
            [
                timedelta(minutes=20 * dice.randint(-2, 60)),
                timedelta(days=dice.randint(0, 800)),
                timedelta(seconds=dice.randint(0, 100_000_000)),
                night - timedelta(minutes=15 * dice.randint(0, 40)),
            ]
        )

    def rare() -> bool:
        return dice.random() < 0.15

    return [
        summary(
            f"b{index}",
            NOW - age(),
            phase=dice.choice(["Completed"] * 5 + ["Failed", "Running", ""]),
            level=dice.choice(["Verified", "Drilled", "Stored"]),
            pinned=rare(),
            ttl=timedelta(hours=dice.randint(0, 900) ** 2) if rare() else None,
            restores=("r",) if rare() else (),
            suspicious=rare(),
            accepted=dice.random() < 0.3,
            file=FileState.present if dice.random() < 0.8 else dice.choice(list(FileState)),
            file_absent_since=NOW - age() if rare() else None,
            deleting_since=NOW if rare() else None,
        )
        for index in range(number)
    ]


histories = st.builds(history, st.integers(0, 25), st.integers(0, 2**32))
numbers = st.integers(0, 6)
policies = st.builds(
    RetentionPolicy,
    keep_last=numbers, keep_hourly=numbers, keep_daily=numbers, keep_weekly=numbers, keep_monthly=numbers,
    keep_yearly=numbers, keep_within=st.just(timedelta(0)) | lengths, max_age=maybe_lengths, min_keep=st.integers(1, 5),
    zone=st.sampled_from(ZONES), failed=st.builds(FailedLimits, st.none() | numbers, maybe_lengths),
    include_adopted=st.booleans(), dry_run=st.booleans(),
)  # fmt: skip


def is_good(entry: BackupSummary) -> bool:
    """Whether it counts: it has its file, and it is not from the future."""
    present = entry.phase == "Completed" and entry.file == "present"
    return present and entry.time <= NOW + timedelta(minutes=1)


def kept(entries: list[BackupSummary], policy: RetentionPolicy) -> set[str]:
    """The names of the kept backups."""
    return {one.backup.name for one in plan(entries, policy, NOW) if one.keep}


@given(histories, policies)
@settings(max_examples=600, deadline=None)
def test_protected_backups_always_stay(entries: list[BackupSummary], policy: RetentionPolicy) -> None:
    decisions = plan(entries, policy, NOW)
    alive = [entry for entry in entries if not entry.is_deleting]
    assert sorted(one.backup.name for one in decisions) == sorted(entry.name for entry in alive)
    staying = [one.backup for one in decisions if one.keep]
    verified = [one for one in alive if is_good(one) and one.level in ("Verified", "Drilled")]
    left = [entry for entry in staying if entry in verified]
    assert len(left) >= min(policy.min_keep, len(verified))
    for one in decisions:
        entry = one.backup
        if entry.pinned or entry.restores or entry.phase not in ("Completed", "Failed"):
            assert one.keep, entry
        if not one.keep:
            assert one.reasons
            assert one.deletes_file or entry.phase == "Failed" or entry.file == "absent"
            assert not one.deletes_file or is_good(entry) or entry.ttl is not None
        if one.expires_at is not None and not policy.dry_run and not one.reasons:
            assert one.expires_at > NOW, "it would have been deleted"
        assert len(one.reasons) <= 32
        assert all(len(reason) <= 128 for reason in one.reasons)


@given(histories, policies)
@settings(max_examples=300, deadline=None)
def test_backup_before_a_suspicious_one_stays(entries: list[BackupSummary], policy: RetentionPolicy) -> None:
    good = sorted(
        (one for one in entries if is_good(one) and not one.is_deleting),
        key=lambda one: (one.time, one.name),
    )
    staying = kept(entries, policy)
    for number, entry in enumerate(good):
        if not entry.needs_review:
            continue
        assert entry.name in staying
        before = [one for one in good[:number] if not one.needs_review]
        assert not before or before[-1].name in staying


@given(histories, policies, st.data())
@settings(max_examples=600, deadline=None)
def test_larger_rule_never_keeps_fewer(
    entries: list[BackupSummary], policy: RetentionPolicy, data: st.DataObject
) -> None:
    name = data.draw(
        st.sampled_from(
            ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within",
             "max_age", "min_keep", "failed.keep_last", "failed.max_age"]
        )
    )  # fmt: skip
    more = data.draw(lengths if name in ("keep_within", "max_age", "failed.max_age") else st.integers(0, 9))
    owner = policy.failed if name.startswith("failed") else policy
    field = name.rpartition(".")[2]
    present = getattr(owner, field)
    if present is None or (field.startswith("keep_") and owner is policy and not present):
        return  # without any rule all backups are kept, so an absent rule is no smaller one
    longer = replace(owner, **{field: present + more})
    changed = replace(policy, failed=longer) if isinstance(longer, FailedLimits) else longer
    assert kept(entries, policy) <= kept(entries, changed)


@given(histories, policies)
@settings(max_examples=400, deadline=None)
def test_plan_of_the_kept_backups_is_stable(entries: list[BackupSummary], policy: RetentionPolicy) -> None:
    first = plan(entries, policy, NOW)
    left = [one.backup for one in first if one.keep]
    second = plan(left, policy, NOW)
    assert [one for one in first if one.keep] == second, (
        "the reasons must not change, so that no status is written twice"
    )


@given(histories, policies, st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_order_of_the_input_does_not_matter(
    entries: list[BackupSummary], policy: RetentionPolicy, random: Random
) -> None:
    mixed = list(entries)
    random.shuffle(mixed)
    assert plan(entries, policy, NOW) == plan(mixed, policy, NOW)


@given(histories, policies, st.integers(0, 20))
@settings(max_examples=300, deadline=None)
def test_failed_backups_do_not_change_the_others(
    entries: list[BackupSummary], policy: RetentionPolicy, number: int
) -> None:
    good = [entry for entry in entries if entry.phase != "Failed"]
    bad = [summary(f"f{index}", NOW - timedelta(hours=index), phase="Failed") for index in range(number)]
    assert kept(good, policy) == {name for name in kept([*good, *bad], policy) if not name.startswith("f")}


@given(histories, policies, st.integers(1, 400))
@settings(max_examples=300, deadline=None)
def test_backup_stays_until_its_shown_expiry(entries: list[BackupSummary], policy: RetentionPolicy, hours: int) -> None:
    """No backup is deleted before its shown expiry, as long as no backup is added."""
    later = NOW + timedelta(hours=hours)
    after = {one.backup.name: one for one in plan(entries, policy, later)}
    for one in plan(entries, policy, NOW):
        if one.keep and one.expires_at is not None and one.expires_at > later and one.backup.phase == "Completed":
            assert after[one.backup.name].keep or policy.counts_backups, one
