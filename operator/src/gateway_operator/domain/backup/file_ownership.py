"""Finds the owner of a file that a GatewayBackup requests to adopt: a file belongs to at most one GatewayBackup.

The GatewayBackup that wrote the file or has adopted it is the owner. Among several that request it, the oldest one
adopts it. This holds even when two operators run by mistake, because each object claims the path in its status before
it reads the others. An older object waits for a younger one that has already started, since that one may have read the
others before the older one's claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.resources import Backup


@dataclass(frozen=True, slots=True)
class FileOwner:
    """The GatewayBackup that owns the file; ``undecided`` if it may still become the owner."""

    name: str
    undecided: bool = False


def find_owner(backup: Backup, others: Sequence[BackupSummary], volume_id: str | None) -> FileOwner | None:
    """The owner that prevents ``backup`` from adopting its file on that volume; None if it may adopt it.

    ``others`` are the rows of the namespace with the same path or backup id.
    """
    mine = BackupSummary.from_backup(backup)
    waiting: FileOwner | None = None
    for other in sorted(others, key=lambda one: (one.created, one.uid)):
        if other.uid == mine.uid or other.deleting_since is not None or other.phase == "Failed":
            continue
        elsewhere = other.set_id.namespaced_gateway != mine.set_id.namespaced_gateway
        if other.volume_id != volume_id if other.volume_id else elsewhere:
            continue
        if not other.adopts or other.phase == "Completed" or (other.created, other.uid) < (mine.created, mine.uid):
            return FileOwner(other.name)
        if other.phase in ("Running", "Verifying"):
            waiting = waiting or FileOwner(other.name, undecided=True)
    return waiting
