"""Counts the open connections of a listener and decides which new one is accepted.

When the listener is full, a connection that waits for its client is closed for the new one: an idle one, or one whose
request is incomplete. Those that have done least go first: see :class:`Rank`. A connection with an accepted key is
never closed while its request runs. So idle or slow connections, however many one peer opens, never keep another peer
out.
"""

from __future__ import annotations

import resource
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

RESERVED_FILES: Final = 128
"""Descriptors that connections leave to files, pipes and worker processes."""
PROBE_CONNECTIONS: Final = 32
"""Connections of the listener that serves only the probes and metrics."""


def connection_capacity(setting: int) -> int:
    """How many connections the process can hold: ``setting``, or less if the limit of open files is low."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return setting
    return max(4, min(setting, limit - min(RESERVED_FILES, limit // 2)))


class Rank(IntEnum):
    """The progress of a connection so far. A lower rank is closed first."""

    New = 0
    Answered = 1
    HadKey = 2


class Slot:
    """The place of one open connection. ``close`` ends the connection."""

    __slots__ = ("_table", "close", "peer", "rank")

    def __init__(self, table: SlotTable, peer: str, close: Callable[[], None]) -> None:
        self._table = table
        self.peer = peer
        self.close = close
        self.rank = Rank.New

    def protect(self) -> None:
        """The request of this connection has an accepted key: the connection is not closed for another one."""
        self._table.set_waiting(self, waiting=False)

    def wait_for_client(self, rank: Rank) -> None:
        """The connection waits for its client from now on."""
        self.rank = max(self.rank, rank)
        self._table.set_waiting(self, waiting=True)

    def release(self) -> None:
        """The connection is closed. A second call does nothing."""
        self._table.remove(self)


class _Queues:
    """The waiting connections of one peer, by rank and then by the time since which they wait."""

    def __init__(self) -> None:
        self._by_rank: tuple[OrderedDict[Slot, None], ...] = tuple(OrderedDict() for _ in Rank)

    def append(self, slot: Slot) -> None:
        self._by_rank[slot.rank][slot] = None

    def discard(self, slot: Slot) -> None:
        for queue in self._by_rank:
            queue.pop(slot, None)

    def __iter__(self) -> Iterator[Slot]:
        for queue in self._by_rank:
            yield from queue

    def __bool__(self) -> bool:
        return any(self._by_rank)


class SlotTable:
    """The connections of one listener, at most ``capacity``, and at most ``per_peer`` of one peer (0: no limit)."""

    def __init__(self, capacity: int, per_peer: int) -> None:
        self._capacity = capacity
        self._per_peer = per_peer
        self._open: set[Slot] = set()
        self._counts: Counter[str] = Counter()
        self._waiting: dict[str, _Queues] = {}

    def __len__(self) -> int:
        return len(self._open)

    def take(self, peer: str, close: Callable[[], None]) -> Slot | None:
        """A slot for a new connection of ``peer``. None if the table is full and no connection can be closed."""
        if self._per_peer and self._counts[peer] >= self._per_peer:
            if not self._close_oldest(peer):
                return None
        elif len(self._open) >= self._capacity and not self._close_one():
            return None
        slot = Slot(self, peer, close)
        self._open.add(slot)
        self._counts[peer] += 1
        self.set_waiting(slot, waiting=True)
        return slot

    def set_waiting(self, slot: Slot, *, waiting: bool) -> None:
        """Whether the connection waits for its client. One that begins to wait is the last to be closed."""
        if slot not in self._open:
            return
        queues = self._waiting.setdefault(slot.peer, _Queues())
        queues.discard(slot)
        if waiting:
            queues.append(slot)
        elif not queues:
            del self._waiting[slot.peer]

    def remove(self, slot: Slot) -> None:
        """Removes a connection that is closed from the table."""
        if slot not in self._open:
            return
        self.set_waiting(slot, waiting=False)
        self._open.discard(slot)
        self._counts[slot.peer] -= 1
        if not self._counts[slot.peer]:
            del self._counts[slot.peer]

    def _close_one(self) -> bool:
        """Closes a connection of the peer that has the most, among those with a waiting one."""
        busiest = max(self._waiting, key=self._counts.__getitem__, default=None)
        return busiest is not None and self._close_oldest(busiest)

    def _close_oldest(self, peer: str) -> bool:
        slot = next(iter(self._waiting.get(peer, _Queues())), None)
        if slot is None:
            return False
        # Removed before it is closed: closing takes effect later, and the new connection counts now.
        self.remove(slot)
        slot.close()
        return True
