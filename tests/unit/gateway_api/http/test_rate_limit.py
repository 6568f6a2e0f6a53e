"""The limit of failed authentications per peer."""

from __future__ import annotations

from gateway_api.http.rate_limit import BURST, FailureLimit


def test_failures_are_limited_per_peer_and_the_limit_refills() -> None:
    limit = FailureLimit()
    assert [limit.record_failure("a", 0.0) for _ in range(int(BURST))] == [None] * int(BURST)
    wait = limit.record_failure("a", 0.0)
    assert wait is not None
    assert limit.record_failure("b", 0.0) is None
    assert limit.record_failure("a", float(wait)) is None
