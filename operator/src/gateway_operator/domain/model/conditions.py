"""Conditions: what `kubectl wait` waits for.

``Finished`` is set at the end of everything, well or not, so that a wait for it never hangs.
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
    """The whole list with one condition set. The time of its last transition moves only when the truth of it does."""
    wanted: dict[str, Any] = {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "observedGeneration": generation,
        "lastTransitionTime": timestamps.text(now),
    }
    result: Conditions = []
    placed = False
    for condition in present:
        if condition.get("type") != kind:
            result.append(dict(condition))
            continue
        if condition.get("status") == wanted["status"] and condition.get("lastTransitionTime"):
            wanted["lastTransitionTime"] = condition["lastTransitionTime"]
        result.append(wanted)
        placed = True
    return result if placed else [*result, wanted]


def terminal_conditions(
    present: Sequence[Mapping[str, Any]], succeeded: bool, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """All three that say how it ended."""
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
