"""Builds the CronJobs that a schedule owns. `drift` compares them with the existing ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway_operator.domain.model.names import (
    API_VERSION,
    BACKUP_TEMPLATE,
    SCHEDULE_KIND,
    SCHEDULE_LABEL,
    SPEC_DIGEST,
    backup_account,
    canonical_digest,
)
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.job_template import (
    container_resources,
    pod_annotations,
    pod_fields,
    pod_labels,
)
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

CONTAINER: Final = "backup"
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
_MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "gateway-backup-operator"}
_RETRIES: Final = 3
POD_START_SECONDS: Final = 300
"""Seconds for a pod to start, including the pull of its image."""
MARGIN_SECONDS: Final = 60
_DEFAULT_TIMEOUT: Final = 600
_DEFAULT_STARTING: Final = 300
TEMPLATE_VARIABLE: Final = "GATEWAY_BACKUP_TEMPLATE"
"""The environment variable of the pod that holds the GatewayBackup to create, as JSON."""


@dataclass(frozen=True, slots=True)
class Image:
    """The image of the CronJob's pods, which is the operator's own."""

    name: str = ""
    """Empty if the operator does not know its image."""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class CronJobTask:
    """The parts in which the two CronJobs of a schedule differ. ``seconds`` is the time limit of one run."""

    name: str
    schedule: str
    time_zone: str
    concurrency_policy: str
    starting_deadline: int
    successful_jobs: int
    failed_jobs: int
    words: tuple[str, str]
    """The subcommand of ``kubectl-gateway``."""
    seconds: int
    annotation: str
    variable: str
    template: str
    """The object that the pod creates, as JSON. The pod reads it from ``annotation`` through ``variable``."""


def desired_cron_job(schedule: GatewayBackupSchedule, image: Image) -> dict[str, Any]:
    """The complete CronJob for the backups of a schedule."""
    task = CronJobTask(
        name=schedule.name,
        schedule=schedule.schedule,
        time_zone=schedule.time_zone,
        concurrency_policy=schedule.concurrency_policy,
        starting_deadline=schedule.starting_deadline,
        successful_jobs=schedule.successful_jobs,
        failed_jobs=schedule.failed_jobs,
        words=("backup", "create"),
        seconds=max_backup_seconds(schedule.template),
        annotation=BACKUP_TEMPLATE,
        variable=TEMPLATE_VARIABLE,
        template=backup_template(schedule),
    )
    return build_cron_job(schedule, image, task)


def build_cron_job(schedule: GatewayBackupSchedule, image: Image, task: CronJobTask) -> dict[str, Any]:
    """The complete CronJob that a schedule owns, for one of its tasks."""
    ref = schedule.meta.ref
    labels = {**_MANAGED_BY, SCHEDULE_LABEL: ref.name}
    body: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": task.name,
            "namespace": ref.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": SCHEDULE_KIND,
                    "name": ref.name,
                    "uid": ref.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "schedule": task.schedule,
            "timeZone": task.time_zone,
            "suspend": schedule.suspend,
            "concurrencyPolicy": task.concurrency_policy,
            "startingDeadlineSeconds": task.starting_deadline,
            "successfulJobsHistoryLimit": task.successful_jobs,
            "failedJobsHistoryLimit": task.failed_jobs,
            "jobTemplate": {
                "metadata": {"labels": pod_labels(schedule.job_template, labels)},
                "spec": _job(schedule, image, task, labels),
            },
        },
    }
    body["metadata"]["annotations"] = {SPEC_DIGEST: canonical_digest(body["spec"])[:16]}
    return body


def max_backup_seconds(template: Json) -> int:
    """Seconds from the creation of a backup until the operator has ended it, plus a margin."""
    starting = int(template.get("startingDeadlineSeconds", _DEFAULT_STARTING))
    return starting + int(template.get("timeoutSeconds", _DEFAULT_TIMEOUT)) + MARGIN_SECONDS


def _job(schedule: GatewayBackupSchedule, image: Image, task: CronJobTask, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        # A retried pod continues with the object of its Job. If that failed, a retry would only report the same
        # failure, so the Job fails at once. A pod that was evicted does not count as a retry.
        "backoffLimit": _RETRIES,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": CONTAINER,
                        "operator": "In",
                        "values": [EXIT_FAILED, EXIT_USAGE],
                    },
                },
            ]
        },
        "activeDeadlineSeconds": task.seconds + POD_START_SECONDS,
        "template": {
            "metadata": {
                "labels": pod_labels(schedule.job_template, labels),
                "annotations": pod_annotations(schedule.job_template, {task.annotation: task.template}),
            },
            "spec": _pod(schedule, image, task),
        },
    }


def _pod(schedule: GatewayBackupSchedule, image: Image, task: CronJobTask) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "serviceAccountName": backup_account(schedule.gateway.name),
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "imagePullSecrets": [{"name": name} for name in image.pull_secrets],
        **pod_fields(schedule.job_template),
        "containers": [
            {
                "name": CONTAINER,
                "image": image.name,
                "imagePullPolicy": image.pull_policy,
                "command": ["kubectl-gateway"],
                "args": [*task.words, "--from-job", "--wait", f"--timeout={task.seconds}"],
                # The kubelet expands $(NAME) in arguments and in the value of a variable, but not in what a variable
                # takes from a field. So the template needs no escaping.
                "env": [
                    _from_pod("JOB_NAME", "labels", "batch.kubernetes.io/job-name"),
                    _from_pod("JOB_UID", "labels", "batch.kubernetes.io/controller-uid"),
                    _from_pod(task.variable, "annotations", task.annotation),
                ],
                "resources": container_resources(schedule.job_template),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - an emptyDir of the pod's own
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}}],
    }


def _from_pod(name: str, field: str, key: str) -> dict[str, Any]:
    """A variable whose value is a label or an annotation of the pod (downward API)."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{field}['{key}']"}}}


def backup_template(schedule: GatewayBackupSchedule) -> str:
    """The GatewayBackup that the pod creates, without its name, as JSON. The pod cannot read the schedule."""
    return object_template(schedule, {"group": schedule.name, **schedule.template})


def object_template(schedule: GatewayBackupSchedule, spec: Mapping[str, Any]) -> str:
    """An object of the schedule's gateway, without its name, as JSON, with the label of the schedule."""
    labels = {SCHEDULE_LABEL: schedule.name}
    body = {"metadata": {"labels": labels}, "spec": {"gatewayRef": schedule.gateway.spec(), **spec}}
    return json.dumps(body, sort_keys=True, separators=(",", ":"))
