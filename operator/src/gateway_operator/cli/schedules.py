"""``kubectl gateway schedule``."""

from __future__ import annotations

import argparse
import secrets
from typing import Any, Final
from urllib.parse import quote

from gateway_operator.cli.session import FailedError, Session, ago
from gateway_operator.cli.waiting import finish
from gateway_operator.domain import conditions
from gateway_operator.domain.names import BACKUP_KIND, SCHEDULE_KIND
from gateway_operator.domain.objects import Json
from gateway_operator.domain.scheduled import GatewayBackupSchedule
from gateway_operator.ports import MissingError

_HEAD: Final = ("NAME", "GATEWAY", "SCHEDULE", "TIME ZONE", "SUSPENDED", "LAST SUCCESS", "NEXT", "OBJECTIVE", "READY")


async def show(session: Session, _arguments: argparse.Namespace) -> None:
    """``schedule list``."""
    bodies = await session.list(SCHEDULE_KIND)
    session.table(SCHEDULE_KIND, bodies, _HEAD, [_row(body) for body in bodies])


def _row(body: Json) -> tuple[str, ...]:
    schedule = GatewayBackupSchedule.parse(body)
    return (
        schedule.name,
        schedule.gateway.name,
        schedule.schedule,
        schedule.time_zone,
        "yes" if schedule.suspend else "",
        ago(schedule.status.get("lastSuccessfulTime")),
        str(schedule.status.get("nextScheduleTime", "")),
        _word(schedule, "ObjectiveMet"),
        _word(schedule, "Ready"),
    )


def _word(schedule: GatewayBackupSchedule, kind: str) -> str:
    return {True: "yes", False: "no", None: ""}[conditions.holds(schedule.conditions, kind)]


async def suspend(session: Session, arguments: argparse.Namespace) -> None:
    """``schedule suspend``."""
    await session.set_each(SCHEDULE_KIND, arguments.names, "suspend", True, "suspended")


async def resume(session: Session, arguments: argparse.Namespace) -> None:
    """``schedule resume``."""
    await session.set_each(SCHEDULE_KIND, arguments.names, "suspend", False, "resumed")


async def run(session: Session, arguments: argparse.Namespace) -> None:
    """``schedule run``: a Job from the CronJob, whose pod makes the backup."""
    batch = f"/apis/batch/v1/namespaces/{quote(session.namespace)}"
    try:
        cron_job = await session.cluster.request("GET", f"{batch}/cronjobs/{quote(arguments.name)}")
    except MissingError:
        said = GatewayBackupSchedule.parse(await session.get(SCHEDULE_KIND, arguments.name)).reason
        raise FailedError(f"schedule {arguments.name} has no CronJob ({said or 'is the operator running?'})") from None
    name = f"{arguments.name}-run-{secrets.token_hex(3)}"
    await session.cluster.request("POST", f"{batch}/jobs", job(cron_job, name))
    if not arguments.wait:
        session.put(f"job.batch/{name}" if session.output == "name" else f"job.batch/{name} created")
        return
    done = await finish(session, BACKUP_KIND, name, arguments.timeout, appears=True)
    session.show(BACKUP_KIND, done, "completed")


def job(cron_job: Json, name: str) -> dict[str, Any]:
    """The Job that ``kubectl create job --from=cronjob/…`` makes: its history is kept with the CronJob's own."""
    meta, template = cron_job["metadata"], cron_job["spec"]["jobTemplate"]
    inner = template.get("metadata") or {}
    # Without blockOwnerDeletion: that needs a right to the CronJob which whoever runs this need not have.
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": meta["name"], "uid": meta["uid"], "controller": True}
    annotations = {"cronjob.kubernetes.io/instantiate": "manual", **(inner.get("annotations") or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "annotations": annotations,
            "labels": inner.get("labels") or {},
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }
