"""From objects to sets: which backups belong together, whose policy binds them, and what else speaks for each of them.

Of each object a few words are kept: a pass looks at all there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gateway_operator.domain import conditions, deletion, durations, times
from gateway_operator.domain.names import (
    ADOPTED_LABEL,
    MANUAL_GROUP,
    RESTORE_UID,
    SAFETY_GROUP,
    SCHEDULE_KIND,
    SHRINK_ACCEPTED,
)
from gateway_operator.domain.objects import Backup, GatewayRef, Json, Meta, Restore
from gateway_operator.domain.restore import is_terminal
from gateway_operator.domain.retention import VERIFIED, Entry, Policy
from gateway_operator.domain.retention_policy import KEEP_ALL, SAFETY, parse

SUSPICIOUS: Final = "Suspicious"
_PROVEN: Final = frozenset({VERIFIED, "Drilled"})


@dataclass(frozen=True, slots=True)
class Key:
    """Which set."""

    namespace: str
    gateway: GatewayRef
    group: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A GatewayBackup as retention sees it."""

    key: Key
    uid: str
    resource_version: str
    entry: Entry
    path: str
    backup_id: str
    restore_uid: str
    """Of a safety backup: the restore that made it."""
    policy: Json | None
    kept_by: tuple[str, ...]
    """What its status says now."""
    expires_at: str
    has_file: bool = True
    committed: bool = False
    """A pass has committed its deletion and did not finish it."""

    @classmethod
    def parse(cls, body: Json) -> Candidate:
        """From the object as the API server gives it."""
        backup = Backup.parse(body)
        spec, meta, status = body.get("spec") or {}, backup.meta, backup.status
        policy, safety = spec.get("retention"), str(meta.annotations.get(RESTORE_UID) or "")
        carries = isinstance(policy, Mapping) if backup.group != SAFETY_GROUP else bool(safety)
        accepted = meta.annotations.get(SHRINK_ACCEPTED) == "true"
        entry = Entry(
            name=meta.ref.name,
            time=backup.time("snapshotTime") or backup.time("completionTime") or meta.created,
            phase=backup.phase,
            level=VERIFIED if backup.level in _PROVEN else backup.level,
            pinned=spec.get("pinned") is True,
            ttl=durations.parse_or_none(spec.get("ttl")),
            suspicious=conditions.holds(backup.conditions, SUSPICIOUS) is True and not accepted,
            adopted=meta.labels.get(ADOPTED_LABEL) == "true",
            carries=carries,
            volume=str(status.get("volumeID") or ""),
            going=meta.deleting_since is not None or backup.phase == "Deleting",
        )
        return cls(
            key=Key(meta.ref.namespace, backup.gateway, backup.group),
            uid=meta.ref.uid,
            resource_version=meta.resource_version,
            entry=entry,
            path=str(status.get("path") or (spec.get("existing") or {}).get("path") or ""),
            backup_id=str(status.get("backupID") or ""),
            restore_uid=safety,
            policy=policy if isinstance(policy, Mapping) else None,
            kept_by=tuple(str(reason) for reason in status.get("keptBy") or ()),
            expires_at=str(status.get("expiresAt") or ""),
            has_file=deletion.has_file(backup),
            # Once a person has deleted the object as well, their deletion decides what becomes of the file.
            committed=deletion.committed(backup) and meta.deleting_since is None,
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a GatewayBackupSchedule says about retention, and what is remembered in its status."""

    meta: Meta
    key: Key
    policy: Json | None
    objective: object
    status: Json

    @classmethod
    def parse(cls, body: Json) -> Schedule:
        """From the object as the API server gives it."""
        spec, meta = body.get("spec") or {}, Meta.parse(body, SCHEDULE_KIND)
        policy = spec.get("retention")
        return cls(
            meta=meta,
            key=Key(meta.ref.namespace, GatewayRef.parse(spec), meta.ref.name),
            policy=policy if isinstance(policy, Mapping) else None,
            objective=(spec.get("objective") or {}).get("maxAge"),
            status=body.get("status") or {},
        )

    @property
    def remembered(self) -> Json:
        """The last pass."""
        found = self.status.get("retention")
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class BackupSet:
    """The backups of one gateway and group."""

    key: Key
    schedule: Schedule | None
    policy: Policy | str
    """Or why it cannot be understood."""
    members: dict[str, Candidate]
    choosing: str = ""
    """An unfinished restore of this gateway that may yet choose any of them."""

    @property
    def entries(self) -> list[Entry]:
        """As the plan wants them."""
        return [one.entry for one in self.members.values()]

    @property
    def newest(self) -> datetime | None:
        """When the newest backup was made, by the clocks that are here: one that was adopted may come from anywhere."""
        return max((one.time for one in self._good() if not one.adopted), default=None)

    @property
    def newest_verified(self) -> datetime | None:
        """When the newest Verified one was made."""
        return max((one.time for one in self._good() if one.level == VERIFIED), default=None)

    @property
    def inventory(self) -> int:
        """How many good ones there are."""
        return len(self._good())

    def _good(self) -> list[Entry]:
        return [one for one in self.entries if one.phase == "Completed" and not one.going]


def gather(
    candidates: Iterable[Candidate], schedules: Iterable[Schedule], restores: Iterable[Restore]
) -> list[BackupSet]:
    """All sets, those of schedules without a backup included."""
    by_key: dict[Key, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_key[candidate.key].append(candidate)
    owners = {schedule.key: schedule for schedule in schedules if schedule.meta.deleting_since is None}
    for key in owners:
        by_key.setdefault(key, [])
    users: dict[tuple[str, GatewayRef], list[Restore]] = defaultdict(list)
    for restore in restores:
        if not is_terminal(restore):
            users[restore.meta.ref.namespace, restore.gateway].append(restore)
    sets = []
    for key, members in sorted(by_key.items(), key=lambda one: (one[0].namespace, str(one[0].gateway), one[0].group)):
        owner, using = owners.get(key), users[key.namespace, key.gateway]
        known = {one.entry.name: with_users(one, using) for one in members}
        choosing = next((one.meta.ref.name for one in using if chooses(one)), "")
        sets.append(BackupSet(key, owner, _policy(key, owner, members), known, choosing))
    return sets


def with_users(candidate: Candidate, restores: Sequence[Restore]) -> Candidate:
    """The same, with the unfinished restores that use it."""
    users = tuple(sorted(one.meta.ref.name for one in restores if not is_terminal(one) and uses(one, candidate)))
    return candidate if not users else replace(candidate, entry=replace(candidate.entry, restores=users))


def uses(restore: Restore, candidate: Candidate) -> bool:
    """Whether a restore needs this very backup."""
    if (restore.meta.ref.namespace, restore.gateway) != (candidate.key.namespace, candidate.key.gateway):
        return False
    if candidate.restore_uid and candidate.restore_uid == restore.uid:
        return True
    source = restore.source
    if source:
        named = (source.get("backupName"), source.get("backupID"), source.get("path"))
        mine = (candidate.entry.name, candidate.backup_id, candidate.path)
        return any(one and one == other for one, other in zip(named, mine, strict=True))
    if restore.backup_name is not None:
        return restore.backup_name == candidate.entry.name
    return restore.path is not None and restore.path == candidate.path


def chooses(restore: Restore) -> bool:
    """Whether it means `latest` or `before` and has not found it yet."""
    return not (is_terminal(restore) or restore.source or restore.backup_name is not None or restore.path is not None)


def in_use(candidate: Candidate, restores: Sequence[Restore]) -> str | None:
    """The unfinished restore because of which this one must not go now."""
    for one in restores:
        mine = (one.meta.ref.namespace, one.gateway) == (candidate.key.namespace, candidate.key.gateway)
        if mine and not is_terminal(one) and (chooses(one) or uses(one, candidate)):
            return one.meta.ref.name
    return None


def _policy(key: Key, schedule: Schedule | None, members: Sequence[Candidate]) -> Policy | str:
    try:
        if schedule is not None and schedule.policy is not None:
            return parse(schedule.policy)
        if key.group == SAFETY_GROUP:
            return replace(SAFETY, own_only=True)
        if key.group == MANUAL_GROUP:
            return KEEP_ALL
        # One that has not come to a good end changes nothing for the others.
        good = (one for one in members if one.entry.phase == "Completed" and not one.entry.going)
        carrying = [one for one in good if one.policy is not None]
        newest = max(carrying, key=lambda one: (one.entry.time, one.entry.name), default=None)
        return KEEP_ALL if newest is None or newest.policy is None else parse(newest.policy, own_only=True)
    except ValueError as error:
        return str(error)


def shown(reasons: Sequence[str], expires_at: datetime | None) -> dict[str, object]:
    """What a plan says of a backup, as its status has it; None where there is nothing to say."""
    return {
        "keptBy": list(reasons) or None,
        "expiresAt": times.text(expires_at) if expires_at is not None else None,
    }
