"""Checks that an admission policy of the operator's chart is in force.

An approval is an annotation. It proves something only because a ValidatingAdmissionPolicy refuses it from anyone who
may not approve. So before the operator acts on an approval, it reads the policy and its binding and compares them with
the ones that it knows. The digests cover all that decides: rules, conditions, variables and expressions. Messages and
metadata are left out. A unit test computes the digests from the chart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.names import canonical_digest
from gateway_operator.domain.model.resources import Json

RESTORES_POLICY: Final = "restores"
"""The suffix of the policy for GatewayRestores: who may apply, request and approve one."""
SCHEDULES_POLICY: Final = "schedules"
"""The suffix of the policy for GatewayBackupSchedules: who may approve deletions."""
DIGESTS: Final = {
    RESTORES_POLICY: "b8cc627e85ed762dfd4b551d1a70e68fb9dd8c0d7d23d0a133491ab472c26c60",
    SCHEDULES_POLICY: "870c4944633c30d9787b9b29b3e958feabb4ae53a0a211d8104a4e14689e28ae",
}
"""The policies of the chart of this version."""
_REMEDY: Final = "The operator's chart installs it with admissionPolicies.enabled: repeat its `helm upgrade`."


@dataclass(frozen=True, slots=True)
class InstalledPolicy:
    """A policy and its binding as the API server has them; None for an object that does not exist.

    ``error`` says why they could not be read at all; then both are None. With ``retryable`` a later read may succeed.
    """

    name: str = ""
    policy: Json | None = None
    binding: Json | None = None
    error: str = ""
    retryable: bool = False


def policy_digest(policy: Json) -> str:
    """The digest of everything in a policy that decides about requests, with the defaults of the API server."""
    spec = policy.get("spec") or {}
    match = spec.get("matchConstraints") or {}
    return canonical_digest(
        {
            "failurePolicy": spec.get("failurePolicy", "Fail"),
            "paramKind": spec.get("paramKind"),
            "matchPolicy": match.get("matchPolicy", "Equivalent"),
            "selectors": [match.get("namespaceSelector") or {}, match.get("objectSelector") or {}],
            "rules": [_rule(one) for one in match.get("resourceRules") or ()],
            "excluded": [_rule(one) for one in match.get("excludeResourceRules") or ()],
            "conditions": _expressions(spec.get("matchConditions")),
            "variables": _expressions(spec.get("variables")),
            "validations": _expressions(spec.get("validations")),
        }
    )


def _rule(rule: Json) -> dict[str, Any]:
    fields = ("apiGroups", "apiVersions", "operations", "resources", "resourceNames")
    return {**{key: sorted(rule.get(key) or ()) for key in fields}, "scope": rule.get("scope", "*")}


def _expressions(items: Sequence[Json] | None) -> list[list[str]]:
    return [[str(one.get("name", "")), str(one.get("expression", ""))] for one in items or ()]


def policy_problem(suffix: str, installed: InstalledPolicy | None, since: datetime | None = None) -> str:
    """Why a policy is not in force, with the remedy; empty if it is. ``suffix`` names the policy of the chart.

    ``since``: it must also have been unchanged since before this time. Otherwise an object from a time without the
    policy could carry what the policy refuses.
    """
    if installed is None or not installed.name:
        return f"The operator was installed without its admission policies. {_REMEDY}"
    if installed.error:
        return f"The ValidatingAdmissionPolicy {installed.name} cannot be read: {installed.error}"
    fault = _policy_fault(suffix, installed.policy) or _binding_fault(installed)
    if fault:
        return f"The ValidatingAdmissionPolicy {installed.name} {fault}. {_REMEDY}"
    return _changed_since(installed, since) if since is not None else ""


def _policy_fault(suffix: str, policy: Json | None) -> str:
    if policy is None or _is_being_deleted(policy):
        return "does not exist"
    if policy_digest(policy) != DIGESTS[suffix]:
        return "is not the one that this version of the operator knows"
    return ""


def _binding_fault(installed: InstalledPolicy) -> str:
    binding = installed.binding
    if binding is None or _is_being_deleted(binding):
        return "has no ValidatingAdmissionPolicyBinding of its name"
    spec = binding.get("spec") or {}
    if spec.get("policyName") != installed.name:
        return f"is not the one that its binding names ({spec.get('policyName')})"
    if "Deny" not in (spec.get("validationActions") or ()):
        return "denies nothing, because the validationActions of its binding do not contain Deny"
    if spec.get("matchResources") or spec.get("paramRef"):
        return "may leave out requests, because its binding has matchResources or paramRef"
    return ""


def _is_being_deleted(body: Json) -> bool:
    return bool((body.get("metadata") or {}).get("deletionTimestamp"))


def _changed_since(installed: InstalledPolicy, since: datetime) -> str:
    for kind, body in (("policy", installed.policy), ("binding", installed.binding)):
        changed = last_change(body or {})
        if changed is None or changed >= since:
            when = "at an unknown time" if changed is None else f"at {timestamps.text(changed)}"
            return f"The {kind} {installed.name} was changed {when}, after this object was created."
    return ""


def last_change(body: Json) -> datetime | None:
    """When an object was last changed, in full seconds, apart from its status. None if that is not recorded.

    The API server records the time of each writer's last change in ``managedFields``.
    """
    meta = body.get("metadata") or {}
    writers = [one for one in meta.get("managedFields") or () if not one.get("subresource")]
    times = [timestamps.parse(one.get("time")) for one in writers] + [timestamps.parse(meta.get("creationTimestamp"))]
    readable = [one for one in times if one is not None]
    return max(readable) if writers and len(readable) == len(times) else None
