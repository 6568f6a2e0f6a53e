"""Attempts and retries, the same for backups and restores.

The status counts the attempts and records the time of the next one, so that a restart of the operator changes neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import ErrorCode
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.actions import KubernetesEvent, Wait
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.model.restore_resource import Restore

WAITING_CODES: Final = frozenset({ErrorCode.Busy, ErrorCode.InProgress})
"""The gateway is busy with another operation: the call does not count as an attempt."""
KEY_ROTATION_CODES: Final = frozenset({ErrorCode.Unauthorized})
"""Permanent by the contract, but retried: the key Secret may be rotating."""
_KEPT_ERRORS: Final = 10
_LONGEST_DELAY: Final = 60.0
_MESSAGE_LIMIT: Final = 1024


def attempt_number(resource: Backup | Restore) -> int:
    """The number of the next or current attempt, from 1.

    It increases only after a failed attempt that counts. After a crash the same attempt continues.
    """
    counted = resource.time("nextRetryTime") is not None and resource.reason not in WAITING_CODES
    return max(1, resource.attempt + (1 if counted else 0))


def pending_retry(resource: Backup | Restore, now: datetime) -> datetime | None:
    """The time of the next attempt; None if it is due.

    No attempt is delayed by more than ``_LONGEST_DELAY``. A later time is a mistake of a clock, and counts as due.
    """
    then = resource.time("nextRetryTime")
    return then if then is not None and 0 < timestamps.seconds_until(then, now) <= _LONGEST_DELAY else None


def is_retryable(failure: Failure) -> bool:
    """Whether the same call is retried at all."""
    return failure.retryable or failure.code in KEY_ROTATION_CODES


def with_error(resource: Backup | Restore, failure: Failure, now: datetime) -> list[dict[str, Any]]:
    """``status.lastErrors`` with one more, at most ten."""
    before: Sequence[Json] = resource.status.get("lastErrors") or ()
    new = {"time": timestamps.text(now), "reason": failure.code, "message": failure.message[:_MESSAGE_LIMIT]}
    return [*(dict(one) for one in before), new][-_KEPT_ERRORS:]


def retry(resource: Backup | Restore, failure: Failure, now: datetime) -> Wait:
    """Record the failure and the time of the next attempt, then wait for it."""
    attempt = attempt_number(resource)
    delay = _delay(resource, failure, attempt, now)
    then = timestamps.later(now, delay)
    # The first call starts a backup. A restore starts when Validating does.
    is_backup = isinstance(resource, Backup)
    status: dict[str, Any] = {
        "phase": resource.phase if resource.phase not in ("", "Pending") else "Running" if is_backup else "Pending",
        "reason": failure.code,
        "message": f"{failure.sentence()} Attempt {attempt} failed; the next one starts at {timestamps.text(then)}.",
        "observedGeneration": resource.meta.generation,
        "attempt": attempt,
        "nextRetryTime": timestamps.precise(then),
        "failure": {"reason": failure.code, "message": failure.sentence()},
    }
    if is_backup:
        status["startTime"] = timestamps.text(resource.time("startTime") or now)
    if failure.exempt_from_retry_limit:
        status["message"] = f"{failure.message} Waiting for the other operation."
    else:
        status["lastErrors"] = with_error(resource, failure, now)
    event = KubernetesEvent(failure.code, failure.message, warning=True) if resource.reason != failure.code else None
    # Requeue: no watch event announces that the gateway can be called again.
    return Wait(delay, status, None if failure.exempt_from_retry_limit else event)


def _delay(resource: Backup | Restore, failure: Failure, attempt: int, now: datetime) -> float:
    if failure.exempt_from_retry_limit:
        requested = failure.retry_after if failure.retry_after is not None else 0.0
        started = resource.time("startTime") or now
        return max(1.0, min(_LONGEST_DELAY, max(requested, timestamps.recheck_delay(started, now))))
    return max(timestamps.backoff(attempt, resource.meta.ref.uid), min(failure.retry_after or 0.0, _LONGEST_DELAY))


def authorized_conditions(
    resource: Backup | Restore, problem: GatewayProblem | None, now: datetime
) -> conditions.Conditions | None:
    """The conditions with ``Authorized`` updated; None if it does not change.

    The condition appears when a permission is missing and becomes True when it is granted. Objects that never lacked a
    permission do not have it.
    """
    before = conditions.condition_status(resource.conditions, conditions.AUTHORIZED)
    generation = resource.meta.generation
    if problem is not None and problem.forbidden:
        reason, message = str(problem.reason), problem.message
        return conditions.with_condition(
            resource.conditions, conditions.AUTHORIZED, False, reason, message, generation, now
        )
    if before is False:
        message = "The operator has the permissions that this gateway needs."
        return conditions.with_condition(
            resource.conditions, conditions.AUTHORIZED, True, Reason.Authorized, message, generation, now
        )
    return None


def wait_for_gateway(
    resource: Backup | Restore, problem: GatewayProblem | None, until: datetime, now: datetime
) -> Wait:
    """Record the problem and requeue, at the latest for the deadline ``until``."""
    if problem is None:  # nothing was observed yet: requeue at once, with an observation
        return Wait(0)
    status: dict[str, Any] = {
        "phase": resource.phase or "Pending",
        "reason": str(problem.reason),
        "message": f"Waiting until {timestamps.text(until)}: {problem.message}",
        "observedGeneration": resource.meta.generation,
        "failure": {"reason": str(problem.reason), "message": problem.message},
    }
    authorization = authorized_conditions(resource, problem, now)
    if authorization is not None:
        status["conditions"] = authorization
    new = resource.reason != status["reason"]
    event = KubernetesEvent(str(problem.reason), problem.message, warning=True) if new else None
    since = resource.time("startTime") or resource.meta.created
    left = max(0.5, timestamps.seconds_until(until, now))
    # Requeue: no watch event announces that the problem has ended.
    return Wait(min(timestamps.recheck_delay(since, now), left), status, event)
