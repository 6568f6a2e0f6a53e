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
