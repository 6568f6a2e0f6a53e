"""What is known of the GatewayBackups: enough to find the one before, and its like.

Fed by the watch and by our own writes. A few words of each are kept and not the objects, so that ten thousand are some
megabytes. What is asked here makes comparisons: a stale answer loses no file.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway_operator.domain.calls import Counts
from gateway_operator.domain.objects import Backup, GatewayRef

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
    going_since: datetime | None
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
            going_since=backup.meta.deleting_since,
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


@dataclass
class _Gateway:
    backups: dict[str, Known] = field(default_factory=dict)
    sets: dict[str, list[Moment]] = field(default_factory=dict)
    contents: dict[tuple[str, str], list[Moment]] = field(default_factory=dict)

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
            if before.phase in FINISHED and now.phase not in (*FINISHED, "Deleting") and now.going_since is None:
                return  # a watch can be late: no finished one becomes unfinished again
            self._take_out(gateway, before)
        gateway.backups[now.uid] = now
        for file in now.files:
            self._files.setdefault(file, {})[now.uid] = now
        if now.moment is not None:
            for order in gateway.orders(now):
                insort(order, now.moment)

    def forget(self, backup: Backup) -> None:
        """One is gone from the API server."""
        known = Known.of(backup)
        gateway = self._gateways.setdefault(known.place, _Gateway())
        before = gateway.backups.pop(known.uid, None)
        if before is not None:
            self._take_out(gateway, before)
        if not gateway.backups:
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
