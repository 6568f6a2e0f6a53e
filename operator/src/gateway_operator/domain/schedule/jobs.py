"""Reads from the newest Job of a schedule why no backup comes out of it.

The CronJob controller reports nothing when a Job's pod cannot be created, finds no node or does not start. The schedule
repeats what Kubernetes says, so that its condition Ready is not True while nothing is backed up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json

PATIENCE_SECONDS: Final = 60
"""Seconds for a Job to have a pod that runs."""
_STARTING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class JobObservation:
    """A Job with its pods and its events. Both are empty if the operator may not list them."""

    job: Json
    pods: Sequence[Json] = ()
    events: Sequence[Json] = ()

    @property
    def name(self) -> str:
        """The name of the Job."""
        return str(self.job["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class JobProblem:
    """Why the newest Job makes no backup."""

    reason: Reason
    message: str


def needs_jobs(cron_job: Json) -> bool:
    """Whether the Jobs must be read: one is active, or the last one has not succeeded."""
    status = cron_job.get("status") or {}
    started, succeeded = (timestamps.parse(status.get(name)) for name in ("lastScheduleTime", "lastSuccessfulTime"))
    return bool(status.get("active")) or (started is not None and (succeeded is None or succeeded < started))


def jobs_of(cron_job: Json, jobs: Iterable[Json]) -> list[Json]:
    """The Jobs that this CronJob controls, by uid."""
    uid = cron_job["metadata"].get("uid")
    return [
        job
        for job in jobs
        if any(one.get("controller") and one.get("uid") == uid for one in job["metadata"].get("ownerReferences") or ())
    ]


def newest_job(cron_job: Json, jobs: Iterable[Json]) -> Json | None:
    """The newest Job that this CronJob controls, by uid; None if there is none."""
    return max(
        jobs_of(cron_job, jobs),
        key=lambda job: (str(job["metadata"].get("creationTimestamp")), str(job["metadata"]["name"])),
        default=None,
    )


def job_problem(
    observed: JobObservation, names: Iterable[str], now: datetime, product: str = "backup"
) -> JobProblem | None:
    """The problem of the newest Job; None if it runs, or has ended with its object, also with a failed one.

    ``names`` are those of the objects that the Jobs have created, and ``product`` is the word for one of them.
    """
    conditions = {one.get("type"): one for one in _list(observed.job.get("status"), "conditions")}
    ended = conditions.get("Failed") or {}
    if ended.get("status") == "True":
        if _has_object(observed.name, names):
            return None
        # The pod may say more than the Job, for example why its image was not pulled.
        details = [
            f"{ended.get('reason')}: {ended.get('message')}",
            *_pod_details(observed.pods),
            *_event_details(observed.events),
        ]
        return JobProblem(Reason.JobFailed, f"Job {observed.name} ended without a {product}. {_joined(details)}")
    if (conditions.get("Complete") or {}).get("status") == "True" or (observed.job.get("spec") or {}).get("suspend"):
        return None
    started = timestamps.parse((observed.job.get("status") or {}).get("startTime"))
    created = started or timestamps.parse(observed.job["metadata"].get("creationTimestamp")) or now
    if (now - created).total_seconds() < PATIENCE_SECONDS:
        return None
    if not observed.pods:
        details = _event_details(observed.events)
        return JobProblem(Reason.JobWithoutPod, f"Job {observed.name} has no pod. {_joined(details, observed.name)}")
    details = _pod_details(observed.pods)
    if not details:
        return None
    return JobProblem(Reason.JobWithoutPod, f"No pod of Job {observed.name} runs. {_joined(details)}")


def _has_object(job: str, names: Iterable[str]) -> bool:
    # The name of a Job's object begins with that of the Job, which may be cut.
    return any(name.startswith(job[:57]) for name in names)


def _pod_details(pods: Sequence[Json]) -> list[str]:
    """The obstacles of the pods; empty if one of them runs or is being started."""
    details: list[str] = []
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("phase") == "Running":
            return []
        for one in _list(status, "conditions"):
            if one.get("type") == "PodScheduled" and one.get("status") == "False":
                details.append(f"{one.get('reason')}: {one.get('message')}")
        for container in (*_list(status, "initContainerStatuses"), *_list(status, "containerStatuses")):
            details += _container_details(container)
        if status.get("phase") == "Failed" and status.get("reason"):
            details.append(f"{status.get('reason')}: {status.get('message')}")
    return details


def _container_details(container: Json) -> list[str]:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if str(waiting.get("reason") or "") not in _STARTING:
        return [f"{waiting.get('reason')}: {waiting.get('message') or ''}"]
    if ended and ended.get("exitCode") != 0:
        return [
            f"Container {container.get('name')} ended with exit code {ended.get('exitCode')} ({ended.get('reason')})"
        ]
    return []


def _event_details(events: Sequence[Json]) -> list[str]:
    """The newest warning about the Job."""
    warnings = [one for one in events if one.get("type") == "Warning"]
    newest = max(warnings, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""), default=None)
    return [] if newest is None else [f"{newest.get('reason')}: {newest.get('message')}"]


def _joined(details: Sequence[str], job: str = "") -> str:
    unique = [one.strip().rstrip(".:") for one in dict.fromkeys(details)][:3]
    return f"{'; '.join(unique)}." if unique else f"Look at it: kubectl describe job {job}"


def _list(holder: object, name: str) -> Sequence[Mapping[str, Any]]:
    return (holder.get(name) or ()) if isinstance(holder, Mapping) else ()
