"""Watch events of GatewayBackupSchedules and of their CronJobs."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.model.identifiers import NamespacedName
from gateway_operator.domain.model.names import GROUP, SCHEDULE_LABEL, SCHEDULE_PLURAL, VERSION
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.handlers.common import HandlerDependencies, parse_or_defaults


@kopf.on.event(GROUP, VERSION, SCHEDULE_PLURAL)
async def on_schedule_event(
    memo: kopf.Memo,
    body: kopf.Body,
    type: str | None,  # noqa: A002 - kopf's name
    **_: Any,
) -> None:
    """Add a new or changed schedule to the queue, and remove a deleted one."""
    dependencies: HandlerDependencies = memo.dependencies
    schedule = parse_or_defaults(GatewayBackupSchedule.parse, body)
    is_deleted = type == "DELETED"
    dependencies.schedules.observe(schedule, finished=is_deleted)
    dependencies.notify(schedule, deleted=is_deleted)


@kopf.on.event("batch", "v1", "cronjobs", labels={SCHEDULE_LABEL: kopf.PRESENT})
async def on_cronjob_event(
    memo: kopf.Memo, namespace: str | None, name: str | None, labels: kopf.Labels, **_: Any
) -> None:
    """Add the schedule of a CronJob to the queue when the CronJob is changed or deleted, or starts a Job.

    The CronJob of the drills has another name than its schedule. Someone may have changed the label of the other one.
    """
    dependencies: HandlerDependencies = memo.dependencies
    for schedule in {labels.get(SCHEDULE_LABEL, ""), name or ""}:
        dependencies.schedules.add(NamespacedName(namespace or "", schedule))
