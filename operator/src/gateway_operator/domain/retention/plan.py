"""Decides which backups of a set are kept, and why: a pure function of the backups, the policy and the time.

The order is: protected backups, then backups past an age limit, then the rules count the remaining ones. So a backup
that is deleted never counts for a rule in place of one that stays, and a larger rule never keeps fewer backups. Only
backups whose file is on the volume count or are deleted by a rule. `docs/retention.md` describes the same for users.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Final, NamedTuple

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.model.durations import span
from gateway_operator.domain.model.identifiers import SetKind
from gateway_operator.domain.model.levels import VERIFIED, reaches
from gateway_operator.domain.retention import periods as calendar
from gateway_operator.domain.retention.policy import RetentionPolicy

COMPLETED: Final = "Completed"
FAILED: Final = "Failed"
TOLERANCE: Final = timedelta(minutes=1)
"""Allowed difference between the clocks of a gateway's pod, the API server and the operator."""


class DeletionCause(StrEnum):
    """The part of the policy that deletes a backup."""

    ttl = "ttl"
    retention = "retention"
    failed = "failed"
    """Only the object is deleted: the backup failed, or its file is no longer there."""


class RetentionDecision(NamedTuple):
    """The decision about one backup. ``cause`` is None for a backup that is kept."""

    backup: BackupSummary
    cause: DeletionCause | None
    reasons: tuple[str, ...]
    """Why it is kept or deleted, in short words that do not change while the reason is the same."""
    expires_at: datetime | None
    """When an age limit will delete it; None if none applies or rules decide."""

    @property
    def keep(self) -> bool:
        """Whether the backup is not deleted."""
        return self.cause is None

    @property
    def deletes_file(self) -> bool:
        """Whether the file of the backup is deleted with its object."""
        return self.cause in (DeletionCause.ttl, DeletionCause.retention)


_KeepReasons = dict[int, list[str]]
"""Reasons to keep, by position. A position without a reason has no key, because there may be 100,000 backups."""
_Expired = dict[int, tuple[DeletionCause, str]]
_UNCOUNTED: Final = (DeletionCause.retention, "no rule keeps it")
_RESTORES_SHOWN: Final = 10
_COMPARED: Final = frozenset({FileState.present, FileState.unproven, FileState.absent})
"""The states in which an age limit may delete a Completed backup or its record."""
_FILE_REASONS: Final = {
    FileState.unproven: "no manifest",
    FileState.changed: "file changed",
    FileState.absent: "file missing",
    FileState.other_volume: "other volume",
}
"""Why a backup does not count. States that the next listing is expected to change are left out."""


def plan(backups: Iterable[BackupSummary], policy: RetentionPolicy, now: datetime) -> list[RetentionDecision]:
    """The decision about each backup of a set, newest first. Backups whose deletion has started are left out."""
    ordered = [backup for backup in backups if not backup.is_deleting]
    # The name decides between two backups of one instant, so that every pass has the same order. Two sorts by text and
    # by number take half as long as one sort by pairs.
    ordered.sort(key=attrgetter("name"), reverse=True)
    ordered.sort(key=lambda backup: backup.time.timestamp(), reverse=True)
    kept: _KeepReasons = defaultdict(list)
    _protect(ordered, policy, now, kept)
    protected = frozenset(kept)
    expired: _Expired = {}
    good, failed = [], []
    for index, backup in enumerate(ordered):
        outlived = _expired(backup, policy, now)
        if outlived is not None:
            expired[index] = outlived
        elif backup.phase == FAILED:
            failed.append(index)
        elif is_countable(backup, now) and not backup.needs_review:
            good.append(index)
    if policy.has_rules:
        _by_rules(ordered, good, policy, now, kept, expired)
    if policy.failed.keep_last is not None:
        # Anyone can create backups that fail. They are counted apart, so that they push out no failure of the schedule.
        for own in (True, False):
            which = [index for index in failed if (ordered[index].set_id.kind is SetKind.Schedule) is own]
            _keep_newest_failed(which, policy.failed.keep_last, kept, expired)
    return [
        _decision(backup, kept.get(index), expired.get(index), index in protected, policy)
        for index, backup in enumerate(ordered)
    ]


def is_countable(backup: BackupSummary, now: datetime) -> bool:
    """Whether a backup may count for a rule: its file is on the volume, and its time is credible.

    A backup that is newer than now would take the place of one that is not.
    """
    return (
        backup.phase == COMPLETED
        and backup.file is FileState.present
        and backup.snapshot_time is not None
        and backup.snapshot_time - now <= TOLERANCE
    )


