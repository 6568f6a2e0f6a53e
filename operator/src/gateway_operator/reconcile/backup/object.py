"""Reconciles a GatewayBackup: its finalizer and its deletion here, the backup itself in ``run``."""

from __future__ import annotations

from gateway_operator.domain.index.backup_index import TERMINAL_BACKUP_PHASES
from gateway_operator.domain.model.identifiers import Origin
from gateway_operator.domain.model.names import FINALIZER, SCHEDULE_LABEL
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup.deletion import finalize_backup, sync_finalizer
from gateway_operator.reconcile.backup.run import reconcile_backup
from gateway_operator.reconcile.gateway_lock import GatewayLocks, Priority
from gateway_operator.reconcile.status_writer import object_log, observe_generation


async def reconcile_backup_object(ports: Ports, locks: GatewayLocks, backup: Backup) -> float | None:
    """Reconcile one GatewayBackup. Returns the seconds until the next run; None if there is nothing left to do.

    ``backup`` is the object of the last watch event and may be out of date: each step reads the object again.
    """
    ref = backup.meta.ref
    log = object_log(ref)
    if backup.meta.deleting_since is not None:
        # The file before the finalizer: without the finalizer the object disappears, and its file would stay.
        after = await finalize_backup(ports, ref, log)
        if after is None:
            await sync_finalizer(ports.cluster, ref)
        return after
    # The finalizer before the backup: a deletion during the backup must find it, or the new file would stay.
    if backup.delete_file != (FINALIZER in backup.meta.finalizers):
        await sync_finalizer(ports.cluster, ref)
    if backup.phase in TERMINAL_BACKUP_PHASES:
        await observe_generation(ports, ref)
        return None
    return await reconcile_backup(ports, locks, ref, log, backup.gateway, _priority(backup))


def _priority(backup: Backup) -> Priority:
    """The position in the queue of the gateway. Before its origin is verified, the label decides."""
    claimed = not backup.status.get("origin") and SCHEDULE_LABEL in backup.meta.labels
    return Priority.SCHEDULE if claimed or backup.origin is Origin.Schedule else Priority.OTHER
