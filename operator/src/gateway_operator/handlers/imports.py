"""GatewayBackupImport. It has no finalizer: what it created is nobody's but its own."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.names import GROUP, IMPORT_KIND, IMPORT_PLURAL, VERSION
from gateway_operator.handlers.running import Parts, ref_of, until_done, when_unfinished
from gateway_operator.reconcile.importing import TERMINAL, reconcile_import

unfinished = when_unfinished(TERMINAL)


@kopf.on.resume(GROUP, VERSION, IMPORT_PLURAL, when=unfinished)
@kopf.on.create(GROUP, VERSION, IMPORT_PLURAL, when=unfinished)
@kopf.on.update(GROUP, VERSION, IMPORT_PLURAL, when=unfinished)
async def backup_import(memo: kopf.Memo, logger: kopf.Logger, **kwargs: Any) -> None:
    """Bring an import forward."""
    parts: Parts = memo.parts
    await until_done(reconcile_import(parts.ports, ref_of(IMPORT_KIND, **kwargs), logger))
