"""Builds the CronJob that a schedule owns and compares it with the existing one.

Only the fields that are set here are compared. Defaults that the API server adds are no difference. The fields of
``spec.jobTemplate`` are compared exactly.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
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
    EXACT_POD_FIELDS,
    container_resources,
    pod_annotations,
    pod_fields,
    pod_labels,
    same_quantity,
)
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

CONTAINER: Final = "backup"
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
_MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "gateway-backup-operator"}
_RETRIES: Final = 3
_POD_START_SECONDS: Final = 300
"""Seconds for a pod to start, including the pull of its image."""
_MARGIN_SECONDS: Final = 60
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


def desired_cron_job(schedule: GatewayBackupSchedule, image: Image) -> dict[str, Any]:
    """The complete CronJob for a schedule."""
    ref = schedule.meta.ref
    labels = {**_MANAGED_BY, SCHEDULE_LABEL: ref.name}
    body: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": ref.name,
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
            "schedule": schedule.schedule,
            "timeZone": schedule.time_zone,
            "suspend": schedule.suspend,
            "concurrencyPolicy": schedule.concurrency_policy,
            "startingDeadlineSeconds": schedule.starting_deadline,
            "successfulJobsHistoryLimit": schedule.successful_jobs,
            "failedJobsHistoryLimit": schedule.failed_jobs,
            "jobTemplate": {
                "metadata": {"labels": pod_labels(schedule.job_template, labels)},
                "spec": _job(schedule, image, labels),
            },
        },
    }
    body["metadata"]["annotations"] = {SPEC_DIGEST: canonical_digest(body["spec"])[:16]}
    return body


def max_backup_seconds(template: Json) -> int:
    """Seconds from the creation of a backup until the operator has ended it, plus a margin."""
    starting = int(template.get("startingDeadlineSeconds", _DEFAULT_STARTING))
    return starting + int(template.get("timeoutSeconds", _DEFAULT_TIMEOUT)) + _MARGIN_SECONDS


def _job(schedule: GatewayBackupSchedule, image: Image, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        # A retried pod continues with the backup of its Job. If the backup failed, a retry would only report the same
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
        "activeDeadlineSeconds": max_backup_seconds(schedule.template) + _POD_START_SECONDS,
        "template": {
            "metadata": {
                "labels": pod_labels(schedule.job_template, labels),
                "annotations": pod_annotations(schedule.job_template, {BACKUP_TEMPLATE: backup_template(schedule)}),
            },
            "spec": _pod(schedule, image),
        },
    }


def _pod(schedule: GatewayBackupSchedule, image: Image) -> dict[str, Any]:
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
                "args": [
                    "backup",
                    "create",
                    "--from-job",
                    "--wait",
                    f"--timeout={max_backup_seconds(schedule.template)}",
                ],
                # The kubelet expands $(NAME) in arguments and in the value of a variable, but not in what a variable
                # takes from a field. So the template needs no escaping.
                "env": [
                    _from_pod("JOB_NAME", "labels", "batch.kubernetes.io/job-name"),
                    _from_pod("JOB_UID", "labels", "batch.kubernetes.io/controller-uid"),
                    _from_pod(TEMPLATE_VARIABLE, "annotations", BACKUP_TEMPLATE),
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
    gateway = schedule.gateway
    reference = {"kind": gateway.kind, "name": gateway.name, "ordinal": gateway.ordinal}
    body = {
        "metadata": {"labels": {SCHEDULE_LABEL: schedule.name}},
        "spec": {"gatewayRef": reference, "group": schedule.name, **schedule.template},
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def is_owned_by(schedule: GatewayBackupSchedule, cron_job: Json) -> bool:
    """Whether this very schedule controls the CronJob, compared by uid."""
    owners = (cron_job.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == schedule.meta.ref.uid for owner in owners)


def differences(want: Json, have: Json) -> list[str]:
    """The paths of the fields that differ from ``want``; empty if none does.

    The digest of the spec is compared too: it shows that a label was removed from the schedule, whose absence in
    ``want`` is otherwise no difference.
    """
    paths: list[str] = []
    for part in ("labels", "ownerReferences"):
        path = f"metadata.{part}"
        paths += _differ(want["metadata"][part], (have.get("metadata") or {}).get(part), path)
    paths += _differ(want["spec"], have.get("spec"), "spec")
    if spec_digest(want) != spec_digest(have):
        paths.append("metadata.annotations")
    return paths


def _differ(want: Any, have: Any, path: str) -> Iterator[str]:
    if want in ([], {}, None) and have in ([], {}, None):
        return
    field, quantities = path.rpartition(".")[2], ".resources." in path
    if isinstance(want, Mapping) and isinstance(have, Mapping):
        for key, value in want.items():
            yield from _differ(value, have.get(key), f"{path}.{key}")
        if field in (*EXACT_POD_FIELDS, "resources") or quantities:
            yield from (f"{path}.{key}" for key in have if key not in want)
    elif _is_list(want) and _is_list(have) and len(want) == len(have):
        for index, (one, other) in enumerate(zip(want, have, strict=True)):
            yield from _differ(one, other, f"{path}[{index}]")
    elif quantities and same_quantity(want, have):
        return
    elif want != have:
        yield path


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def spec_digest(cron_job: Json) -> str:
    """The digest of the spec that the operator last wrote; empty if it wrote none."""
    return str(((cron_job.get("metadata") or {}).get("annotations") or {}).get(SPEC_DIGEST) or "")


def correction(want: Json, have: Json) -> dict[str, Any]:
    """The merge patch from ``have`` to ``want``. It applies only to the version that was read."""
    meta = have["metadata"]
    return {
        "metadata": {
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "labels": want["metadata"]["labels"],
            "annotations": want["metadata"]["annotations"],
            "ownerReferences": want["metadata"]["ownerReferences"],
        },
        "spec": _with_removals(want["spec"], have.get("spec")),
    }


def _with_removals(want: Any, have: Any) -> Any:
    """``want`` as a merge patch that also removes the fields of ``have`` that the schedule has no longer."""
    spec = copy.deepcopy(want)
    template, present = spec["jobTemplate"], (have or {}).get("jobTemplate") or {}
    pod_template = template["spec"]["template"]
    present_template = (present.get("spec") or {}).get("template") or {}
    for part, other in ((template, present), (pod_template, present_template)):
        metadata, existing = part["metadata"], other.get("metadata") or {}
        for name in ("labels", "annotations"):
            if name in metadata:
                metadata[name] = _removing(metadata[name], existing.get(name))
    pod, present_pod = pod_template["spec"], present_template.get("spec") or {}
    for name in EXACT_POD_FIELDS:
        pod[name] = _removing(pod[name], present_pod.get(name)) or None
    return spec


def _removing(want: Any, have: Any) -> Any:
    if not isinstance(want, Mapping) or not isinstance(have, Mapping):
        return want
    removed = {key: None for key in have if key not in want}
    return {**{key: _removing(value, have.get(key)) for key, value in want.items()}, **removed}
