"""GatewayBackup."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.backup_index import TERMINAL
from gateway_operator.domain.deletion import left_behind
from gateway_operator.domain.names import BACKUP_PLURAL, FINALIZER, GROUP, VERSION
from gateway_operator.domain.objects import Backup
from gateway_operator.handlers.running import HandlerDependencies
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup import reconcile_backup
from gateway_operator.reconcile.deletion import finalize_backup, sync_finalizer
from gateway_operator.reconcile.gateways import GatewayLocks
from gateway_operator.reconcile.writing import object_log


@kopf.index(GROUP, VERSION, BACKUP_PLURAL)
async def index_backup(memo: kopf.Memo, body: kopf.Body, **_: Any) -> None:
    """Fill our own index. kopf calls this for all objects before it calls the first event handler, so the first
    reconcile finds the index complete."""
    dependencies: HandlerDependencies = memo.dependencies
    backup = Backup.parse(body)
    dependencies.backup_index.upsert(backup)
    dependencies.add_schedule_of(backup)


@kopf.on.event(GROUP, VERSION, BACKUP_PLURAL)
async def on_backup_event(
    memo: kopf.Memo,
    body: kopf.Body,
    type: str | None,  # noqa: A002 - kopf's name
    **_: Any,
) -> None:
    """Queue it if there is work; forget it when it is deleted."""
    dependencies: HandlerDependencies = memo.dependencies
    backup = Backup.parse(body)
    is_deleted = type == "DELETED"
    dependencies.backups.observe(backup, finished=is_deleted or not _has_work(backup))
    if is_deleted:
        now = dependencies.ports.clock.now()
        dependencies.backup_index.remove(backup)
        dependencies.add_schedule_of(backup)
        note = left_behind(backup)
        if note is not None:
            await dependencies.ports.cluster.event(backup.meta.ref, note, now)


def _has_work(backup: Backup) -> bool:
    if backup.meta.deleting_since is not None:
        return FINALIZER in backup.meta.finalizers
    return backup.phase not in TERMINAL or backup.delete_file != (FINALIZER in backup.meta.finalizers)


async def reconcile(ports: Ports, locks: GatewayLocks, backup: Backup) -> float | None:
    """One run of the queue. ``backup`` is what the watch showed: only what never changes is taken from it."""
    ref = backup.meta.ref
    log = object_log(ref)
    if backup.meta.deleting_since is not None:
        after = await finalize_backup(ports, ref, log)
        if after is None:
            await sync_finalizer(ports.cluster, ref)
        return after
    if backup.delete_file != (FINALIZER in backup.meta.finalizers):
        await sync_finalizer(ports.cluster, ref)
    return await reconcile_backup(ports, locks, ref, log, backup.gateway)
