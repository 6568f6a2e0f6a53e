"""The admission policies of the operator's chart, as the API server returns them."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from functools import cache
from typing import Any

from gateway_operator.domain.gateway.admission import InstalledPolicy
from tests.unit.charts.render import one, render

INSTALLED_AT = datetime(2025, 12, 31, 12, tzinfo=UTC)
PREFIX = "gateway-backup-operator"


@cache
def _rendered() -> list[dict[str, Any]]:
    """The chart's objects. They are parsed once, because that takes a large part of a second."""
    return render("operator")


def chart_policy(suffix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A policy and its binding, which the caller may change."""
    objects, stamp = _rendered(), INSTALLED_AT.strftime("%Y-%m-%dT%H:%M:%SZ")
    both = [
        copy.deepcopy(one(objects, kind, f"{PREFIX}-{suffix}"))
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    ]
    for body in both:
        body["metadata"] |= {"creationTimestamp": stamp, "managedFields": [{"manager": "helm", "time": stamp}]}
    return both[0], both[1]


def installed_policy(suffix: str) -> InstalledPolicy:
    """The policy as the operator reads it."""
    return InstalledPolicy(f"{PREFIX}-{suffix}", *chart_policy(suffix))
