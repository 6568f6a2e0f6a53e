"""GatewayBackup."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.backup import TERMINAL
from gateway_operator.domain.names import BACKUP_KIND, BACKUP_PLURAL, GROUP, VERSION
from gateway_operator.handlers.running import Parts, ref_of, until_done, when_unfinished
from gateway_operator.reconcile.backup import forget_backup, reconcile_backup

unfinished = when_unfinished(TERMINAL)


def file_goes_too(spec: kopf.Spec, **_: Any) -> bool:
    """Only such an object gets our finalizer: any other may go without asking us."""
    return bool(spec.get("deletionPolicy") == "Delete")


@kopf.on.resume(GROUP, VERSION, BACKUP_PLURAL, when=unfinished)
@kopf.on.create(GROUP, VERSION, BACKUP_PLURAL, when=unfinished)
@kopf.on.update(GROUP, VERSION, BACKUP_PLURAL, when=unfinished)
async def backup(memo: kopf.Memo, logger: kopf.Logger, **kwargs: Any) -> None:
    """Bring a backup forward."""
    parts: Parts = memo.parts
    await until_done(reconcile_backup(parts.ports, parts.turns, ref_of(BACKUP_KIND, **kwargs), logger))


@kopf.on.delete(GROUP, VERSION, BACKUP_PLURAL, when=file_goes_too)
async def backup_deletion(memo: kopf.Memo, logger: kopf.Logger, **kwargs: Any) -> None:
    """See to the file, then let the object go."""
    parts: Parts = memo.parts
    await until_done(forget_backup(parts.ports, ref_of(BACKUP_KIND, **kwargs), logger))
