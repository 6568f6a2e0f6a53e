"""The commands of ``kubectl gateway schedule``: list, suspend, resume and run."""

from __future__ import annotations

import argparse
import secrets
from typing import Any, Final
from urllib.parse import quote

from gateway_operator.cli.session import FailedError, Session, ago
from gateway_operator.cli.wait import wait_until_completed
from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.names import BACKUP_KIND, SCHEDULE_KIND, job_backup_name
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import MissingError

_HEAD: Final = (
    "NAME",
    "GATEWAY",
    "SCHEDULE",
    "TIME ZONE",
    "SUSPENDED",
    "LAST SUCCESS",
    "NEXT",
    "OBJECTIVE",
    "DRILLED",
    "READY",
)


async def show(session: Session, _arguments: argparse.Namespace) -> None:
    """``schedule list``: all schedules in the namespace."""
    bodies = await session.list(SCHEDULE_KIND)
    session.print_list(SCHEDULE_KIND, bodies, _HEAD, [_row(body) for body in bodies])


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
        _yes_or_no(schedule, "ObjectiveMet"),
        _yes_or_no(schedule, "Drilled"),
        _yes_or_no(schedule, "Ready"),
    )


def _yes_or_no(schedule: GatewayBackupSchedule, condition_type: str) -> str:
    return {True: "yes", False: "no", None: ""}[conditions.condition_status(schedule.conditions, condition_type)]


async def suspend(session: Session, arguments: argparse.Namespace) -> None:
    """``schedule suspend``: stops new backups of schedules."""
    await session.set_each(SCHEDULE_KIND, arguments.names, "suspend", True, "suspended")


async def resume(session: Session, arguments: argparse.Namespace) -> None:
    """``schedule resume``: starts backups of suspended schedules again."""
    await session.set_each(SCHEDULE_KIND, arguments.names, "suspend", False, "resumed")


async def run(session: Session, arguments: argparse.Namespace) -> None:
    """``schedule run``: creates a Job from the schedule's CronJob, whose pod makes the backup."""
    batch = f"/apis/batch/v1/namespaces/{quote(session.namespace)}"
    try:
        cron_job = await session.cluster.request("GET", f"{batch}/cronjobs/{quote(arguments.name)}")
    except MissingError:
        schedule = GatewayBackupSchedule.parse(await session.get(SCHEDULE_KIND, arguments.name))
        detail = schedule.reason or "check that the operator is running"
        raise FailedError(f"GatewayBackupSchedule {arguments.name} has no CronJob ({detail})") from None
    name = f"{arguments.name}-run-{secrets.token_hex(3)}"
    created = await session.cluster.request("POST", f"{batch}/jobs", job(cron_job, name))
    if not arguments.wait:
        session.stdout(f"job.batch/{name}" if session.output == "name" else f"job.batch/{name} created")
        return
    # The Job's pod creates the backup, so it does not exist yet.
    backup_name = job_backup_name(name, str(created["metadata"]["uid"]))
    finished = await wait_until_completed(session, BACKUP_KIND, backup_name, arguments.timeout, may_be_missing=True)
    session.print_object(BACKUP_KIND, finished, "completed")


def job(cron_job: Json, name: str) -> dict[str, Any]:
    """The Job that ``kubectl create job --from=cronjob/…`` creates. It counts in the CronJob's history limits."""
    meta, template = cron_job["metadata"], cron_job["spec"]["jobTemplate"]
    template_meta = template.get("metadata") or {}
    # blockOwnerDeletion is left out: it needs permission to update the CronJob's finalizers, which users may not have.
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": meta["name"], "uid": meta["uid"], "controller": True}
    annotations = {"cronjob.kubernetes.io/instantiate": "manual", **(template_meta.get("annotations") or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "annotations": annotations,
            "labels": template_meta.get("labels") or {},
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }
