"""Watch events of GatewayRestores.

A restore that may be open at its gateway has a finalizer, so its deletion waits until the restore is ended there.
"""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.model.identifiers import NamespacedName
from gateway_operator.domain.model.names import GROUP, RESTORE_PLURAL, SCHEDULE_LABEL, VERSION
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import has_work
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
    if (schedule := restore.meta.labels.get(SCHEDULE_LABEL)) is not None:
        # A drill of a schedule: its status shows the result. If there is none of that name, the queue ignores it.
        dependencies.schedules.add(NamespacedName(restore.meta.ref.namespace, str(schedule)))
    is_deleted = type == "DELETED"
    if is_deleted:
        dependencies.restore_index.drop(restore.uid)
    else:
        dependencies.restore_index.upsert(restore)
    dependencies.restores.observe(restore, finished=is_deleted or not has_work(restore))
    dependencies.notify(restore, deleted=is_deleted)
