"""GatewayRestore. It has no finalizer: whoever deletes one in the middle is told by the next what it left."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.names import GROUP, RESTORE_KIND, RESTORE_PLURAL, VERSION
from gateway_operator.domain.restore import TERMINAL
from gateway_operator.handlers.running import Parts, ref_of, until_done, when_unfinished
from gateway_operator.reconcile.restore import reconcile_restore

unfinished = when_unfinished(TERMINAL)


@kopf.on.create(GROUP, VERSION, RESTORE_PLURAL, when=unfinished)  # to kopf a record is new until it is finished
async def restore(memo: kopf.Memo, logger: kopf.Logger, **kwargs: Any) -> None:
    """Bring a restore forward."""
    parts: Parts = memo.parts
    await until_done(reconcile_restore(parts.ports, parts.locks, ref_of(RESTORE_KIND, **kwargs), logger), memo)
