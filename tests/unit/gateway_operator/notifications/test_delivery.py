"""Deduplication, rate limit, grouping and backoff, with the time as an argument."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_operator.domain.notifications.delivery import (
    MAX_GROUPED,
    MAX_REFUSALS,
    MAX_REQUESTS,
    MAX_RETRY_AFTER,
    MIN_INTERVAL,
    WINDOW,
    DeliveryResult,
    ReceiverState,
    after_request,
    next_plan,
)
from gateway_operator.domain.notifications.notification import Notification
from gateway_operator.domain.notifications.sources import MAX_AGE, unsent
from gateway_operator.domain.notifications.text import slack_body
from tests.unit.gateway_operator.notifications.objects import NOW, backup, condition, schedule

SECOND = timedelta(seconds=1)
ACCEPTED = DeliveryResult(True)


def failed(number: int) -> list[Notification]:
    return [one for index in range(number) for one in unsent(backup(f"b{index}"), "slack")]


def held(name: str = "nightly", reason: str = "LargeDeletion") -> Notification:
    (one,) = unsent(schedule(name, condition("RetentionApplied", False, reason)), "slack")
    return one


def unhealthy(name: str, reason: str = "Unreachable", ordinal: int | None = None) -> Notification:
    """A schedule of the gateway, or of one pod of a StatefulSet."""
    spec = None if ordinal is None else {"gatewayRef": {"kind": "StatefulSet", "name": "gw", "ordinal": ordinal}}
    (one,) = unsent(schedule(name, condition("GatewayHealthy", False, reason, age=600), spec=spec), "slack")
    return one


def test_many_notifications_are_grouped_into_few_requests() -> None:
    state, left, now = ReceiverState("slack"), failed(1000), NOW
    requests = 0
    while left:
        plan = next_plan(left, state, now)
        if not plan.to_send:
            assert plan.wait > 0
            now += timedelta(seconds=plan.wait)
            continue
        assert len(plan.to_send) <= MAX_GROUPED
        after_request(state, plan.to_send, ACCEPTED, now)
        requests += 1
        sent = {one for group in plan.to_send for one in group}
        left = [one for one in left if one not in sent]
    assert requests == 1000 / MAX_GROUPED
    assert now - NOW == (requests / MAX_REQUESTS - 1) * WINDOW


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 5, 59, 300]), st.booleans(), st.sampled_from([None, 0.0, 30.0, 1e9])),
        max_size=40,
    )
)
def test_rate_limit_holds_whatever_the_receiver_answers(steps: list[tuple[int, bool, float | None]]) -> None:
    state, now, requests = ReceiverState("slack"), NOW, list[datetime]()
    for seconds, accepted, retry_after in steps:
        now += timedelta(seconds=seconds)
        if next_plan(failed(3), state, now).to_send:
            requests.append(now)
            result = DeliveryResult(accepted, retry_after=None if accepted else retry_after)
            # Another object each time, so that the deduplication does not end the test.
            after_request(state, [[held(f"s{len(requests)}")]], result, now)
    for first, last in zip(requests, requests[MAX_REQUESTS:], strict=False):
        assert last - first >= WINDOW


@pytest.mark.parametrize("step", [timedelta(), timedelta(minutes=1), -timedelta(days=1), timedelta(days=1)])
def test_sent_notification_is_only_recorded(step: timedelta) -> None:
    state, one = ReceiverState("slack"), held()
    after_request(state, [[one]], ACCEPTED, NOW)
    plan = next_plan([one], state, NOW + step)
    assert plan.to_record == (one,)
    assert not plan.to_send


def test_state_that_changes_often_causes_few_messages() -> None:
    state, sent = ReceiverState("slack"), 0
    for second in range(3600):
        now = NOW + second * SECOND
        plan = next_plan([held(reason="LargeDeletion" if second % 2 else "InventoryShrank")], state, now)
        if plan.to_send:
            sent += 1
            after_request(state, plan.to_send, ACCEPTED, now)
    assert sent <= 3600 * SECOND / MIN_INTERVAL + 1


def test_clock_that_was_set_back_delays_nothing_for_long() -> None:
    state = ReceiverState("slack")
    after_request(state, [[held()]], ACCEPTED, NOW)
    for _ in range(MAX_REQUESTS):
        after_request(state, [[held("other")]], DeliveryResult(False, retry_after=1e9), NOW)
    other = held(reason="InventoryShrank")
    plan = next_plan([other], state, NOW - timedelta(days=30))
    assert plan.wait <= MAX_RETRY_AFTER
    state.blocked_until = None
    assert next_plan([other], state, NOW - timedelta(days=30)).to_send


def test_schedules_of_one_gateway_cause_one_message_about_it() -> None:
    state, both = ReceiverState("slack"), [unhealthy("a"), unhealthy("b")]
    plan = next_plan(both, state, NOW)
    assert plan.to_send == (tuple(both),)
    after_request(state, plan.to_send, ACCEPTED, NOW)
    late = next_plan([unhealthy("c")], state, NOW + SECOND)
    assert (late.to_send, late.to_record) == ((), (unhealthy("c"),))


def test_each_pod_of_a_stateful_set_is_a_gateway_of_its_own() -> None:
    state, first, second = ReceiverState("slack"), unhealthy("a", ordinal=0), unhealthy("b", ordinal=1)
    after_request(state, [[first]], ACCEPTED, NOW)
    plan = next_plan([second], state, NOW + SECOND)
    assert (plan.to_send, plan.to_record) == (((second,),), ())
    assert "gateway StatefulSet/gw-1" in slack_body([second], "")["text"]


def test_notification_waits_for_its_time_and_is_not_sent_after_it() -> None:
    (waiting,) = unsent(schedule("s", condition("GatewayHealthy", False, "Unreachable")), "slack")
    plan = next_plan([waiting], ReceiverState("slack"), NOW)
    assert (plan.to_send, plan.wait) == ((), 120)
    assert next_plan([waiting], ReceiverState("slack"), NOW + timedelta(minutes=2)).to_send
    assert not next_plan(failed(1), ReceiverState("slack"), NOW + MAX_AGE + SECOND).to_send
    # A problem that still holds is sent at any age.
    assert next_plan([held()], ReceiverState("slack"), NOW + 30 * MAX_AGE).to_send


@pytest.mark.parametrize("retry_after", [None, 0.0, 90.0, 1e12])
def test_failed_request_is_repeated_with_backoff(retry_after: float | None) -> None:
    state, one = ReceiverState("slack"), held()
    waits = []
    now = NOW
    for _ in range(12):
        after_request(state, [[one]], DeliveryResult(False, retry_after=retry_after), now)
        plan = next_plan([one], state, now)
        assert not plan.to_send
        waits.append(plan.wait)
        now += timedelta(seconds=plan.wait)
        assert next_plan([one], state, now).to_send
    assert min(waits) >= min(max(3.0, retry_after or 0.0), MAX_RETRY_AFTER)
    assert max(waits) <= max(60.0, min(retry_after or 0.0, MAX_RETRY_AFTER))


def test_refused_content_is_given_up_and_does_not_block_the_next() -> None:
    state, one, refused = ReceiverState("slack"), held(), DeliveryResult(False, content_refused=True)
    given_up = [after_request(state, [[one]], refused, NOW) for _ in range(MAX_REFUSALS)]
    assert given_up == [False] * (MAX_REFUSALS - 1) + [True]
    later = NOW + timedelta(minutes=2)
    plan = next_plan([one, held("other")], state, later)
    assert (plan.to_record, plan.to_send) == ((one,), ((held("other"),),))


def test_identifier_is_that_of_the_notification_and_not_of_its_time() -> None:
    one = held()
    assert replace(one, since=NOW + SECOND, message="Other text.").identifier == one.identifier
    assert len({one.identifier, held("other").identifier, held(reason="InventoryShrank").identifier}) == 3
