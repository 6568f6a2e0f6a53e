"""Watch events of GatewayBackups: they update the backup index and the work queue."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.backup.deletion import remaining_file_event
from gateway_operator.domain.backup.status import has_work
from gateway_operator.domain.model.names import BACKUP_PLURAL, GROUP, VERSION
from gateway_operator.domain.model.resources import Backup
from gateway_operator.handlers.common import HandlerDependencies, parse_or_defaults
from gateway_operator.reconcile.status_writer import object_log


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
    dependencies.backups.observe(backup, finished=is_deleted or not has_work(backup))
    dependencies.notify(backup, deleted=is_deleted)
    if is_deleted:
        await _on_backup_deleted(dependencies, backup)


async def _on_backup_deleted(dependencies: HandlerDependencies, backup: Backup) -> None:
    """Remove a deleted backup from the index, and report a file that its deletion has left on the volume."""
    now = dependencies.ports.clock.now()
    # The index before the schedule: the schedule's reconcile reads the index.
    dependencies.backup_index.drop(backup.meta.ref.uid)
    dependencies.add_schedule_of(backup)
    event = remaining_file_event(backup)
    if event is not None and dependencies.leadership.is_leader:
        await dependencies.ports.cluster.event(backup.meta.ref, event, now)
