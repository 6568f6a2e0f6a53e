"""How many GatewayBackups of a gateway are deleted at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway_operator.domain.backup_index import BackupIndex
from gateway_operator.domain.objects import Backup, NamespacedGateway
from gateway_operator.domain.reasons import Reason

AT_ONCE: Final = 60.0
"""Seconds between two deletions that count as one sweep."""
FEWEST: Final = 3
"""So many have to go at once to be a sweep, and at least half of all."""


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


class KnownBackups(BackupIndex):
    """The index, with what the burst guard counts beside the rows."""

    def __init__(self, backups: Iterable[Backup] = ()) -> None:
        self._with_files: dict[str, bool] = {}
        self._vanished: dict[NamespacedGateway, deque[datetime]] = {}
        super().__init__(backups)

    def upsert(self, backup: Backup) -> None:
        """Add or replace a row."""
        self._with_files[backup.meta.ref.uid] = backup.deletion_policy == "Delete"
        super().upsert(backup)

    def forget(self, backup: Backup, now: datetime) -> None:
        """Drop the row of an object that no longer exists, and count its deletion."""
        self.remove(backup)
        self._with_files.pop(backup.meta.ref.uid, None)
        gateway, vanished = backup.set_id.namespaced_gateway, self._vanished
        times = vanished.setdefault(gateway, deque())
        if backup.marked is None:
            times.append(now)
        while times and (now - times[0]).total_seconds() > 2 * AT_ONCE:
            times.popleft()
        if not times:
            del vanished[gateway]

    def burst(self, backup: Backup) -> Burst:
        """How many go at once with this one, which is being deleted."""
        since = backup.meta.deleting_since or datetime.fromtimestamp(0, UTC)
        gateway = backup.set_id.namespaced_gateway
        others = [
            one
            for one in self._rows.values()
            if one.set_id.namespaced_gateway == gateway and one.uid != backup.meta.ref.uid and not one.delete_file
        ]
        going = [one for one in others if one.deleting_since is not None and _at_once(one.deleting_since, since)]
        vanished = sum(1 for then in self._vanished.get(gateway, ()) if _at_once(then, since))
        judged = any(one.reason == Reason.MassDeletion for one in going)
        with_files = 1 + sum(1 for one in others if self._with_files.get(one.uid))
        return Burst(1 + len(going) + vanished, 1 + len(others) + vanished, judged, with_files)


def _at_once(one: datetime, other: datetime) -> bool:
    return abs((one - other).total_seconds()) <= AT_ONCE
