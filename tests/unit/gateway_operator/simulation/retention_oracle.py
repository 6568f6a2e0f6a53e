"""A second, simpler implementation of the retention rules, for one schedule ``nightly`` with times in UTC.

It shares no code with the product. A stateful test compares each pass with it: no file goes that must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
PERIODS: Final[dict[str, Callable[[datetime], object]]] = {
    "keepHourly": lambda time: (time.date(), time.hour),
    "keepDaily": lambda time: time.date(),
    "keepWeekly": lambda time: time.isocalendar()[:2],
    "keepMonthly": lambda time: (time.year, time.month),
    "keepYearly": lambda time: time.year,
}


def seconds(text: str) -> timedelta:
    """A duration of one unit."""
    return timedelta(seconds=int(text[:-1]) * UNITS[text[-1]])


@dataclass
class Member:
    """A Completed backup and its file."""

    name: str
    file: str
    volume: str
    time: datetime
    completed: datetime
    origin: str
    schedule: str
    group: str
    pinned: bool
    verified: bool
    doubtful: bool
    """Suspicious, and no person has accepted it."""
    ttl: timedelta | None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Member | None:
        """From an object; None unless it is Completed."""
        spec, status = body["spec"], body.get("status") or {}
        if status.get("phase") != "Completed":
            return None
        accepted = spec.get("accepted") is True
        # The ttl of a scheduled backup comes from its schedule: its creator must not shorten its life.
        ttl = (status.get("thresholds") or {}).get("ttl") if status.get("origin") == "Schedule" else spec.get("ttl")
        suspicious = any(
            one["type"] == "Suspicious" and one["status"] == "True" for one in status.get("conditions") or ()
        )
        return cls(
            name=body["metadata"]["name"],
            file=status["backupID"],
            volume=status["volumeID"],
            time=datetime.fromisoformat(status["snapshotTime"]).astimezone(UTC),
            completed=datetime.fromisoformat(status["completionTime"]).astimezone(UTC),
            origin=status.get("origin", "Manual"),
            schedule=status.get("schedule", ""),
            group=spec["group"],
            pinned=bool(spec.get("pinned")),
            verified=status["verification"]["level"] == "Verified",
            doubtful=suspicious and not accepted,
            ttl=seconds(ttl) if ttl else None,
        )


@dataclass
class Before:
    """The state before a pass."""

    now: datetime
    policy: Mapping[str, Any] | None
    bodies: Mapping[str, Mapping[str, Any]]
    """The GatewayBackups by name."""
    files: Mapping[str, tuple[datetime, str]]
    """The time and the schedule of each file on the volume, by its backup id."""
    used: set[str]
    """The names of the backups that unfinished restores use."""
    last_left: int | None
    """The number of files that the last applied pass has left."""
    volume: str
    """The id of the volume that the gateway has."""
    has_schedule: bool = True
    members: list[Member] = field(init=False)

    def __post_init__(self) -> None:
        read = [Member.read(body) for body in self.bodies.values()]
        self.members = [one for one in read if one is not None and one.volume == self.volume]

    def governed(self, one: Member) -> bool:
        """Whether the schedule's policy may delete this backup."""
        adopted = one.origin == "Adopted" and bool((self.policy or {}).get("includeAdopted"))
        return one.schedule == "nightly" and (one.origin == "Schedule" or adopted)

    def expired(self, one: Member) -> bool:
        """Whether it has reached its ttl."""
        return one.ttl is not None and self.now - one.time >= one.ttl

    def there(self) -> list[Member]:
        """The governed backups whose file is on the volume, newest first."""
        good = [one for one in self.members if self.governed(one) and one.file in self.files]
        return sorted(good, key=lambda one: (one.time, one.name), reverse=True)

    def halves(self) -> frozenset[str]:
        """The members of the set that lack their other half: names of objects, and ids of files."""
        objects = {one.file: one for one in self.members if one.completed < self.now}
        own = {file for file, one in objects.items() if self.governed(one)}
        named = {
            file
            for file, (created, schedule) in self.files.items()
            if schedule == "nightly" and created < self.now - timedelta(minutes=1)
        }
        claimed = {(body.get("status") or {}).get("backupID") for body in self.bodies.values()}
        return frozenset((own - set(self.files)) | (named - claimed))

    def shrank(self) -> bool:
        """Whether at least half of the members lack their other half."""
        total = {one.file for one in self.members if self.governed(one) and one.completed < self.now} | self.halves()
        return bool(self.halves()) and len(self.halves()) * 2 >= len(total)

    def kept_by_policy(self) -> set[str]:
        """The files that a rule of the policy keeps."""
        policy = self.policy or {}
        numbers = {name: policy.get(name, 0) for name in ("keepLast", *PERIODS)}
        within, oldest = policy.get("keepWithin"), policy.get("maxAge")
        counted = [
            one
            for one in self.there()
            if one.completed < self.now
            and not one.doubtful
            and not self.expired(one)
            and (oldest is None or self.now - one.time < seconds(oldest))
        ]
        if not any(numbers.values()) and within is None:
            return {one.file for one in counted}
        kept = {one.file for one in counted[: numbers["keepLast"]]}
        if within is not None:
            kept |= {one.file for one in counted if self.now - one.time < seconds(within)}
        for name, period in PERIODS.items():
            periods: dict[object, str] = {}
            for one in counted:
                periods.setdefault(period(one.time), one.file)
            kept |= set(list(periods.values())[: numbers[name]])
        return kept

    def check(self, deleted: set[str], *, large_approved: bool, loss_approved: frozenset[str] | None) -> None:
        """Fail if a deleted file had to stay. The approvals are those that were given before the pass."""
        policy, owners = self.policy or {}, {one.file: one for one in self.members}
        assert deleted <= set(owners), "a file went that no GatewayBackup named"
        by_rule = bool(policy) and not policy.get("dryRun")
        for file in deleted:
            one = owners[file]
            assert self.expired(one) or (by_rule and self.governed(one)), f"{one.name} was deleted without a reason"
            assert self.expired(one) or file not in self.kept_by_policy(), f"a rule keeps {one.name}"
            assert not one.pinned, f"{one.name} was pinned"
            assert one.name not in self.used, f"{one.name} is being restored"
            assert not one.doubtful, f"{one.name} was suspicious"
        own = [one for one in self.there() if one.file in deleted]
        left, before = len(self.there()) - len(own), len(self.there()) if self.last_left is None else self.last_left
        if self.has_schedule and len(own) >= 3 and left * 2 <= before:
            assert large_approved, "a large deletion that nobody has approved"
        if self.has_schedule and own and self.shrank():
            assert loss_approved == self.halves(), "a deletion after a loss that nobody has approved"
        self._check_least_left(deleted, int(policy.get("minKeep") or 1))

    def _check_least_left(self, deleted: set[str], least: int) -> None:
        groups: dict[tuple[str, str], list[Member]] = {}
        for one in self.members:
            if one.file in self.files and one.verified and not one.doubtful:
                key = ("schedule", "nightly") if self.governed(one) else ("group", one.group)
                groups.setdefault(key, []).append(one)
        for key, good in groups.items():
            number = least if key[0] == "schedule" else 1
            left = [one for one in good if one.file not in deleted]
            assert len(left) >= min(number, len(good)), f"too few are left of {key}"
