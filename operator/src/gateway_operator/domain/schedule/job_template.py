"""The part of a CronJob that ``spec.jobTemplate`` of a schedule sets: where and with which limits its pods run.

A cluster may want tolerations, a quota's resources, or user ids of its own. These fields are the user's alone, so a
field that the user removes disappears from the CronJob.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from gateway_operator.domain.model.resources import Json

EXACT_POD_FIELDS: Final = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "securityContext")
"""The fields of the pod that contain nothing but the schedule's values."""
_DEFAULT_RESOURCES: Final = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
_POD_SECURITY: Final = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
"""No user id: it is that of the image, or one that the cluster assigns."""
_SUFFIXES: Final = {
    "": Decimal(1),
    **{
        letter: Decimal(10) ** power
        for letter, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}


def pod_labels(job_template: Json, own: Mapping[str, str]) -> dict[str, str]:
    """The labels of the Job and its pod. The operator's own win, because it finds its objects by them."""
    return {**_texts(job_template.get("labels")), **own}


def pod_annotations(job_template: Json, own: Mapping[str, str]) -> dict[str, str]:
    """The annotations of the pod. The operator's own win."""
    return {**_texts(job_template.get("annotations")), **own}


def pod_fields(job_template: Json) -> dict[str, Any]:
    """All of ``EXACT_POD_FIELDS``; a field that the user does not set is empty."""
    return {
        "nodeSelector": _texts(job_template.get("nodeSelector")),
        "tolerations": [dict(one) for one in job_template.get("tolerations") or ()],
        "affinity": job_template.get("affinity") or None,
        "priorityClassName": job_template.get("priorityClassName") or None,
        "securityContext": {**_POD_SECURITY, **(job_template.get("securityContext") or {})},
    }


def container_resources(job_template: Json) -> dict[str, Any]:
    """The resources of the container: the user's instead of the default, as text, as the API server stores them."""
    given = job_template.get("resources")
    resources = given if isinstance(given, Mapping) else _DEFAULT_RESOURCES
    return {part: _texts(resources.get(part)) for part in ("requests", "limits") if resources.get(part)}


def _texts(values: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, Mapping) else {}


def same_quantity(one: object, other: object) -> bool:
    """Whether two resource quantities are equal. The API server writes 0.5 as 500m and 1024Mi as 1Gi."""
    first, second = quantity(one), quantity(other)
    return first is not None and first == second


def quantity(value: object) -> Decimal | None:
    """The number of a quantity; None if it is none."""
    text = str(value)
    suffix = next((one for one in sorted(_SUFFIXES, key=len, reverse=True) if one and text.endswith(one)), "")
    try:
        return Decimal(text.removesuffix(suffix)) * _SUFFIXES[suffix]
    except InvalidOperation:
        return None
