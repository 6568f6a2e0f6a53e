"""Watch events of GatewayBackupImports. An import has no finalizer and does not own the GatewayBackups it created."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import GROUP, IMPORT_PLURAL, VERSION
from gateway_operator.handlers.common import HandlerDependencies, parse_or_defaults
from gateway_operator.reconcile.backup_import import TERMINAL_IMPORT_PHASES


@kopf.on.event(GROUP, VERSION, IMPORT_PLURAL)
async def on_import_event(
    memo: kopf.Memo,
    body: kopf.Body,
    type: str | None,  # noqa: A002 - kopf's name
    **_: Any,
) -> None:
    """Add an unfinished import to the queue, and remove a finished or deleted one."""
    dependencies: HandlerDependencies = memo.dependencies
    backup_import = parse_or_defaults(Import.parse, body)
    dependencies.imports.observe(
        backup_import, finished=type == "DELETED" or backup_import.phase in TERMINAL_IMPORT_PHASES
    )
