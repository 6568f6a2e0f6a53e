"""Conditions, for `kubectl wait` and monitoring.

``Finished`` becomes True at every end, success or failure, so that a wait for it always returns. ``Ready``,
``Reconciling`` and ``Stalled`` are for kstatus, by which Flux and Helm read any object. ``Reconciling`` means that it
is in progress, ``Stalled`` that it failed, and both exist only while they are True. ``Ready`` means that it is done.
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
DRILLED: Final = "Drilled"
"""On a Completed backup, only ever False: its file is not on the volume. It is removed when the file is back."""
READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
_FAILED_PHASES: Final = frozenset({"Failed", "RolledBack", "RollbackFailed"})

Conditions = list[dict[str, Any]]
_MESSAGE_LIMIT: Final = 32_000


def with_condition(
    present: Sequence[Mapping[str, Any]],
    kind: str,
    holds: bool | None,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Conditions:
    """The complete list with one condition set. ``holds`` is None for the status Unknown.

    ``lastTransitionTime`` changes only when ``status`` changes.
    """
    desired: dict[str, Any] = {
        "type": kind,
        "status": "Unknown" if holds is None else str(holds),
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


def observed_at(present: Sequence[Mapping[str, Any]], generation: int) -> Conditions:
    """The list with this generation in each condition.

    The phase of an object depends only on the immutable part of its spec, so its conditions are as true for a later
    generation. `kubectl wait` ignores a condition of an older generation, and would wait until its timeout.
    """
    return [{**condition, "observedGeneration": generation} for condition in present]


def without_condition(present: Sequence[Mapping[str, Any]], kind: str) -> Conditions:
    """The list without the conditions of one type."""
    return [dict(condition) for condition in present if condition.get("type") != kind]


def progress_conditions(
    present: Sequence[Mapping[str, Any]], phase: str, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """The list with Ready, Reconciling and Stalled as the phase of a backup, restore or import needs them."""
    failed = phase in _FAILED_PHASES
    completed = phase == COMPLETED
    state = STALLED if failed else RECONCILING
    return readiness_conditions(present, completed, state, reason or phase, message, generation, now)


def readiness_conditions(
    present: Sequence[Mapping[str, Any]],
    ready: bool,
    state: str,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Conditions:
    """The list with Ready set and, if it is False, ``state`` (Reconciling or Stalled) with the same reason.

    Reconciling and Stalled are never in the list at the same time, since kstatus takes the first that it finds.
    """
    result = with_condition(present, READY, ready, reason, message, generation, now)
    for kind in (RECONCILING, STALLED):
        if ready or kind != state:
            result = without_condition(result, kind)
        else:
            result = with_condition(result, kind, True, reason, message, generation, now)
    return result


def condition_status(present: Sequence[Mapping[str, Any]], kind: str) -> bool | None:
    """Whether a condition is True or False; None if it is absent or Unknown."""
    return {"True": True, "False": False}.get(str(find_condition(present, kind).get("status")))


def find_condition(present: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    """The condition of a type; empty if it is absent."""
    return next((one for one in present if one.get("type") == kind), {})