def _protect(ordered: Sequence[BackupSummary], policy: RetentionPolicy, now: datetime, kept: _KeepReasons) -> None:
    """Find the backups that neither a rule nor ``maxAge`` nor ``ttl`` deletes."""
    verified = 0
    after: BackupSummary | None = None
    for index, backup in enumerate(ordered):
        if backup.pinned:
            kept[index].append("pinned")
        if backup.restores:
            kept[index].extend(f"restore {name}" for name in backup.restores[:_RESTORES_SHOWN])
        if not is_countable(backup, now):
            continue
        if backup.needs_review:
            kept[index].append("suspicious")
            after = backup
            continue
        if reaches(backup.level, VERIFIED) and verified < policy.min_keep:
            verified += 1
            if policy.has_rules or backup.ttl is not None:  # otherwise nothing could delete it
                kept[index].append("minKeep")
        if after is not None:
            kept[index].append(f"before {after.name}")
            after = None


def _expired(backup: BackupSummary, policy: RetentionPolicy, now: datetime) -> tuple[DeletionCause, str] | None:
    """The age limit that a finished backup has reached; None if none."""
    limit, age = policy.failed.max_age, now - backup.time
    if backup.phase == COMPLETED and backup.file is FileState.absent:
        # Its record goes by the time since its loss was found, so that there is time to bring the file back.
        lost = now - backup.file_absent_since if backup.file_absent_since is not None else None
        if lost is not None and limit is not None and lost >= limit:
            return DeletionCause.failed, f"its file is missing for longer than failed.maxAge {span(limit)}"
        return None
    countable = is_countable(backup, now)
    deletable = backup.phase == FAILED or countable or backup.file is FileState.unproven
    if backup.phase not in (COMPLETED, FAILED) or not deletable:
        return None
    if backup.ttl is not None and age >= backup.ttl:
        # A file that a failed backup may have left stays, because its content is unknown.
        cause = DeletionCause.failed if backup.phase == FAILED else DeletionCause.ttl
        return cause, f"older than its ttl {span(backup.ttl)}"
    if backup.phase == FAILED and limit is not None and age >= limit:
        return DeletionCause.failed, f"older than failed.maxAge {span(limit)}"
    if countable and policy.max_age is not None and age >= policy.max_age:
        return DeletionCause.retention, f"older than maxAge {span(policy.max_age)}"
    return None


def _by_rules(
    ordered: Sequence[BackupSummary],
    good: Sequence[int],
    policy: RetentionPolicy,
    now: datetime,
    kept: _KeepReasons,
    expired: _Expired,
) -> None:
    """Keep what the rules count. Backups that no rule keeps are deleted."""
    by_rule: set[int] = set(good[: policy.keep_last])
    for index in good[: policy.keep_last]:
        kept[index].append("keepLast")
    if policy.keep_within:
        reason = f"keepWithin {span(policy.keep_within)}"
        for index in good:
            if now - ordered[index].time >= policy.keep_within:
                break
            by_rule.add(index)
            kept[index].append(reason)
    times = calendar.LocalTimes([ordered[index].time for index in good], policy.zone)
    for unit, number in policy.calendar:
        for position, label in times.newest_of_each(unit, number):
            by_rule.add(good[position])
            kept[good[position]].append(f"{unit.rule} {label}")
    if not policy.counts_backups and not policy.keep_within:
        reason = f"maxAge {span(policy.max_age or timedelta(0))}"
        for index in good:
            kept[index].append(reason)
        return
    for index in good:
        if index not in by_rule:
            expired[index] = _UNCOUNTED


def _keep_newest_failed(failed: Sequence[int], number: int, kept: _KeepReasons, expired: _Expired) -> None:
    for index in failed[:number]:
        kept[index].append("failed.keepLast")
    for index in failed[number:]:
        expired[index] = DeletionCause.failed, f"not among the newest {number} that failed"


def _decision(
    backup: BackupSummary,
    kept: Sequence[str] | None,
    expired: tuple[DeletionCause, str] | None,
    protected: bool,
    policy: RetentionPolicy,
) -> RetentionDecision:
    if expired is not None and kept is None:
        return RetentionDecision(backup, expired[0], (expired[1],), None)
    if protected:
        return RetentionDecision(backup, None, tuple(kept or ()), None)
    reasons = tuple(kept or ())
    if backup.phase == COMPLETED and not reasons and (policy.has_rules or backup.ttl is not None):
        reasons = tuple(filter(None, (_FILE_REASONS.get(backup.file),)))
    return RetentionDecision(backup, None, reasons, _limit(backup, policy))


def _limit(backup: BackupSummary, policy: RetentionPolicy) -> datetime | None:
    """When the first age limit of a kept backup is reached; None without one."""
    if backup.phase == COMPLETED and backup.file not in _COMPARED:
        return None
    since, least = backup.time, backup.ttl
    if backup.phase == COMPLETED and backup.file is FileState.absent:
        since, least = backup.file_absent_since or since, policy.failed.max_age
    elif not policy.dry_run and backup.phase == FAILED:
        least = _smaller(least, policy.failed.max_age)
    elif not policy.dry_run:
        least = _smaller(least, policy.max_age)
        if policy.keep_within and not policy.counts_backups:
            least = _smaller(least, policy.keep_within)
    if least is None or backup.phase not in (COMPLETED, FAILED):
        return None
    try:
        return since + least
    except OverflowError:  # a limit beyond the year 9999
        return None


def _smaller(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
