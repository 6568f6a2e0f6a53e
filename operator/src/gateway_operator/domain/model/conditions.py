"""Conditions, for `kubectl wait` and monitoring.

``Finished`` becomes True at every end, success or failure, so that a wait for it always returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.model import timestamps

FINISHED: Final = "Finished"
COMPLETED: Final = "Completed"
FAILED: Final = "Failed"
AUTHORIZED: Final = "Authorized"
SUSPICIOUS: Final = "Suspicious"
FILE_PRESENT: Final = "FilePresent"
"""On a Completed backup, only ever False: its file is not on the volume. It is removed when the file is back."""

Conditions = list[dict[str, Any]]
_MESSAGE_LIMIT: Final = 32_000


def with_condition(
    present: Sequence[Mapping[str, Any]],
    kind: str,
    holds: bool,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Conditions:
    """The complete list with one condition set. ``lastTransitionTime`` changes only when ``status`` changes."""
    desired: dict[str, Any] = {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "observedGeneration": generation,
        "lastTransitionTime": timestamps.text(now),
    }
    result: Conditions = []
    is_set = False
    for condition in present:
        if condition.get("type") != kind:
            result.append(dict(condition))
            continue
        if condition.get("status") == desired["status"] and condition.get("lastTransitionTime"):
            desired["lastTransitionTime"] = condition["lastTransitionTime"]
        result.append(desired)
        is_set = True
    return result if is_set else [*result, desired]


def terminal_conditions(
    present: Sequence[Mapping[str, Any]], succeeded: bool, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """The list with Finished, Completed and Failed set, as an object ends."""
    result: Sequence[Mapping[str, Any]] = present
    for kind, holds in ((FINISHED, True), (COMPLETED, succeeded), (FAILED, not succeeded)):
        result = with_condition(result, kind, holds, reason, message, generation, now)
    return [dict(condition) for condition in result]


def condition_status(present: Sequence[Mapping[str, Any]], kind: str) -> bool | None:
    """Whether a condition is True, False or absent (None)."""
    for condition in present:
        if condition.get("type") == kind:
            return bool(condition.get("status") == "True")
    return None
