"""The limits of each peer: failed authentications, and the pace of requests."""

from __future__ import annotations

import pytest

from gateway_api.http.rate_limit import (
    FAILURE_BURST,
    MAX_DELAY_SECONDS,
    REQUEST_BURST,
    REQUESTS_PER_SECOND,
    FailureLimit,
    Pacer,
    peer_group,
)


def test_failures_are_limited_per_peer_and_the_limit_refills() -> None:
    limit = FailureLimit()
    assert not limit.is_limited("a", 0.0)
    assert [limit.record_failure("a", 0.0) for _ in range(int(FAILURE_BURST))] == [None] * int(FAILURE_BURST)
    assert limit.is_limited("a", 0.0)
    wait = limit.record_failure("a", 0.0)
    assert wait is not None
    assert limit.record_failure("b", 0.0) is None
    assert limit.record_failure("a", float(wait)) is None


def test_requests_of_one_peer_are_paced_and_others_are_not() -> None:
    pacer = Pacer()
    waits = [pacer.reserve("a", 0.0) for _ in range(1000)]
    assert waits[: int(REQUEST_BURST)] == [0.0] * int(REQUEST_BURST)
    delayed = [wait for wait in waits if wait]
    assert delayed == sorted(delayed)
    assert len(delayed) == MAX_DELAY_SECONDS * REQUESTS_PER_SECOND
    assert waits[-1] is None
    assert pacer.reserve("b", 0.0) == 0.0
    # After an hour of refusals the peer has its turn again as soon as its debt is paid.
    assert pacer.reserve("a", 2.0) == 0.0


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("127.0.0.2", "127.0.0.2"),
        ("::ffff:127.0.0.2", "127.0.0.2"),
        ("2001:db8:1:2:3::9", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_limits_count_an_ipv4_address_or_an_ipv6_network(host: str, group: str) -> None:
    assert peer_group(host) == group
