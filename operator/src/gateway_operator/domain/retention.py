"""Which backups of a set are kept, and why: a pure function of the backups, the policy and the time.

What is protected is found first; then what has outlived a limit of age; what is left is counted by the rules. So one
that is about to go never takes a place from one that stays, and a longer rule never keeps less.
`docs/retention.md` says the same for people.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple

from gateway_operator.domain import retention_calendar as calendar
from gateway_operator.domain.backup_index import BackupSummary

COMPLETED: Final = "Completed"
FAILED: Final = "Failed"
VERIFIED: Final = "Verified"


@dataclass(frozen=True, slots=True)
class Limits:
    """What becomes of failed backups. None: nothing is said."""

    keep_last: int | None = None
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept of a set. A rule of 0 is no rule; without any rule and without ``max_age`` everything is kept."""

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within: timedelta = timedelta(0)
    max_age: timedelta | None = None
    min_keep: int = 1
    zone: tzinfo = UTC
    failed: Limits = Limits()
    include_adopted: bool = False
    dry_run: bool = False
    own_only: bool = False
    """It comes from a backup and not from a schedule: it binds only backups that carry a policy themselves."""

    @property
    def counts(self) -> bool:
        """Whether a rule keeps what it counts, so that what none counts goes."""
        return bool(self.keep_last or any(number for _, number in self.calendar))

    @property
    def has_rules(self) -> bool:
        """Whether it can let a good backup go at all."""
        return self.counts or bool(self.keep_within) or self.max_age is not None

    @property
    def calendar(self) -> tuple[tuple[calendar.Unit, int], ...]:
        """The rules that go by the calendar."""
        return (
            (calendar.HOUR, self.keep_hourly),
            (calendar.DAY, self.keep_daily),
            (calendar.WEEK, self.keep_weekly),
            (calendar.MONTH, self.keep_monthly),
            (calendar.YEAR, self.keep_yearly),
        )


class Cause(StrEnum):
    """What lets a backup go."""

    ttl = "ttl"
    retention = "retention"
    failed = "failed"


class Decision(NamedTuple):
    """What becomes of one backup. ``cause`` is None for one that is kept."""

    backup: BackupSummary
    cause: Cause | None
    reasons: tuple[str, ...]
    """Why it is kept or goes, short and readable; the same for as long as that is so."""
    expires_at: datetime | None
    """When a limit of age lets it go, where that is known."""

    @property
    def keep(self) -> bool:
        """Whether it stays."""
        return self.cause is None


_Why = dict[int, list[str]]
"""Reasons to keep, by position; most positions have none and no key, since there may be 100,000."""
_Going = dict[int, tuple[Cause, str]]
_UNCOUNTED: Final = (Cause.retention, "no rule keeps it")
_RESTORES_SHOWN: Final = 10


def plan(backups: Iterable[BackupSummary], policy: Policy, now: datetime) -> list[Decision]:
    """What becomes of each backup of a set, newest first. One whose deletion has begun is left out."""
    ordered = [backup for backup in backups if not backup.is_deleting]
    # Two of the same instant: any order would do, but it must be the same one each time. Two sorts by plain text and
    # plain numbers take half as long as one by pairs.
    ordered.sort(key=attrgetter("name"), reverse=True)
    ordered.sort(key=lambda backup: backup.time.timestamp(), reverse=True)
    kept: _Why = defaultdict(list)
    _protect(ordered, policy, kept)
    protected = frozenset(kept)
    going: _Going = {}
    good, bad = [], []
    for index, backup in enumerate(ordered):
        if backup.phase not in (COMPLETED, FAILED):
            continue
        outlived = _outlived(backup, policy, now)
        if outlived is not None:
            going[index] = outlived
        elif governed(backup, policy):
            if backup.phase == FAILED:
                bad.append(index)
            elif not backup.needs_review:
                good.append(index)
    if policy.has_rules:
        _by_rules(ordered, good, policy, now, kept, going)
    if policy.failed.keep_last is not None:
        _by_number(bad, policy.failed.keep_last, kept, going)
    return [
        _decision(backup, kept.get(index), going.get(index), index in protected, policy)
        for index, backup in enumerate(ordered)
    ]


def governed(backup: BackupSummary, policy: Policy) -> bool:
    """Whether the policy may let this backup go."""
    return (not policy.own_only or backup.carries_policy) and (policy.include_adopted or not backup.adopted)


