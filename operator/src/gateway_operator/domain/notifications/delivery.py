"""Decides what is sent to one receiver now: deduplication, rate limit, grouping and backoff.

The current time is an argument. A time that was set back shortens no list and blocks nothing for longer than the limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.notifications.notification import Notification, Subject

MAX_REQUESTS: Final = 10
"""Requests to one receiver in ``WINDOW``. Further notifications wait and are grouped."""
WINDOW: Final = timedelta(minutes=1)
MAX_GROUPED: Final = 20
"""Subjects in one request."""
MIN_INTERVAL: Final = timedelta(minutes=10)
"""The time between two messages about one subject, so that a state that changes often causes few messages."""
MAX_RETRY_AFTER: Final = 3600.0
"""Seconds. A receiver cannot stop the notifications for longer."""
MAX_REFUSALS: Final = 3
"""Answers that refuse the content of a request, until that content is given up."""
_REMEMBERED: Final = 10_000
_IDLE: Final = 3600.0


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of one request. ``detail`` contains neither the URL nor a token."""

    accepted: bool
    detail: str = ""
    retry_after: float | None = None
    """Seconds that the receiver requests."""
    content_refused: bool = False
    """The receiver refuses this body, so that a repetition may not help."""


@dataclass(frozen=True, slots=True)
class _Sent:
    mark: str
    at: datetime


@dataclass
class ReceiverState:
    """The deliveries to one receiver in this process. The statuses of the objects are the durable record."""

    name: str
    sent: dict[Subject, _Sent] = field(default_factory=dict)
    requests: deque[datetime] = field(default_factory=lambda: deque(maxlen=MAX_REQUESTS))
    failures: int = 0
    refusals: int = 0
    """The answers in a row that refuse the content."""
    blocked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step for one receiver."""

    to_record: tuple[Notification, ...]
    """Sent already; only the record in the object's status is missing."""
    to_send: tuple[tuple[Notification, ...], ...]
    """One group for each subject. The first of a group becomes the text."""
    wait: float
    """Seconds until the next plan, unless something changes earlier."""


def next_plan(pending: Iterable[Notification], state: ReceiverState, now: datetime) -> Plan:
    """The notifications to record and to send now."""
    to_record: list[Notification] = []
    due: dict[Subject, list[Notification]] = {}
    wait = _IDLE
    for one in sorted(pending, key=lambda item: (item.since, item.ref.namespace, item.ref.name)):
        before = state.sent.get(one.subject)
        if before is not None and before.mark == one.mark:
            to_record.append(one)
            continue
        if is_expired(one, now):
            continue
        seconds = _seconds_until_due(one, before, now)
        if seconds > 0:
            wait = min(wait, seconds)
        else:
            due.setdefault(one.subject, []).append(one)
    blocked = _blocked_seconds(state, now) if due else 0.0
    if blocked > 0:
        return Plan(tuple(to_record), (), min(wait, blocked))
    groups = tuple(tuple(group) for group in list(due.values())[:MAX_GROUPED])
    return Plan(tuple(to_record), groups, 0.0 if len(due) > MAX_GROUPED else wait)


def is_expired(item: Notification, now: datetime) -> bool:
    """Whether it is too old to be sent."""
    return item.expires is not None and now > item.expires


def after_request(
    state: ReceiverState, groups: Sequence[Sequence[Notification]], result: DeliveryResult, now: datetime
) -> bool:
    """Update the state after a request. True if the notifications are given up: their content is refused."""
    state.requests.append(now)
    if result.accepted:
        state.failures, state.refusals, state.blocked_until = 0, 0, None
        _remember(state, groups, now)
        return False
    state.failures += 1
    seconds = timestamps.backoff(state.failures, state.name)
    if result.retry_after is not None:
        seconds = min(max(seconds, result.retry_after), MAX_RETRY_AFTER)
    state.blocked_until = timestamps.later(now, seconds)
    state.refusals = state.refusals + 1 if result.content_refused else 0
    if state.refusals >= MAX_REFUSALS:
        state.refusals = 0
        _remember(state, groups, now)
        return True
    return False


def _remember(state: ReceiverState, groups: Sequence[Sequence[Notification]], now: datetime) -> None:
    for group in groups:
        state.sent.pop(group[0].subject, None)  # the order of the dict is that of the times
        state.sent[group[0].subject] = _Sent(group[0].mark, now)
    while len(state.sent) > _REMEMBERED:
        del state.sent[next(iter(state.sent))]


def _seconds_until_due(item: Notification, before: _Sent | None, now: datetime) -> float:
    seconds = timestamps.seconds_until(item.not_before, now) if item.not_before is not None else 0.0
    if before is not None:
        waited = abs(timestamps.seconds_until(before.at, now))
        seconds = max(seconds, MIN_INTERVAL.total_seconds() - waited)
    return seconds


def _blocked_seconds(state: ReceiverState, now: datetime) -> float:
    seconds = 0.0
    if state.blocked_until is not None:
        seconds = min(timestamps.seconds_until(state.blocked_until, now), MAX_RETRY_AFTER)
    if len(state.requests) == MAX_REQUESTS:
        waited = abs(timestamps.seconds_until(state.requests[0], now))
        seconds = max(seconds, WINDOW.total_seconds() - waited)
    return seconds
