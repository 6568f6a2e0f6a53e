"""GatewayBackup."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.backup_index import TERMINAL
from gateway_operator.domain.deletion import left_behind
from gateway_operator.domain.names import BACKUP_KIND, BACKUP_PLURAL, DELETE_FILE, FILE_GOES, GROUP, VERSION
from gateway_operator.domain.objects import Backup, GatewayRef
from gateway_operator.handlers.running import Parts, ref_of, until_done, when_unfinished
from gateway_operator.reconcile.backup import reconcile_backup
from gateway_operator.reconcile.deletion import forget_backup

unfinished = when_unfinished(TERMINAL)


def file_goes_too(spec: kopf.Spec, annotations: kopf.Annotations, **_: Any) -> bool:
    """Only such an object gets our finalizer, or keeps the one that it was marked with: any other goes without us."""
    return bool(spec.get("deletionPolicy") == "Delete" or annotations.get(DELETE_FILE) in FILE_GOES)


@kopf.index(GROUP, VERSION, BACKUP_PLURAL)
async def known_backups(memo: kopf.Memo, body: kopf.Body, **_: Any) -> None:
    """Remember each one, and tell its schedule. As an index, so that all are known before the first handler runs; what
    is kept is our own. One call for all that wants to know of an event, since it is the call that costs.
    """
    parts: Parts = memo.parts
    backup = Backup.parse(body)
    parts.backup_index.upsert(backup)
    parts.nudge(backup)


def gone(type: str | None, **_: Any) -> bool:  # noqa: A002 - kopf's name
    """Asked before a handler is called, which costs kopf ten times as much."""
    return type == "DELETED"


@kopf.on.event(GROUP, VERSION, BACKUP_PLURAL, when=gone)
async def vanished(memo: kopf.Memo, body: kopf.Body, **_: Any) -> None:
    """Forget one that is gone, tell its schedule, and where its file is if nobody was asked about it."""
    parts: Parts = memo.parts
    backup, now = Backup.parse(body), parts.ports.clock.now()
    parts.backup_index.forget(backup, now)
    parts.nudge(backup)
    note = left_behind(backup)
    if note is not None:
        await parts.ports.cluster.event(backup.meta.ref, note, now)


@kopf.on.create(GROUP, VERSION, BACKUP_PLURAL, when=unfinished)  # to kopf a record is new until it is finished
async def backup(memo: kopf.Memo, logger: kopf.Logger, **kwargs: Any) -> None:
    """Bring a backup forward."""
    parts: Parts = memo.parts
    gateway = GatewayRef.parse(kwargs["spec"])
    await until_done(reconcile_backup(parts.ports, parts.turns, ref_of(BACKUP_KIND, **kwargs), logger, gateway), memo)


@kopf.on.delete(GROUP, VERSION, BACKUP_PLURAL, when=file_goes_too)
async def backup_deletion(memo: kopf.Memo, logger: kopf.Logger, **kwargs: Any) -> None:
    """See to the file, then let the object go."""
    parts: Parts = memo.parts
    await until_done(forget_backup(parts.ports, ref_of(BACKUP_KIND, **kwargs), logger))
