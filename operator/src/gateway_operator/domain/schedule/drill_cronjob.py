"""Builds the CronJob of a schedule's drills. Its pod creates a GatewayRestore of mode Drill and waits for it."""

from __future__ import annotations

from typing import Any, Final

from gateway_operator.domain.model.names import DRILL_TEMPLATE, drill_cron_job_name
from gateway_operator.domain.schedule.cronjob import (
    MARGIN_SECONDS,
    CronJobTask,
    Image,
    build_cron_job,
    object_template,
)
from gateway_operator.domain.schedule.resource import DrillSettings, GatewayBackupSchedule

DRILL_VARIABLE: Final = "GATEWAY_DRILL_TEMPLATE"
"""The environment variable of the pod that holds the GatewayRestore to create, as JSON."""
_STARTING_SECONDS: Final = 300
"""Seconds for which a drill waits for its gateway."""
_JOB_STARTING_DEADLINE: Final = 3600


def desired_drill_cron_job(schedule: GatewayBackupSchedule, drill: DrillSettings, image: Image) -> dict[str, Any]:
    """The complete CronJob for the drills of a schedule."""
    task = CronJobTask(
        name=drill_cron_job_name(schedule.name),
        schedule=drill.schedule,
        time_zone=drill.time_zone,
        # A second drill of the same backup proves nothing more, and needs the resources of a second gateway.
        concurrency_policy="Forbid",
        starting_deadline=_JOB_STARTING_DEADLINE,
        successful_jobs=drill.successful_jobs,
        failed_jobs=drill.failed_jobs,
        words=("drill", "create"),
        seconds=max_drill_seconds(drill),
        annotation=DRILL_TEMPLATE,
        variable=DRILL_VARIABLE,
        template=drill_template(schedule, drill),
    )
    return build_cron_job(schedule, image, task)


def max_drill_seconds(drill: DrillSettings) -> int:
    """Seconds from the creation of a drill until the operator has ended it, plus a margin."""
    return _STARTING_SECONDS + drill.timeout + MARGIN_SECONDS


def overdue_seconds(drill: DrillSettings) -> int:
    """Seconds after its due time within which a drill has ended, also if its Job started late."""
    return _JOB_STARTING_DEADLINE + max_drill_seconds(drill)


def drill_template(schedule: GatewayBackupSchedule, drill: DrillSettings) -> str:
    """The GatewayRestore that the pod creates, without its name, as JSON."""
    spec: dict[str, Any] = {
        "mode": "Drill",
        "latest": {"group": schedule.name},
        "startingDeadlineSeconds": _STARTING_SECONDS,
        "timeoutSeconds": drill.timeout,
    }
    if drill.identity is not None:
        spec["identitySecretRef"] = dict(drill.identity)
    return object_template(schedule, spec)
