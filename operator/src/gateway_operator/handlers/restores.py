"""Watch events of GatewayRestores.

A restore has no finalizer. If one is deleted before it is finished, the next restore of the gateway reports it.
"""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.model.names import GROUP, RESTORE_PLURAL, VERSION
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import TERMINAL_RESTORE_PHASES
from gateway_operator.handlers.common import HandlerDependencies, parse_or_defaults


@kopf.on.event(GROUP, VERSION, RESTORE_PLURAL)
async def on_restore_event(
    memo: kopf.Memo,
    body: kopf.Body,
    type: str | None,  # noqa: A002 - kopf's name
    **_: Any,
) -> None:
    """Add an unfinished restore to the queue, and remove a finished or deleted one."""
    dependencies: HandlerDependencies = memo.dependencies
    restore = parse_or_defaults(Restore.parse, body)
    dependencies.restores.observe(restore, finished=type == "DELETED" or restore.phase in TERMINAL_RESTORE_PHASES)
