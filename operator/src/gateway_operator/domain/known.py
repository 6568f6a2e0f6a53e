"""What is known of the GatewayBackups: enough to find the one before, its like, and how many go at once.

Fed by the watch and by our own writes. A few words of each are kept and not the objects, so that ten thousand are some
megabytes. What is asked here makes comparisons and holds deletions back: a stale answer loses no file.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from gateway_operator.domain.calls import Counts
from gateway_operator.domain.objects import Backup, GatewayRef
from gateway_operator.domain.reasons import Reason

AT_ONCE: Final = 60.0
"""Seconds between two deletions that count as one sweep."""
FEWEST: Final = 3
"""So many have to go at once to be a sweep, and at least half of all."""
FINISHED: Final = frozenset({"Completed", "Failed"})

Place = tuple[str, GatewayRef]
"""A gateway: its namespace, and the workload there."""
Moment = tuple[datetime, str]
"""When a config was read; then the uid, so that two of one instant have an order."""


@dataclass(frozen=True, slots=True)
class Known:
    """A GatewayBackup in a few words."""

    name: str
    uid: str
    created: datetime
    place: Place
    group: str
    phase: str
    reason: str
    going_since: datetime | None
    marked: bool
    with_file: bool
    """Its file goes with it when it is deleted."""
    snapshot: datetime | None
    volume_id: str
    path: str
    backup_id: str
    adopts: bool
    digest: str
    content_bytes: int | None
    counts: Counts | None

    @classmethod
    def of(cls, backup: Backup) -> Known:
        """From the object."""
        status = backup.status
        size = status.get("contentBytes")
        return cls(
            name=backup.meta.ref.name,
            uid=backup.meta.ref.uid,
            created=backup.meta.created,
            place=(backup.meta.ref.namespace, backup.gateway),
            group=backup.group,
            phase=backup.phase,
            reason=backup.reason,
            going_since=backup.meta.deleting_since,
            marked=backup.marked is not None,
            with_file=backup.deletion_policy == "Delete",
            snapshot=backup.time("snapshotTime"),
            volume_id=str(status.get("volumeID") or ""),
            path=str(status.get("path") or backup.existing or ""),
            backup_id=str(status.get("backupID") or ""),
            adopts=backup.existing is not None,
            digest=str(status.get("contentDigest") or ""),
            content_bytes=size if isinstance(size, int) else None,
            counts=backup.counts,
        )

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """What it names of a file: where it is, and which it is."""
        namespace = self.place[0]
        return tuple((namespace, name) for name in (self.path, self.backup_id) if name)

    @property
    def moment(self) -> Moment | None:
        """Its place in time; None for one that holds nothing."""
        return (self.snapshot, self.uid) if self.phase == "Completed" and self.snapshot is not None else None


@dataclass(frozen=True, slots=True)
class Burst:
    """How many of a gateway's backups go at once, this one included, without anybody having asked for their files.

    ``judged``: one of them was already found to be part of a sweep. ``with_files``: how many there are whose files go
    with them, this one included.
    """

    going: int = 0
    all: int = 0
    judged: bool = False
    with_files: int = 1

    @property
    def possible(self) -> bool:
        """Whether it can become a sweep when more follow."""
        return self.all >= FEWEST

    @property
    def sweep(self) -> bool:
        """Whether most go at once: nobody deletes backups like that one by one."""
        return self.judged or (self.going >= FEWEST and 2 * self.going >= self.all)


@dataclass
class _Gateway:
    backups: dict[str, Known] = field(default_factory=dict)
    sets: dict[str, list[Moment]] = field(default_factory=dict)
    contents: dict[tuple[str, str], list[Moment]] = field(default_factory=dict)
    vanished: deque[datetime] = field(default_factory=deque)

    def orders(self, known: Known) -> tuple[list[Moment], list[Moment]]:
        """The two lists that it stands in, if it stands anywhere."""
        return (
            self.sets.setdefault(known.group, []),
            self.contents.setdefault((known.volume_id, known.digest), []),
        )


class KnownBackups:
    """The GatewayBackups of every gateway that is watched."""

    def __init__(self, backups: Iterable[Backup] = ()) -> None:
        self._gateways: dict[Place, _Gateway] = {}
        self._files: dict[tuple[str, str], dict[str, Known]] = {}
        for backup in backups:
            self.see(backup)

    def see(self, backup: Backup) -> None:
        """One was created, changed, or listed. What is older than what is known already is passed over."""
        now = Known.of(backup)
        gateway = self._gateways.setdefault(now.place, _Gateway())
        before = gateway.backups.get(now.uid)
        if before is not None:
            if before.phase in FINISHED and now.phase not in FINISHED and now.going_since is None:
                return  # a watch can be late: no finished one becomes unfinished again
            self._take_out(gateway, before)
        gateway.backups[now.uid] = now
        for file in now.files:
            self._files.setdefault(file, {})[now.uid] = now
        if now.moment is not None:
            for order in gateway.orders(now):
                insort(order, now.moment)

    def forget(self, backup: Backup, now: datetime) -> None:
        """One is gone from the API server."""
        known = Known.of(backup)
        gateway = self._gateways.setdefault(known.place, _Gateway())
        before = gateway.backups.pop(known.uid, None)
        if before is not None:
            self._take_out(gateway, before)
        if not known.marked:
            gateway.vanished.append(now)
        while gateway.vanished and (now - gateway.vanished[0]).total_seconds() > 2 * AT_ONCE:
            gateway.vanished.popleft()
        if not gateway.backups and not gateway.vanished:
            del self._gateways[known.place]

    def _take_out(self, gateway: _Gateway, known: Known) -> None:
        for file in known.files:
            namers = self._files.get(file, {})
            namers.pop(known.uid, None)
            if not namers:
                self._files.pop(file, None)
        if known.moment is None:
            return
        for order in gateway.orders(known):
            at = bisect_left(order, known.moment)
            if at < len(order) and order[at] == known.moment:
                del order[at]
        if not gateway.contents[(known.volume_id, known.digest)]:
            del gateway.contents[(known.volume_id, known.digest)]

    def before(self, place: Place, group: str, moment: Moment) -> Known | None:
        """The newest completed backup of a set whose config was read before that moment."""
        gateway = self._gateways.get(place, _Gateway())
        order = gateway.sets.get(group, [])
        for at in range(bisect_left(order, moment) - 1, -1, -1):
            found = gateway.backups[order[at][1]]
            if found.going_since is None:
                return found
        return None

    def same(self, place: Place, volume_id: str, digest: str, moment: Moment) -> Known | None:
        """The oldest completed backup of a gateway with exactly this config on this volume, before that moment."""
        gateway = self._gateways.get(place, _Gateway())
        for one in gateway.contents.get((volume_id, digest), []):
            if one >= moment:
                return None
            found = gateway.backups[one[1]]
            if found.going_since is None:
                return found
        return None

    def naming(self, namespace: str, path: str, backup_id: str = "") -> list[Known]:
        """Those of a namespace that name this path or this backup, whichever gateway they are of."""
        found = {**self._files.get((namespace, path), {}), **self._files.get((namespace, backup_id), {})}
        return list(found.values())

    def burst(self, backup: Backup) -> Burst:
        """How many go at once with this one, which is being deleted."""
        since = backup.meta.deleting_since or datetime.fromtimestamp(0, UTC)
        gateway = self._gateways.get((backup.meta.ref.namespace, backup.gateway), _Gateway())
        others = [one for one in gateway.backups.values() if one.uid != backup.meta.ref.uid and not one.marked]
        going = [one for one in others if one.going_since is not None and _at_once(one.going_since, since)]
        vanished = sum(1 for then in gateway.vanished if _at_once(then, since))
        judged = any(one.reason == Reason.MassDeletion for one in going)
        with_files = 1 + sum(1 for one in others if one.with_file)
        return Burst(1 + len(going) + vanished, 1 + len(others) + vanished, judged, with_files)


def _at_once(one: datetime, other: datetime) -> bool:
    return abs((one - other).total_seconds()) <= AT_ONCE
