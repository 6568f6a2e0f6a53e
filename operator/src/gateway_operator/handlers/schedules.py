"""GatewayBackupSchedule and its CronJob."""

from __future__ import annotations

from typing import Any

import kopf

from gateway_operator.domain.names import (
    GROUP,
    SCHEDULE_KIND,
    SCHEDULE_LABEL,
    SCHEDULE_PLURAL,
    VERSION,
)
from gateway_operator.domain.objects import NamespacedName
from gateway_operator.handlers.running import Parts, ref_of, until_done
from gateway_operator.reconcile.schedule import reconcile_schedule


@kopf.on.resume(GROUP, VERSION, SCHEDULE_PLURAL)
@kopf.on.create(GROUP, VERSION, SCHEDULE_PLURAL)
@kopf.on.update(GROUP, VERSION, SCHEDULE_PLURAL)
async def schedule(memo: kopf.Memo, logger: kopf.Logger, **kwargs: Any) -> None:
    """Bring its CronJob to what it says."""
    parts: Parts = memo.parts
    ref = ref_of(SCHEDULE_KIND, **kwargs)
    await until_done(reconcile_schedule(parts.schedules, ref, logger, try_again=True))


@kopf.on.event(GROUP, VERSION, SCHEDULE_PLURAL)
async def schedule_seen(
    memo: kopf.Memo,
    type: str | None,  # noqa: A002 - kopf's name
    **kwargs: Any,
) -> None:
    """Know which there are."""
    parts: Parts = memo.parts
    ref = ref_of(SCHEDULE_KIND, **kwargs)
    (parts.nudges.forget if type == "DELETED" else parts.nudges.know)(NamespacedName(ref.namespace, ref.name))


@kopf.on.event("batch", "v1", "cronjobs", labels={SCHEDULE_LABEL: kopf.PRESENT})
async def cron_job_seen(memo: kopf.Memo, **kwargs: Any) -> None:
    """Somebody changed or deleted it, or it has started a Job."""
    parts: Parts = memo.parts
    ref = ref_of("CronJob", **kwargs)
    parts.nudges.nudge(NamespacedName(ref.namespace, ref.name))
