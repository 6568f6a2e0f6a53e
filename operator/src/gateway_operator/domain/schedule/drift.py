"""Compares a CronJob with the one that its schedule wants, and corrects it.

Only the fields that the operator sets are compared. Defaults that the API server adds are no difference. The fields of
``spec.jobTemplate`` are compared exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway_operator.domain.model.names import SPEC_DIGEST
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.job_template import EXACT_POD_FIELDS, same_quantity
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule


def is_owned_by(schedule: GatewayBackupSchedule, cron_job: Json) -> bool:
    """Whether this very schedule controls the CronJob, compared by uid."""
    owners = (cron_job.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == schedule.meta.ref.uid for owner in owners)


def differences(desired: Json, existing: Json) -> list[str]:
    """The paths of the fields that differ from ``desired``; empty if none does.

    The digest of the spec is compared too: it shows that a label was removed from the schedule, whose absence in
    ``desired`` is otherwise no difference.
    """
    paths: list[str] = []
    for part in ("labels", "ownerReferences"):
        path = f"metadata.{part}"
        paths += _differ(desired["metadata"][part], (existing.get("metadata") or {}).get(part), path)
    paths += _differ(desired["spec"], existing.get("spec"), "spec")
    if spec_digest(desired) != spec_digest(existing):
        paths.append("metadata.annotations")
    return paths


def _differ(desired: Any, existing: Any, path: str) -> Iterator[str]:
    if desired in ([], {}, None) and existing in ([], {}, None):
        return
    field, quantities = path.rpartition(".")[2], ".resources." in path
    if isinstance(desired, Mapping) and isinstance(existing, Mapping):
        for key, value in desired.items():
            yield from _differ(value, existing.get(key), f"{path}.{key}")
        if field in (*EXACT_POD_FIELDS, "resources") or quantities:
            yield from (f"{path}.{key}" for key in existing if key not in desired)
    elif _is_list(desired) and _is_list(existing) and len(desired) == len(existing):
        for index, (one, other) in enumerate(zip(desired, existing, strict=True)):
            yield from _differ(one, other, f"{path}[{index}]")
    elif quantities and same_quantity(desired, existing):
        return
    elif desired != existing:
        yield path


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def spec_digest(cron_job: Json) -> str:
    """The digest of the spec that the operator last wrote; empty if it wrote none."""
    return str(((cron_job.get("metadata") or {}).get("annotations") or {}).get(SPEC_DIGEST) or "")


def correction(desired: Json, existing: Json) -> dict[str, Any]:
    """The merge patch from ``existing`` to ``desired``. It applies only to the version that was read."""
    meta = existing["metadata"]
    return {
        "metadata": {
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "labels": desired["metadata"]["labels"],
            "annotations": desired["metadata"]["annotations"],
            "ownerReferences": desired["metadata"]["ownerReferences"],
        },
        "spec": _with_removals(desired["spec"], existing.get("spec")),
    }


def _with_removals(desired: Any, existing: Any) -> Any:
    """``desired`` as a merge patch that also removes the fields of ``existing`` that the schedule has no longer."""
    spec = copy.deepcopy(desired)
    template, present = spec["jobTemplate"], (existing or {}).get("jobTemplate") or {}
    pod_template = template["spec"]["template"]
    present_template = (present.get("spec") or {}).get("template") or {}
    for part, other in ((template, present), (pod_template, present_template)):
        metadata, present_metadata = part["metadata"], other.get("metadata") or {}
        for name in ("labels", "annotations"):
            if name in metadata:
                metadata[name] = _removing(metadata[name], present_metadata.get(name))
    pod, present_pod = pod_template["spec"], present_template.get("spec") or {}
    for name in EXACT_POD_FIELDS:
        pod[name] = _removing(pod[name], present_pod.get(name)) or None
    return spec


def _removing(desired: Any, existing: Any) -> Any:
    if not isinstance(desired, Mapping) or not isinstance(existing, Mapping):
        return desired
    removed = {key: None for key in existing if key not in desired}
    return {**{key: _removing(value, existing.get(key)) for key, value in desired.items()}, **removed}
