"""Attempts and retries, the same for backups and restores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain import conditions, times
from gateway_operator.domain.actions import Note, Wait
from gateway_operator.domain.calls import Failure
from gateway_operator.domain.gateway import Problem
from gateway_operator.domain.objects import Backup, Json, Restore
from gateway_operator.domain.reasons import Reason

WAITING_CODES: Final = frozenset({"Busy", "InProgress"})
"""The gateway is busy with another operation: the call counts as no attempt."""
KEY_ROTATION_CODES: Final = frozenset({"Unauthorized"})
"""Permanent by the contract, but retried: the key Secret may be rotating."""
_KEPT_ERRORS: Final = 10
_MESSAGE_LIMIT: Final = 1024


def current(thing: Backup | Restore) -> int:
    """The number of the attempt that is to be made, or is being made.

    A new one begins only after one that failed and counted. After a crash the same attempt goes on.
    """
    counted = thing.time("nextRetryTime") is not None and thing.reason not in WAITING_CODES
    return max(1, thing.attempt + (1 if counted else 0))


def may_pass(failure: Failure) -> bool:
    """Whether to try again at all."""
    return failure.retryable or failure.code in KEY_ROTATION_CODES


def with_error(thing: Backup | Restore, failure: Failure, now: datetime) -> list[dict[str, Any]]:
    """The last errors with one more."""
    before: Sequence[Json] = thing.status.get("lastErrors") or ()
    new = {"time": times.text(now), "reason": failure.code, "message": failure.message[:_MESSAGE_LIMIT]}
    return [*(dict(one) for one in before), new][-_KEPT_ERRORS:]


def again(thing: Backup | Restore, failure: Failure, now: datetime) -> Wait:
    """Wait, then make the same call again."""
    attempt = current(thing)
    delay = _delay(thing, failure, attempt, now)
    then = times.later(now, delay)
    # A backup has begun with its first call; a restore only once it knows what to restore.
    begun = isinstance(thing, Backup)
    status: dict[str, Any] = {
        "phase": thing.phase if thing.phase not in ("", "Pending") else "Running" if begun else "Pending",
        "reason": failure.code,
        "message": f"{failure.sentence()} Attempt {attempt} failed; the next one begins at {times.text(then)}.",
        "observedGeneration": thing.meta.generation,
        "attempt": attempt,
        "nextRetryTime": times.precise(then),
        "failure": {"reason": failure.code, "message": failure.sentence()},
    }
    if begun:
        status["startTime"] = times.text(thing.time("startTime") or now)
    if failure.exempt_from_retry_limit:
        status["message"] = f"{failure.message} Waiting for its turn."
    else:
        status["lastErrors"] = with_error(thing, failure, now)
    note = Note(failure.code, failure.message, warning=True) if thing.reason != failure.code else None
    return Wait(delay, status, None if failure.exempt_from_retry_limit else note)


def _delay(thing: Backup | Restore, failure: Failure, attempt: int, now: datetime) -> float:
    if failure.exempt_from_retry_limit:
        asked = failure.retry_after if failure.retry_after is not None else 0.0
        started = thing.time("startTime") or now
        return max(1.0, min(60.0, max(asked, times.look_again(started, now))))
    return max(times.backoff(attempt, thing.meta.ref.uid), min(failure.retry_after or 0.0, 60.0))


def authorized(thing: Backup | Restore, problem: Problem | None, now: datetime) -> conditions.Conditions | None:
    """The conditions with ``Authorized`` as it is now, or None where nothing changes.

    It appears when a permission is missing, and says so when that is over; who never lacked one never sees it.
    """
    before = conditions.holds(thing.conditions, conditions.AUTHORIZED)
    generation = thing.meta.generation
    if problem is not None and problem.forbidden:
        reason, message = str(problem.reason), problem.message
        return conditions.with_condition(
            thing.conditions, conditions.AUTHORIZED, False, reason, message, generation, now
        )
    if before is False:
        message = "The operator may do what this gateway needs."
        return conditions.with_condition(
            thing.conditions, conditions.AUTHORIZED, True, Reason.Authorized, message, generation, now
        )
    return None


def wait_for_gateway(thing: Backup | Restore, problem: Problem | None, until: datetime, now: datetime) -> Wait:
    """The gateway cannot be called now: look again soon, at most until the deadline."""
    if problem is None:  # nothing was looked at: look
        return Wait(0)
    status: dict[str, Any] = {
        "phase": thing.phase or "Pending",
        "reason": str(problem.reason),
        "message": f"Waiting until {times.text(until)}: {problem.message}",
        "observedGeneration": thing.meta.generation,
        "failure": {"reason": str(problem.reason), "message": problem.message},
    }
    told = authorized(thing, problem, now)
    if told is not None:
        status["conditions"] = told
    new = thing.reason != status["reason"]
    note = Note(str(problem.reason), problem.message, warning=True) if new else None
    since = thing.time("startTime") or thing.meta.created
    left = max(0.5, times.seconds_until(until, now))
    return Wait(min(times.look_again(since, now), left), status, note)