def _protect(ordered: Sequence[BackupSummary], policy: Policy, kept: _Why) -> None:
    """Find what is kept whatever the rules and ``ttl`` say."""
    verified: Counter[str] = Counter()
    after: BackupSummary | None = None
    for index, backup in enumerate(ordered):
        completed = backup.phase == COMPLETED
        suspicious = completed and backup.needs_review
        if backup.pinned:
            kept[index].append("pinned")
        if backup.restores:
            kept[index].extend(f"restore {name}" for name in backup.restores[:_RESTORES_SHOWN])
        if backup.adopted and not policy.include_adopted:
            kept[index].append("adopted")
        elif suspicious:
            kept[index].append("suspicious")
        elif completed and backup.level == VERIFIED and verified[backup.volume_id] < policy.min_keep:
            verified[backup.volume_id] += 1
            if policy.has_rules or backup.ttl is not None:  # else nothing could let it go
                kept[index].append("minKeep")
        if suspicious:
            after = backup
        elif completed and after is not None:
            kept[index].append(f"before {after.name}")
            after = None


def _outlived(backup: BackupSummary, policy: Policy, now: datetime) -> tuple[Cause, str] | None:
    """The limit of age that a finished backup has reached."""
    ttl = backup.ttl
    if ttl is not None and now - backup.time >= ttl and (policy.include_adopted or not backup.adopted):
        return Cause.ttl, f"older than its ttl {span(ttl)}"
    failed = backup.phase == FAILED
    limit = policy.failed.max_age if failed else policy.max_age
    if limit is None or now - backup.time < limit or not governed(backup, policy):
        return None
    if failed:
        return Cause.failed, f"older than failed.maxAge {span(limit)}"
    return Cause.retention, f"older than maxAge {span(limit)}"


def _by_rules(
    ordered: Sequence[BackupSummary], good: Sequence[int], policy: Policy, now: datetime, kept: _Why, going: _Going
) -> None:
    """Let the rules keep what they count; what none keeps goes."""
    by_rule: set[int] = set(good[: policy.keep_last])
    for index in good[: policy.keep_last]:
        kept[index].append("keepLast")
    if policy.keep_within:
        said = f"keepWithin {span(policy.keep_within)}"
        for index in good:
            if now - ordered[index].time >= policy.keep_within:
                break
            by_rule.add(index)
            kept[index].append(said)
    times = calendar.Local([ordered[index].time for index in good], policy.zone)
    for unit, number in policy.calendar:
        for position, label in times.newest_of_each(unit, number):
            by_rule.add(good[position])
            kept[good[position]].append(f"{unit.rule} {label}")
    if not policy.counts and not policy.keep_within:
        said = f"maxAge {span(policy.max_age or timedelta(0))}"
        for index in good:
            kept[index].append(said)
        return
    for index in good:
        if index not in by_rule:
            going[index] = _UNCOUNTED


def _by_number(bad: Sequence[int], number: int, kept: _Why, going: _Going) -> None:
    for index in bad[:number]:
        kept[index].append("failed.keepLast")
    for index in bad[number:]:
        going[index] = Cause.failed, f"not among the newest {number} that failed"


def _decision(
    backup: BackupSummary, kept: Sequence[str] | None, going: tuple[Cause, str] | None, protected: bool, policy: Policy
) -> Decision:
    if going is not None and kept is None:
        return Decision(backup, going[0], (going[1],), None)
    if protected:
        return Decision(backup, None, tuple(kept or ()), None)
    reasons = tuple(kept or ())
    if policy.own_only and policy.has_rules and not backup.carries_policy and backup.phase == COMPLETED:
        reasons = ("no policy of its own",)
    return Decision(backup, None, reasons, _limit(backup, policy))


def _limit(backup: BackupSummary, policy: Policy) -> datetime | None:
    """When the first of its limits of age is reached."""
    least = backup.ttl
    if not policy.dry_run and governed(backup, policy):
        if backup.phase == FAILED:
            least = _lesser(least, policy.failed.max_age)
        else:
            least = _lesser(least, policy.max_age)
            if policy.keep_within and not policy.counts:
                least = _lesser(least, policy.keep_within)
    if least is None or backup.phase not in (COMPLETED, FAILED):
        return None
    try:
        return backup.time + least
    except OverflowError:  # a limit of ten thousand years
        return None


def _lesser(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


@lru_cache(maxsize=256)
def span(length: timedelta) -> str:
    """A duration in the form that specs have: ``1d12h``, ``36d``."""
    seconds = int(length.total_seconds())
    if seconds == 0:
        return "0s"
    parts = []
    for letter, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{letter}")
    return "".join(parts)
