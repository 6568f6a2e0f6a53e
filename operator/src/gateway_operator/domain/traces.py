"""What is noted on a gateway's workload, in annotations, because no object of ours is sure to be there to hold it.

What is to be told from a loss must not be lost with it. The workload outlives the operator and every GatewayBackup;
where it is gone itself, no file can be deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway_operator.domain import times
from gateway_operator.domain.names import GROUP
from gateway_operator.domain.objects import GatewayRef

DAY: Final = timedelta(days=1)
FREE: Final = 5
"""So many files go in a day with their objects, unasked, however few there are."""
MOST: Final = 100
"""And no more than so many, however many there are."""
_UID: Final = 8


def inventory_note(gateway: GatewayRef, group: str) -> str:
    """The annotation with how many good backups the last pass left of a set that has no schedule."""
    return f"inventory{_pod(gateway)}.{GROUP}/{group}"


def accept_note(gateway: GatewayRef, group: str) -> str:
    """The annotation, ``NOW/BEFORE``, by which a person says that it is right that so few are left of so many."""
    return f"accept-inventory{_pod(gateway)}.{GROUP}/{group}"


def files_note(gateway: GatewayRef) -> str:
    """The annotation with the files that went with their objects in the last day; see :class:`Spent`."""
    return f"{GROUP}/files-deleted{_pod(gateway)}"


def _pod(gateway: GatewayRef) -> str:
    return f"-{gateway.ordinal}" if gateway.ordinal else ""


def inventory(value: object) -> int | None:
    """The number in such a note; None where there is none that can be read."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


@dataclass(frozen=True, slots=True)
class Spent:
    """The files of a gateway that went with their objects since ``began`` because of ``deletionPolicy: Delete`` alone.

    ``of``: how many such backups there were then. ``uids``: of those that went, the beginnings. A day after it began, a
    new one begins.
    """

    began: datetime
    of: int
    uids: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: object) -> Spent | None:
        """From the annotation; None where there is none that can be read."""
        words = str(value).split()
        if len(words) not in (2, 3):
            return None
        number, began = inventory(words[1]), times.parse(words[0])
        if number is None or began is None:
            return None
        return cls(began, number, tuple(words[2].split(",")) if len(words) == 3 else ())

    def text(self) -> str:
        """As the annotation has it."""
        return " ".join((times.text(self.began), str(self.of), ",".join(self.uids))).rstrip()

    @property
    def allowance(self) -> int:
        """How many may go in this day: a quarter."""
        return min(MOST, max(FREE, self.of // 4))

    @property
    def exhausted(self) -> bool:
        """Whether no more may go in this day."""
        return len(self.uids) >= self.allowance

    def counts(self, uid: str) -> bool:
        """Whether this one is counted already."""
        return uid[:_UID] in self.uids

    def plus(self, uid: str) -> Spent:
        """With one more."""
        return replace(self, uids=(*self.uids, uid[:_UID]))


def spent(value: object, present: int, now: datetime) -> Spent:
    """The day that is running, or a new one. ``present``: how many backups with ``deletionPolicy: Delete`` there are,
    the one that is going included. A clock that was set back does not begin a new day."""
    found = Spent.parse(value)
    if found is None or now - found.began >= DAY:
        return Spent(now, present)
    return replace(found, of=max(found.of, present))
