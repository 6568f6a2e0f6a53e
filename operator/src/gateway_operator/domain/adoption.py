"""One file, one resource: who owns a file that a GatewayBackup wants to adopt.

Whoever made it, or has adopted it, owns it. Among those that want it, the older one wins, also when two operators run
by mistake: each claims the path in its status first and looks at the others then, and an older one that finds a younger
already at work waits for it, since that one may not have seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway_operator.domain.backup_index import BackupSummary
from gateway_operator.domain.objects import Backup


@dataclass(frozen=True, slots=True)
class Owned:
    """Another GatewayBackup has the file, or (``undecided``) may be about to."""

    by: str
    undecided: bool = False


def owner(backup: Backup, others: Sequence[BackupSummary], volume_id: str | None) -> Owned | None:
    """Who keeps ``backup`` from adopting its file on that volume; None if nobody does.

    ``others`` name the same path or the same backup id somewhere in the namespace.
    """
    mine = BackupSummary.from_backup(backup)
    waiting: Owned | None = None
    for other in sorted(others, key=lambda one: (one.created, one.uid)):
        if other.uid == mine.uid or other.deleting_since is not None or other.phase == "Failed":
            continue
        elsewhere = other.set_id.namespaced_gateway != mine.set_id.namespaced_gateway
        if other.volume_id != volume_id if other.volume_id else elsewhere:
            continue
        if not other.adopts or other.phase == "Completed" or (other.created, other.uid) < (mine.created, mine.uid):
            return Owned(other.name)
        if other.phase in ("Running", "Verifying"):
            waiting = waiting or Owned(other.name, undecided=True)
    return waiting
