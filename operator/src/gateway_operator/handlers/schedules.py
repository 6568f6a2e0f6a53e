"""GatewayBackupSchedule, its CronJob, and the backups that its status counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import kopf

from gateway_operator.domain.names import (
    BACKUP_PLURAL,
    GROUP,
    SCHEDULE_KIND,
    SCHEDULE_LABEL,
    SCHEDULE_PLURAL,
    VERSION,
)
from gateway_operator.domain.scheduled import Member, Schedule, Set, set_of
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
    memo.members.index = kwargs["members"]
    ref = ref_of(SCHEDULE_KIND, **kwargs)
    (parts.nudges.forget if type == "DELETED" else parts.nudges.know)((ref.namespace, ref.name))


@kopf.on.event("batch", "v1", "cronjobs", labels={SCHEDULE_LABEL: kopf.PRESENT})
async def cron_job_seen(memo: kopf.Memo, **kwargs: Any) -> None:
    """Somebody changed or deleted it, or it has started a Job."""
    parts: Parts = memo.parts
    ref = ref_of("CronJob", **kwargs)
    parts.nudges.nudge((ref.namespace, ref.name))


def of_a_set(body: kopf.Body, **_: Any) -> bool:
    """Whether a schedule can have this backup."""
    return set_of(cast(Any, body)) is not None


@kopf.index(GROUP, VERSION, BACKUP_PLURAL, when=of_a_set)
async def members(body: kopf.Body, **_: Any) -> dict[Set, Member]:
    """Of each backup what the status of its schedule is made of."""
    found = set_of(cast(Any, body))
    return {} if found is None else {found: Member.parse(cast(Any, body))}


@kopf.on.event(GROUP, VERSION, BACKUP_PLURAL, when=of_a_set)
async def backup_seen(memo: kopf.Memo, body: kopf.Body, **_: Any) -> None:
    """One of a schedule's backups has begun, ended or gone."""
    parts: Parts = memo.parts
    found = set_of(cast(Any, body))
    if found is not None:
        parts.nudges.nudge((found[0], found[2]))


class Members:
    """The index, for those whom kopf does not call. It is there from the first schedule on."""

    def __init__(self) -> None:
        self.index: kopf.Index[Set, Member] | None = None

    async def __call__(self, schedule: Schedule) -> Sequence[Member]:
        """The backups of a schedule."""
        wanted = (schedule.meta.ref.namespace, schedule.gateway, schedule.name)
        return list(self.index.get(wanted, ())) if self.index is not None else ()
