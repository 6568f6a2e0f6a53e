"""Watch events of GatewayBackups: they update the backup index and the work queue.

``reconcile`` is the function that the work queue runs for each GatewayBackup.
"""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.backup.deletion import remaining_file_event
from gateway_operator.domain.index.backup_index import TERMINAL_BACKUP_PHASES
from gateway_operator.domain.model.identifiers import Origin
from gateway_operator.domain.model.names import BACKUP_PLURAL, FINALIZER, GROUP, SCHEDULE_LABEL, VERSION
from gateway_operator.domain.model.resources import Backup
from gateway_operator.handlers.common import HandlerDependencies, parse_or_defaults
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup import reconcile_backup
from gateway_operator.reconcile.deletion import finalize_backup, sync_finalizer
from gateway_operator.reconcile.gateway_lock import GatewayLocks, Priority
from gateway_operator.reconcile.status_writer import object_log, observe_generation


@kopf.index(GROUP, VERSION, BACKUP_PLURAL)
async def index_backup(memo: kopf.Memo, body: kopf.Body, **_: Any) -> None:
    """Update the operator's own index.

    kopf calls index functions for all objects before the first event handler, so the index is complete when the first
    reconcile starts.
    """
    dependencies: HandlerDependencies = memo.dependencies
    backup = parse_or_defaults(Backup.parse, body)
    try:
        dependencies.backup_index.upsert(backup)
    except Exception:  # the other backups stay in the index
        object_log(backup.meta.ref).exception("The backup cannot be indexed.")
    dependencies.add_schedule_of(backup)


@kopf.on.event(GROUP, VERSION, BACKUP_PLURAL)
async def on_backup_event(
    memo: kopf.Memo,
    body: kopf.Body,
    type: str | None,  # noqa: A002 - kopf's name
    **_: Any,
) -> None:
    """Add a backup that has work to the queue, and remove a finished or deleted one."""
    dependencies: HandlerDependencies = memo.dependencies
    backup = parse_or_defaults(Backup.parse, body)
    is_deleted = type == "DELETED"
    dependencies.backups.observe(backup, finished=is_deleted or not _has_work(backup))
    dependencies.notify(backup, deleted=is_deleted)
    if is_deleted:
        await _on_backup_deleted(dependencies, backup)


async def _on_backup_deleted(dependencies: HandlerDependencies, backup: Backup) -> None:
    """Remove a deleted backup from the index, and report a file that its deletion has left on the volume."""
    now = dependencies.ports.clock.now()
    # The index before the schedule: the schedule's reconcile reads the index.
    dependencies.backup_index.remove(backup)
    dependencies.add_schedule_of(backup)
    event = remaining_file_event(backup)
    if event is not None and dependencies.leadership.is_leader:
        await dependencies.ports.cluster.event(backup.meta.ref, event, now)


def _has_work(backup: Backup) -> bool:
    if backup.meta.deleting_since is not None:
        return FINALIZER in backup.meta.finalizers
    return (
        backup.phase not in TERMINAL_BACKUP_PHASES
        or backup.delete_file != (FINALIZER in backup.meta.finalizers)
        or backup.status.get("observedGeneration") != backup.meta.generation
    )


async def reconcile(ports: Ports, locks: GatewayLocks, backup: Backup) -> float | None:
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
    """The position in the queue of the gateway. Before its origin is verified, a backup is taken at its word."""
    claimed = not backup.status.get("origin") and SCHEDULE_LABEL in backup.meta.labels
    return Priority.SCHEDULE if claimed or backup.origin is Origin.Schedule else Priority.OTHER
